//! A chat whose tools have names that the provider takes.

use std::sync::Arc;

use chat::{Chat, Error};
use wire::model_rules::{RequestRules, ShortToolNames, ToolNameReader};
use wire::upstream::EventReader;

use crate::memory::inflight_budget::MemoryReservation;
use crate::upstream::outgoing_chat::OutgoingChat;

/// The chat as it is sent, and the names that its answer gets back.
pub(super) struct RenamedTools {
    pub(super) chat: Arc<Chat>,
    names: Option<ShortToolNames>,
    /// The memory of a copy of the chat.
    _copy: Option<MemoryReservation>,
}

impl RenamedTools {
    /// The chat for a model with these rules: the same, unless the name of a tool is too long.
    ///
    /// # Errors
    /// As [`RequestMemory::reserve`](crate::memory::inflight_budget::RequestMemory::reserve).
    pub(super) fn new(outgoing: &OutgoingChat, rules: &RequestRules) -> Result<Self, Error> {
        let max_bytes = rules.max_tool_name_bytes();
        let Some(names) = max_bytes.and_then(|max_bytes| ShortToolNames::for_chat(&outgoing.chat, max_bytes)) else {
            return Ok(Self { chat: outgoing.chat.clone(), names: None, _copy: None });
        };
        let copy = outgoing.memory.reserve(outgoing.chat_bytes)?;
        let mut chat = Chat::clone(&outgoing.chat);
        names.shorten(&mut chat);
        Ok(Self { chat: Arc::new(chat), names: Some(names), _copy: Some(copy) })
    }

    /// The reader of the answer.
    pub(super) fn reader(self, reader: Box<dyn EventReader>) -> Box<dyn EventReader> {
        match self.names {
            Some(names) => Box::new(ToolNameReader { reader, names }),
            None => reader,
        }
    }
}
