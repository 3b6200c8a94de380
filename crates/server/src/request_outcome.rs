//! The outcome of a request, collected until its response ends.

use std::sync::Arc;
use std::time::Duration;

use chat::Usage;
use gateway::Caller;
use http::StatusCode;

/// The outcome of a request, for its log line and its span.
#[derive(Default)]
pub(crate) struct RequestOutcome {
    /// `None` if the client disconnected before the response.
    pub(crate) status: Option<StatusCode>,
    /// The name of the caller's key.
    pub(crate) key: Option<Arc<str>>,
    /// The caller of a model.
    pub(crate) caller: Option<Caller>,
    pub(crate) model: Option<Arc<str>>,
    pub(crate) provider: Option<Arc<str>>,
    pub(crate) usage: Option<Usage>,
    /// From the arrival of the request to the first content of a stream.
    pub(crate) time_to_first_chunk: Option<Duration>,
    /// The response broke after its headers were sent.
    pub(crate) failed: bool,
}
