//! The kinds of requests whose answers may pass untouched, and who takes them.

use crate::provider_limits::{MAX_LINE_BYTES, MAX_PASSTHROUGH_BODY_BYTES, MAX_RESPONSE_BYTES};
use crate::upstream::Dialect;

/// What passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiEndpoint {
    #[default]
    ChatCompletions,
    Completions,
    Embeddings,
    /// Anthropic's.
    Messages,
    /// Gemini's.
    GenerateContent,
    ImageGenerations,
    ImageEdits,
    Speech,
    Transcriptions,
    Translations,
}

impl ApiEndpoint {
    pub const ALL: [Self; 10] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Messages,
        Self::GenerateContent,
        Self::ImageGenerations,
        Self::ImageEdits,
        Self::Speech,
        Self::Transcriptions,
        Self::Translations,
    ];

    /// The path below a provider's base URL. Gemini's goes on: [`Dialect::chat_path`].
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat/completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
            Self::GenerateContent => "models",
            Self::ImageGenerations => "images/generations",
            Self::ImageEdits => "images/edits",
            Self::Speech => "audio/speech",
            Self::Transcriptions => "audio/transcriptions",
            Self::Translations => "audio/translations",
        }
    }

    /// What is asked for, in words; `None` for text.
    pub fn media_name(self) -> Option<&'static str> {
        match self {
            Self::ImageGenerations => Some("image generation"),
            Self::ImageEdits => Some("image edits"),
            Self::Speech => Some("speech"),
            Self::Transcriptions => Some("transcription"),
            Self::Translations => Some("translation"),
            _ => None,
        }
    }

    /// The request is chat or legacy completions, whose streams end with their usage only where
    /// it is asked for.
    pub fn is_completions(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions)
    }

    /// Providers of this dialect take it.
    pub fn is_supported_by(self, dialect: Dialect) -> bool {
        match self {
            Self::Messages => dialect == Dialect::Anthropic,
            Self::GenerateContent => dialect == Dialect::Gemini,
            _ => dialect.is_chat_completions(),
        }
    }

    /// Most bytes of a line that are kept to be looked at; longer ones pass unseen. Gemini's
    /// pictures are events, which say all that there is to say of the answer.
    pub(crate) fn max_line_bytes(self) -> usize {
        if self == Self::GenerateContent { MAX_LINE_BYTES } else { 1 << 20 }
    }

    /// Most bytes of an answer that does not come as events.
    pub fn max_body_bytes(self) -> usize {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Messages | Self::GenerateContent => MAX_RESPONSE_BYTES,
            _ => MAX_PASSTHROUGH_BODY_BYTES,
        }
    }
}
