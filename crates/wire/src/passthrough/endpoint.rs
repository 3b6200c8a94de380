//! The API endpoints whose requests and responses can be forwarded without conversion.

use crate::provider_limits::{MAX_PASSTHROUGH_BODY_BYTES, MAX_RESPONSE_BYTES};
use crate::upstream::Dialect;

/// An API endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiEndpoint {
    #[default]
    ChatCompletions,
    Completions,
    Embeddings,
    /// OpenAI's moderation of texts and images.
    Moderations,
    /// Documents ordered by a query, as of Cohere, Jina and vLLM.
    Rerank,
    /// OpenAI's Responses API.
    Responses,
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
    pub const ALL: [Self; 13] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Moderations,
        Self::Rerank,
        Self::Responses,
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
            Self::Moderations => "moderations",
            Self::Rerank => "rerank",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::GenerateContent => "models",
            Self::ImageGenerations => "images/generations",
            Self::ImageEdits => "images/edits",
            Self::Speech => "audio/speech",
            Self::Transcriptions => "audio/transcriptions",
            Self::Translations => "audio/translations",
        }
    }

    /// The name of what is requested, where it is billed by the call; `None` for text.
    pub fn media_name(self) -> Option<&'static str> {
        match self {
            Self::Moderations => Some("moderation"),
            Self::Rerank => Some("reranking"),
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
            Self::ChatCompletions | Self::Completions => dialect.is_chat_completions(),
            Self::Responses => dialect == Dialect::Responses,
            Self::Messages => dialect == Dialect::Anthropic,
            Self::GenerateContent => dialect == Dialect::Gemini,
            _ => dialect.has_openai_endpoints(),
        }
    }

    /// Maximum number of bytes of a response that is not an event stream.
    pub fn max_body_bytes(self) -> usize {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Responses | Self::Messages | Self::GenerateContent => {
                MAX_RESPONSE_BYTES
            }
            _ => MAX_PASSTHROUGH_BODY_BYTES,
        }
    }
}
