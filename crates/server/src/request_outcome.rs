//! What is known of a request when its response ends.

use std::sync::Arc;
use std::time::Duration;

use chat::Usage;
use gateway::ApiKey;
use http::StatusCode;

/// What has become of it.
#[derive(Default)]
pub(crate) struct RequestOutcome {
    /// `None`: the client left before it was answered.
    pub(crate) status: Option<StatusCode>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) api_key: Option<Arc<ApiKey>>,
    pub(crate) model: Option<Arc<str>>,
    pub(crate) provider: Option<Arc<str>>,
    pub(crate) usage: Option<Usage>,
    /// From the request to the first words of a stream.
    pub(crate) time_to_first_chunk: Option<Duration>,
    pub(crate) failed: bool,
}
