//! Counts of the tokens of prompts, by providers whose API has them.

use chat::{Chat, Error};
use http::Method;
use http::header::HeaderMap;
use wire::model_rules::{RequestOrigin, RequestRules};
use wire::upstream::{CountRequest, parse_token_count};

use super::Upstream;
use crate::upstream::body_prefix::read_prefix;

/// Most bytes that are read of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

impl Upstream {
    /// The request that counts the tokens of `chat`; `None` if the API has none.
    ///
    /// # Errors
    /// A chat that the dialect cannot express.
    pub(crate) fn count_request(
        &self,
        chat: &Chat,
        model: &str,
        rules: &RequestRules,
    ) -> Result<Option<CountRequest>, Error> {
        // The clouds count at other addresses.
        if self.service.is_some() {
            return Ok(None);
        }
        let change = |body| rules.apply_to_body(self.dialect, RequestOrigin::of_chat(chat), body).map(|(body, _)| body);
        self.dialect.count_request(chat, model, self.signatures.as_ref(), change)
    }

    /// Counts tokens at the provider; `None` if it does not say how many.
    ///
    /// # Errors
    /// As [`Upstream::forward`].
    pub(crate) async fn count_tokens(&self, CountRequest { path, body }: CountRequest) -> Result<Option<u64>, Error> {
        let response = self.request(Method::POST, &path, &HeaderMap::new(), body.into()).await?;
        Ok(parse_token_count(&read_prefix(response, MAX_ANSWER_BYTES).await))
    }
}
