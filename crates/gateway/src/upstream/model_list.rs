//! The models in a provider's own list.

use bytes::Bytes;
use chat::Error;

use crate::memory::inflight_budget::RequestMemory;
use crate::offload::offload;
use crate::upstream::connector::CONNECT_TIMEOUT;
use crate::upstream::error::upstream_error;
use crate::upstream::remote_provider::Upstream;

/// Most bytes of a list of models.
pub(super) const MAX_MODEL_LIST_BYTES: usize = 16 << 20;

impl Upstream {
    /// The ids of the models in the provider's own list.
    ///
    /// # Errors
    /// `Upstream` or `Timeout` when the provider is unreachable, or its answer is not a list.
    pub async fn models(&self) -> Result<Vec<String>, Error> {
        if let Some(models) = self.built_in_models() {
            return Ok(models);
        }
        let list = self.fetch(self.endpoint_uri("models", None)?, MAX_MODEL_LIST_BYTES, CONNECT_TIMEOUT).await?;
        self.parse_model_list(list.into()).await
    }

    /// The models of a provider whose API does not list them.
    pub(super) fn built_in_models(&self) -> Option<Vec<String>> {
        // A cloud lists others than those that are deployed: the configuration names them.
        if self.service.is_some() {
            return Some(Vec::new());
        }
        Some(self.dialect().built_in_models()?.iter().map(|&model| model.to_owned()).collect())
    }

    /// The ids in a list of models, without those that cannot be printed.
    ///
    /// # Errors
    /// `Upstream` when `list` is not a list of models.
    pub(super) async fn parse_model_list(&self, list: Bytes) -> Result<Vec<String>, Error> {
        let ids =
            offload(&RequestMemory::default(), list.len(), move || Ok(wire::upstream::parse_model_list(&list))).await?;
        let mut ids = ids.ok_or_else(|| upstream_error(self.name(), "sent no list of models"))?;
        let listed = ids.len();
        ids.retain(|id| store::is_model_id(id));
        if ids.len() < listed {
            tracing::warn!(
                provider = &**self.name(),
                skipped = listed - ids.len(),
                "skipped models with unprintable ids"
            );
        }
        Ok(ids)
    }
}
