//! The origin of a request body.

use chat::Chat;

/// The origin of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOrigin<'a> {
    /// The caller has written it.
    Forwarded,
    /// It was written for a chat, of which it has not every wish.
    Converted {
        /// `Chat::thinking`
        thinking: Option<bool>,
        /// `Chat::reasoning_effort`
        effort: Option<&'a str>,
    },
}

impl<'a> RequestOrigin<'a> {
    /// The origin of a body that was written for `chat`.
    pub fn of_chat(chat: &'a Chat) -> Self {
        Self::Converted { thinking: chat.thinking, effort: chat.reasoning_effort.as_deref() }
    }

    /// The effort that a chat names, unless it is `none`.
    pub(super) fn effort(self) -> Option<&'a str> {
        match self {
            Self::Forwarded => None,
            Self::Converted { effort, .. } => effort.filter(|effort| *effort != "none"),
        }
    }

    /// Whether a chat asks for thinking.
    pub(super) fn asks_for_thinking(self) -> bool {
        match self {
            Self::Forwarded => false,
            Self::Converted { thinking, effort } => thinking.unwrap_or(effort.is_some_and(|effort| effort != "none")),
        }
    }

    /// Whether a chat turns thinking off.
    pub(super) fn turns_thinking_off(self) -> bool {
        match self {
            Self::Forwarded => false,
            Self::Converted { thinking, effort } => !thinking.unwrap_or(effort != Some("none")),
        }
    }
}
