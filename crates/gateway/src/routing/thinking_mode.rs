//! Thinking modes: whether a request to a model id is answered with reasoning.

use chat::Chat;

/// The ids of the model family, which every local model has, and their modes (API document 1.1).
pub(super) const LOCAL_MODEL_IDS: [(&str, ThinkingMode); 8] = [
    ("deepseek-chat", ThinkingMode::OptIn),
    ("deepseek-reasoner", ThinkingMode::Always),
    ("deepseek-v3.2-exp", ThinkingMode::PerRequest { default: false }),
    ("DeepSeek-V3.2-Exp-thinking", ThinkingMode::Always),
    ("DeepSeek-V3.2-Exp-nothinking", ThinkingMode::Never),
    ("deepseek-v3.2", ThinkingMode::PerRequest { default: false }),
    ("deepseek-v3.2-thinking", ThinkingMode::Always),
    ("deepseek-v3.2-nothinking", ThinkingMode::Never),
];

/// The thinking mode that a model id asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThinkingMode {
    Always,
    Never,
    /// Only if the request sets `thinking`.
    OptIn,
    /// `thinking` decides, then `reasoning_effort`, then the default.
    PerRequest {
        default: bool,
    },
    /// `thinking` decides, then the provider.
    ProviderDecides,
}

impl ThinkingMode {
    /// The mode of one request; `None` where the provider decides.
    pub(crate) fn resolve(self, chat: &Chat) -> Option<bool> {
        let effort = || chat.reasoning_effort.as_deref().map(|effort| effort != "none");
        match self {
            Self::Always => Some(true),
            Self::Never => Some(false),
            Self::OptIn => Some(chat.thinking.unwrap_or(false)),
            Self::PerRequest { default } => Some(chat.thinking.or_else(effort).unwrap_or(default)),
            Self::ProviderDecides => chat.thinking,
        }
    }
}

/// Whether a request to the local model thinks, by its model id and its fields. An id outside the
/// family leaves the choice to the request, and then to `default`.
pub fn resolve_thinking(chat: &Chat, default: bool) -> bool {
    let known = LOCAL_MODEL_IDS.iter().find(|(id, _)| id.eq_ignore_ascii_case(&chat.model));
    known.map_or(ThinkingMode::PerRequest { default }, |(_, mode)| *mode).resolve(chat).unwrap_or(default)
}
