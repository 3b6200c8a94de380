//! How a provider is spoken to: a chat as the body it wants, its events as deltas, its
//! refusals as errors.

pub(crate) mod anthropic;
pub(crate) mod gemini;
pub(crate) mod openai;

use std::time::Duration;

use chat::{Chat, Delta, Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::provider_limits;
use crate::tasks;

/// The dialect of a provider. Data: a provider's row names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Chat completions as OpenAI's own service takes them: unknown fields are refused,
    /// reasoning stays hidden.
    OpenAi,
    /// Chat completions with `reasoning_content`, `thinking` and `max_tokens`, as DeepSeek and most
    /// others have them.
    DeepSeek,
    /// Anthropic's Messages API.
    Anthropic,
    /// Gemini's `generateContent`.
    Gemini,
    /// Midjourney's tasks, as its proxies take them. No chat.
    Midjourney,
    /// Suno's tasks. No chat.
    Suno,
}

impl Dialect {
    /// The path below the base URL, and the query, that chats for the provider's `model` are posted
    /// to. `stream`: the answer is wanted as events, which only Gemini's path tells.
    pub fn chat_path(self, model: &str, stream: bool) -> (String, Option<&'static str>) {
        match self {
            Self::OpenAi | Self::DeepSeek => ("chat/completions".into(), None),
            Self::Anthropic => ("messages".into(), None),
            Self::Gemini if stream => (format!("models/{model}:streamGenerateContent"), Some("alt=sse")),
            Self::Gemini => (format!("models/{model}:generateContent"), None),
            Self::Midjourney | Self::Suno => (String::new(), None),
        }
    }

    /// The models of a provider that has no list of them.
    pub fn built_in_models(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Midjourney => Some(&tasks::MIDJOURNEY_MODELS),
            Self::Suno => Some(&tasks::SUNO_MODELS),
            _ => None,
        }
    }

    /// Its providers take tasks of this kind.
    pub fn supports_task(self, kind: tasks::TaskKind) -> bool {
        match kind {
            tasks::TaskKind::Midjourney => self == Self::Midjourney,
            tasks::TaskKind::Suno => self == Self::Suno,
            tasks::TaskKind::Video => self.is_chat_completions(),
        }
    }

    /// Requests and answers are chat completions.
    pub fn is_chat_completions(self) -> bool {
        matches!(self, Self::OpenAi | Self::DeepSeek)
    }

    /// A body that asks for `chat` of the provider's `model`, streamed and with its usage.
    /// `signatures` are those the provider has given.
    ///
    /// # Errors
    /// `Invalid` for what this dialect cannot say.
    pub fn request_body(self, chat: &Chat, model: &str, signatures: &dyn SignatureStore) -> Result<String, Error> {
        match self {
            Self::OpenAi | Self::DeepSeek => openai::request_body(chat, model, self == Self::DeepSeek),
            Self::Anthropic => anthropic::request_body(chat, model, signatures),
            Self::Gemini => gemini::request_body(chat, signatures),
            Self::Midjourney | Self::Suno => Err(Error::invalid(format!("Model '{model:.64}' does not chat"))),
        }
    }

    /// The settings of a chat that this dialect has no words for: they are not sent.
    pub fn unsupported_params(self, chat: &Chat) -> Vec<&'static str> {
        let sampling = &chat.sampling;
        let has_several_choices = chat.n.is_some_and(|n| n > 1);
        let set: &[(&'static str, bool)] = match self {
            Self::OpenAi => &[("thinking", chat.thinking == Some(true) && chat.reasoning_effort.is_none())],
            Self::Anthropic => &[
                ("frequency_penalty", sampling.frequency_penalty.is_some()),
                ("presence_penalty", sampling.presence_penalty.is_some()),
                ("seed", sampling.seed.is_some()),
                ("logit_bias", !sampling.logit_bias.is_empty()),
                ("logprobs", chat.logprobs == Some(true)),
                ("n", has_several_choices),
            ],
            Self::Gemini => &[
                ("logit_bias", !sampling.logit_bias.is_empty()),
                ("parallel_tool_calls", chat.parallel_tool_calls == Some(false)),
                ("stop", chat.stop.len() > gemini::MAX_STOP_SEQUENCES),
            ],
            Self::DeepSeek | Self::Midjourney | Self::Suno => &[],
        };
        set.iter().filter(|(_, dropped)| *dropped).map(|(name, _)| *name).collect()
    }

    /// Reads the events of the answer to `chat`.
    pub fn event_reader(self, chat: &Chat) -> Box<dyn EventReader> {
        match self {
            // What does not chat has refused the request.
            Self::OpenAi | Self::DeepSeek | Self::Midjourney | Self::Suno => {
                Box::new(openai::OpenAiEventReader::default())
            }
            Self::Anthropic => Box::new(anthropic::AnthropicEventReader::new(&chat.stop)),
            Self::Gemini => Box::new(gemini::GeminiEventReader::default()),
        }
    }

    /// The headers of every request but its credential.
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::OpenAi | Self::DeepSeek | Self::Gemini | Self::Midjourney | Self::Suno => &[],
            Self::Anthropic => &[("anthropic-version", "2023-06-01")],
        }
    }

    /// The header that carries the credential, and what stands before the key.
    pub fn credential_header(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenAi | Self::DeepSeek | Self::Midjourney | Self::Suno => ("authorization", "Bearer "),
            Self::Anthropic => ("x-api-key", ""),
            Self::Gemini => ("x-goog-api-key", ""),
        }
    }
}

/// Reasoning, or the call that came of it, and the signature a provider gave with it, without which
/// it does not take it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReasoning {
    pub text: String,
    pub signature: String,
}

/// Finds the signature of a text.
pub trait SignatureStore {
    fn find(&self, text: &str) -> Option<String>;
}

/// No signatures.
impl SignatureStore for () {
    fn find(&self, _text: &str) -> Option<String> {
        None
    }
}

/// Turns the events of one answer into deltas.
pub trait EventReader: Send {
    /// Reads the data of one event.
    ///
    /// # Errors
    /// `Upstream` when the provider reports a failure, or says what is no event of its dialect.
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error>;

    /// The stream has ended.
    ///
    /// # Errors
    /// `Upstream` when the answer was not complete.
    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error>;

    /// Reasoning that has been signed since the last call.
    fn take_signed(&mut self) -> Vec<SignedReasoning> {
        Vec::new()
    }
}

/// What a refusal of a provider means to our caller (API document 4.5). `body` is the
/// beginning of its body.
pub fn map_error(provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> Error {
    let provider_message = error_message(body);
    let quoted = || match &provider_message {
        Some(said) => said.clone(),
        None => format!("The provider `{provider}` answered with status {status}"),
    };
    let (kind, message) = match status {
        // The operator's matters, not the caller's; their texts may name the operator's key.
        401 | 403 | 407 => {
            (ErrorKind::Upstream(502), format!("The provider `{provider}` refused this server's credentials"))
        }
        // How it is asked is not the caller's doing.
        405 | 406 | 411 | 417 | 421 | 426 | 428 | 431 => {
            (ErrorKind::Upstream(502), format!("The provider `{provider}` answered with status {status}"))
        }
        402 => (ErrorKind::Overloaded, format!("The provider `{provider}` is not available right now")),
        404 => (ErrorKind::InvalidRequest, "Model Not Exist".into()),
        408 | 504 => (ErrorKind::Timeout, quoted()),
        413 => (ErrorKind::TooLarge, quoted()),
        429 => (ErrorKind::RateLimited, quoted()),
        400 => (ErrorKind::InvalidRequest, quoted()),
        401..=499 => (ErrorKind::Upstream(status), quoted()),
        // 529 is Anthropic's word for it.
        503 | 529 => (ErrorKind::Overloaded, quoted()),
        _ => (ErrorKind::Upstream(502), quoted()),
    };
    Error { retry_after, ..Error::new(kind, message) }
}

/// The words of an error body: `error.message`, `error`, `message` or `detail`, as services have
/// it; else short plain text.
fn error_message(body: &[u8]) -> Option<String> {
    const MAX_MESSAGE_CHARS: usize = 1000;
    let text = String::from_utf8_lossy(body);
    let value: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let message = match &value {
        Some(value) => ["/error/message", "/error", "/message", "/detail"]
            .iter()
            .find_map(|pointer| value.pointer(pointer)?.as_str().map(str::to_owned)),
        // A page for people helps no program.
        None if text.trim_start().starts_with('<') => None,
        None => Some(text.trim().to_owned()),
    };
    message.filter(|words| !words.is_empty()).map(|words| words.chars().take(MAX_MESSAGE_CHARS).collect())
}

/// The error message in a body that is not an answer; `None` where it has none.
pub(crate) fn json_error_message(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|_| error_message(body))
}

/// Most models of a list, and most bytes of an id: beyond it nobody could choose among them.
const MAX_MODELS: usize = 20_000;
const MAX_MODEL_ID_BYTES: usize = 512;

/// The ids in a list of models, in the form of OpenAI, or of Gemini; `None` when it is no list.
/// What stands beside the ids is not kept.
pub fn parse_model_list(list: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct List {
        data: Option<Vec<Model>>,
        models: Option<Vec<Model>>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: Option<String>,
        name: Option<String>,
    }
    provider_limits::check_event_values(list).ok()?;
    let List { data, models } = serde_json::from_slice(list).ok()?;
    let id = |Model { id, name }: Model| id.or_else(|| Some(name?.trim_start_matches("models/").to_owned()));
    let ids = data.or(models)?.into_iter().filter_map(id);
    Some(ids.filter(|id| id.len() <= MAX_MODEL_ID_BYTES).take(MAX_MODELS).collect())
}

/// An image of a message.
enum Image<'a> {
    Data { kind: &'a str, base64: &'a str },
    Url(&'a str),
}

/// The image that a part is which is no text.
///
/// # Errors
/// `Invalid` when it is something else.
fn image_of<'a>(kind: &str, value: &'a serde_json::Value) -> Result<Image<'a>, Error> {
    let url = value["image_url"]["url"].as_str().filter(|_| kind == "image_url");
    let url =
        url.ok_or_else(|| Error::invalid(format!("This model's provider takes no content of type `{kind:.64}`")))?;
    let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    Ok(data.map_or(Image::Url(url), |(kind, base64)| Image::Data { kind, base64 }))
}

/// A failure in the middle of an answer.
pub(crate) fn provider_error(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Upstream(502), what)
}

/// An event that is none of its dialect. The parser's own words may quote all of a string that
/// stands where a number should.
pub(crate) fn invalid_event(error: &serde_json::Error) -> Error {
    let reason: String = error.to_string().chars().take(200).collect();
    provider_error(format!("The provider sent an event that cannot be read: {reason}"))
}

#[cfg(test)]
mod tests;
