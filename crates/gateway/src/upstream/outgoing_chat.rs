//! A chat on its way to remote providers.

use std::sync::Arc;

use chat::Chat;

use crate::memory::inflight_budget::RequestMemory;

/// A chat that is sent to one provider after another, until one answers.
pub(crate) struct OutgoingChat {
    pub(crate) chat: Arc<Chat>,
    /// Bytes of memory that the chat holds.
    pub(crate) chat_bytes: usize,
    pub(crate) memory: RequestMemory,
}
