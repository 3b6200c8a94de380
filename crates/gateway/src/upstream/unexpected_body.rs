//! A body that should be a stream of events and is an error in JSON.

use chat::Error;
use wire::upstream::reported_error;

/// Most bytes that are kept of such a body.
const MAX_BYTES: usize = 16 << 10;

/// The beginning of a body, until its first event or comment.
#[derive(Debug, Default)]
pub(crate) struct UnexpectedBody {
    start: Vec<u8>,
    has_events: bool,
}

impl UnexpectedBody {
    /// Adds the next bytes, which complete an event or a comment if `has_events`.
    pub(crate) fn add(&mut self, bytes: &[u8], has_events: bool) {
        if self.has_events || has_events {
            *self = Self { start: Vec::new(), has_events: true };
        } else {
            self.start.extend_from_slice(&bytes[..bytes.len().min(MAX_BYTES - self.start.len())]);
        }
    }

    /// The error that the whole body reports; `None` if it is not an object of JSON.
    pub(crate) fn error(&self) -> Option<Error> {
        let is_object = self.start.trim_ascii_start().starts_with(b"{");
        is_object.then(|| reported_error(&self.start))
    }
}
