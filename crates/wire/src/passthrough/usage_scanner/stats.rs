//! The result of scanning a response.

use chat::{FinishReason, Usage};

/// The usage, finish reason and errors of a response, as far as it has been scanned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseStats {
    /// The usage that the provider reported.
    pub usage: Option<Usage>,
    /// Why the answer ended.
    pub finish_reason: Option<FinishReason>,
    /// Number of events with content.
    pub content_events: u64,
    /// The error message of the provider.
    pub error_message: Option<String>,
    /// Whether the last event has been received.
    pub is_complete: bool,
}
