//! The API dialects of providers: paths, headers, request bodies and event readers of each.

use chat::Chat;
use serde::{Deserialize, Serialize};

use crate::event_stream::{EventStreamParser, FrameParser};
use crate::sse::SseParser;
use crate::tasks;
use crate::upstream::event_reader::EventReader;
use crate::upstream::{anthropic, bedrock, gemini, openai, responses};

/// The API dialect of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Chat completions of OpenAI's own service, which refuses unknown fields and hides reasoning.
    OpenAi,
    /// Chat completions with `reasoning_content`, `thinking` and `max_tokens`, as DeepSeek and most
    /// other services define them.
    DeepSeek,
    /// OpenAI's Responses API, which its newest models require for tools beside reasoning.
    Responses,
    /// Anthropic's Messages API.
    Anthropic,
    /// Gemini's `generateContent`.
    Gemini,
    /// Amazon Bedrock's Converse API.
    Bedrock,
    /// Midjourney's tasks, in the API of its proxies. Without chats.
    Midjourney,
    /// Suno's tasks. Without chats.
    Suno,
}

impl Dialect {
    /// The path below the base URL and the query to which chats for the provider's `model` are
    /// posted. `stream` requests events; only the paths of Gemini and Bedrock depend on it.
    pub fn chat_path(self, model: &str, stream: bool) -> (String, Option<&'static str>) {
        match self {
            Self::OpenAi | Self::DeepSeek => ("chat/completions".into(), None),
            Self::Responses => ("responses".into(), None),
            Self::Anthropic => ("messages".into(), None),
            Self::Gemini if stream => (format!("models/{model}:streamGenerateContent"), Some("alt=sse")),
            Self::Gemini => (format!("models/{model}:generateContent"), None),
            Self::Bedrock => (bedrock::chat_path(model, stream), None),
            Self::Midjourney | Self::Suno => (String::new(), None),
        }
    }

    /// The models of a provider whose API does not list them.
    pub fn built_in_models(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Midjourney => Some(&tasks::MIDJOURNEY_MODELS),
            Self::Suno => Some(&tasks::SUNO_MODELS),
            _ => None,
        }
    }

    /// Whether providers of this dialect accept tasks of this kind.
    pub fn supports_task(self, kind: tasks::TaskKind) -> bool {
        match kind {
            tasks::TaskKind::Midjourney => self == Self::Midjourney,
            tasks::TaskKind::Suno => self == Self::Suno,
            tasks::TaskKind::Video | tasks::TaskKind::Batch => self.has_openai_endpoints(),
        }
    }

    /// Whether requests and answers are chat completions.
    pub fn is_chat_completions(self) -> bool {
        matches!(self, Self::OpenAi | Self::DeepSeek)
    }

    /// Whether providers of this dialect may have OpenAI's endpoints for embeddings, images, audio,
    /// video, files and batches.
    pub fn has_openai_endpoints(self) -> bool {
        self.is_chat_completions() || self == Self::Responses
    }

    /// Creates a reader of the events of the answer to `chat`.
    pub fn event_reader(self, chat: &Chat) -> Box<dyn EventReader> {
        match self {
            // The task dialects refuse chats in `request_body`.
            Self::OpenAi | Self::DeepSeek | Self::Midjourney | Self::Suno => {
                Box::new(openai::OpenAiEventReader::default())
            }
            Self::Responses => Box::new(responses::ResponsesEventReader::default()),
            Self::Anthropic => Box::new(anthropic::AnthropicEventReader::new(&chat.stop)),
            Self::Gemini => Box::new(gemini::GeminiEventReader::default()),
            Self::Bedrock => Box::new(bedrock::ConverseEventReader::default()),
        }
    }

    /// Creates a parser of the stream that the events arrive in.
    pub fn frame_parser(self) -> FrameParser {
        match self {
            Self::Bedrock => FrameParser::EventStream(EventStreamParser::default()),
            _ => FrameParser::Sse(SseParser::default()),
        }
    }

    /// The headers of every request, without the credential.
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::OpenAi
            | Self::DeepSeek
            | Self::Responses
            | Self::Gemini
            | Self::Bedrock
            | Self::Midjourney
            | Self::Suno => &[],
            Self::Anthropic => &[("anthropic-version", "2023-06-01")],
        }
    }

    /// The header of the credential, and the prefix of the key in it.
    pub fn credential_header(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenAi | Self::DeepSeek | Self::Responses | Self::Bedrock | Self::Midjourney | Self::Suno => {
                ("authorization", "Bearer ")
            }
            Self::Anthropic => ("x-api-key", ""),
            Self::Gemini => ("x-goog-api-key", ""),
        }
    }
}
