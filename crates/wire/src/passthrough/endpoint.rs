//! The API endpoints whose requests and responses can be forwarded without conversion.

use crate::provider_limits::{MAX_LINE_BYTES, MAX_PASSTHROUGH_BODY_BYTES, MAX_RESPONSE_BYTES};
use crate::upstream::Dialect;

/// An API endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiEndpoint {
    #[default]
    ChatCompletions,
    Completions,
    Embeddings,
    /// Anthropic's Messages API.
    Messages,
    /// Gemini's `generateContent`.
    GenerateContent,
    ImageGenerations,
    ImageEdits,
    Speech,
    Transcriptions,
    Translations,
}

impl ApiEndpoint {
    /// All endpoints.
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

    /// The path below a provider's base URL. Gemini's continues: see [`Dialect::chat_path`].
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

    /// The name of the requested medium; `None` for text.
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

    /// Whether the endpoint is chat or legacy completions, whose streams report usage
    /// only on request.
    pub fn is_completions(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions)
    }

    /// Whether providers of this dialect have the endpoint.
    pub fn is_supported_by(self, dialect: Dialect) -> bool {
        match self {
            Self::Messages => dialect == Dialect::Anthropic,
            Self::GenerateContent => dialect == Dialect::Gemini,
            _ => dialect.is_chat_completions(),
        }
    }

    /// Maximum number of bytes of a line that is scanned. Longer lines are forwarded without a
    /// scan. Gemini sends an image and its usage in one event, so its limit is higher.
    pub(crate) fn max_line_bytes(self) -> usize {
        if self == Self::GenerateContent { MAX_LINE_BYTES } else { 1 << 20 }
    }

    /// Maximum number of bytes of a response that is not an event stream.
    pub fn max_body_bytes(self) -> usize {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Messages | Self::GenerateContent => MAX_RESPONSE_BYTES,
            _ => MAX_PASSTHROUGH_BODY_BYTES,
        }
    }
}
