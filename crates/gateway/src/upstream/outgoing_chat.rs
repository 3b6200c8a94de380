//! A chat on its way to remote providers.

use std::sync::Arc;

use chat::{Chat, Error, MemoryGuard};

use crate::memory::inflight_budget::RequestMemory;
use crate::upstream::shared_notes::SharedNotes;

/// A chat that is sent to one provider after another, until one answers.
pub(crate) struct OutgoingChat {
    pub(crate) chat: Arc<Chat>,
    /// Bytes of memory that the chat holds.
    pub(crate) chat_bytes: usize,
    pub(crate) memory: RequestMemory,
    /// The notes on the body that is sent.
    pub(crate) notes: SharedNotes,
}

impl OutgoingChat {
    /// The same chat for a provider that is asked for a stream.
    ///
    /// # Errors
    /// As [`RequestMemory::reserve`].
    pub(crate) fn streamed(&self) -> Result<Self, Error> {
        let memory_guard = MemoryGuard::new(self.memory.reserve(self.chat_bytes)?);
        let chat = Chat { takes_whole: false, memory_guard, ..Chat::clone(&self.chat) };
        Ok(Self {
            chat: Arc::new(chat),
            chat_bytes: self.chat_bytes,
            memory: self.memory.clone(),
            notes: self.notes.clone(),
        })
    }
}
