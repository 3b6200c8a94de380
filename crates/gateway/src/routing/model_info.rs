//! Models and routes as they are listed.

use std::sync::Arc;

use crate::pricing::Price;
use crate::routing::target::TargetStatus;

/// A model of a remote provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamModel {
    /// The id that callers use.
    pub id: String,
    /// The provider's name for the model.
    pub upstream_name: String,
}

impl<T: Into<String>> From<T> for UpstreamModel {
    /// A model whose id is the provider's name for it.
    fn from(id: T) -> Self {
        let id = id.into();
        Self { upstream_name: id.clone(), id }
    }
}

/// An entry of the list of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    pub id: Arc<str>,
    pub owned_by: Arc<str>,
    pub price: Option<Arc<Price>>,
    /// The context length in tokens, if it is known.
    pub context: Option<u64>,
}

/// A model id and its targets.
#[derive(Clone, Debug)]
pub struct RouteInfo {
    pub id: Arc<str>,
    pub targets: Vec<TargetStatus>,
}
