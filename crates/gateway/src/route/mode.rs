//! Whether a model id thinks.

use chat::Chat;

/// The ids any model of the family answers to, and their modes (API document 1.1).
pub(super) const FAMILY: [(&str, Mode); 8] = [
    ("deepseek-chat", Mode::Asked),
    ("deepseek-reasoner", Mode::Always),
    ("deepseek-v3.2-exp", Mode::Open { otherwise: false }),
    ("DeepSeek-V3.2-Exp-thinking", Mode::Always),
    ("DeepSeek-V3.2-Exp-nothinking", Mode::Never),
    ("deepseek-v3.2", Mode::Open { otherwise: false }),
    ("deepseek-v3.2-thinking", Mode::Always),
    ("deepseek-v3.2-nothinking", Mode::Never),
];

/// The thinking mode that a model id asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Always,
    Never,
    /// Only when `thinking` asks for it.
    Asked,
    /// `thinking` decides, then `reasoning_effort`.
    Open {
        otherwise: bool,
    },
    /// The provider decides what a request means that does not say.
    Elsewhere,
}

impl Mode {
    /// The mode of one request; `None` where the provider decides.
    pub(crate) fn thinks(self, chat: &Chat) -> Option<bool> {
        let effort = || chat.reasoning_effort.as_deref().map(|effort| effort != "none");
        match self {
            Self::Always => Some(true),
            Self::Never => Some(false),
            Self::Asked => Some(chat.thinking.unwrap_or(false)),
            Self::Open { otherwise } => Some(chat.thinking.or_else(effort).unwrap_or(otherwise)),
            Self::Elsewhere => chat.thinking,
        }
    }
}

/// Whether a request to the local model thinks, by its model id and its own words. An id outside the family leaves the
/// choice to the request, and then to `otherwise`.
pub fn thinks(chat: &Chat, otherwise: bool) -> bool {
    let known = FAMILY.iter().find(|(id, _)| id.eq_ignore_ascii_case(&chat.model));
    known.map_or(Mode::Open { otherwise }, |(_, mode)| *mode).thinks(chat).unwrap_or(otherwise)
}
