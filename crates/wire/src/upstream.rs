//! How a provider is spoken to: a chat as the body it wants, its events as deltas, its refusals as errors.

pub(crate) mod openai;

use std::time::Duration;

use chat::{Chat, Delta, Error, ErrorKind};
use serde::Deserialize;

/// The dialect of a provider. Data: a provider's row names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Chat completions as OpenAI's own service takes them: unknown fields are refused, reasoning stays hidden.
    OpenAi,
    /// Chat completions with `reasoning_content`, `thinking` and `max_tokens`, as DeepSeek and most others have them.
    DeepSeek,
}

impl Dialect {
    /// The path below the base URL that chats are posted to.
    pub fn path(self) -> &'static str {
        match self {
            Self::OpenAi | Self::DeepSeek => "chat/completions",
        }
    }

    /// A body that asks for `chat` of the provider's `model`, streamed and with its usage.
    ///
    /// # Errors
    /// `Invalid` for what this dialect cannot say.
    pub fn request(self, chat: &Chat, model: &str) -> Result<String, Error> {
        openai::request(chat, model, self == Self::DeepSeek)
    }

    /// Reads the events of one answer.
    pub fn reader(self) -> Box<dyn Reader> {
        Box::new(openai::Chunks::default())
    }

    /// The credential as the dialect carries it: the name of a header and what stands before the key.
    pub fn credential(self) -> (&'static str, &'static str) {
        ("authorization", "Bearer ")
    }
}

/// Turns the events of one answer into deltas.
pub trait Reader: Send {
    /// Reads the data of one event.
    ///
    /// # Errors
    /// `Upstream` when the provider reports a failure, or says what is no event of its dialect.
    fn event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error>;

    /// The stream has ended.
    ///
    /// # Errors
    /// `Upstream` when the answer was not complete.
    fn end(&mut self, out: &mut Vec<Delta>) -> Result<(), Error>;
}

/// What a refusal of a provider means to our caller (API document 4.5). `body` is the beginning of its body.
pub fn refusal(provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> Error {
    let said = said(body);
    let quoted = || match &said {
        Some(said) => said.clone(),
        None => format!("The provider `{provider}` answered with status {status}"),
    };
    let (kind, message) = match status {
        // The operator's matters, not the caller's; their texts may name the operator's key.
        401 | 403 => (ErrorKind::Upstream(502), format!("The provider `{provider}` refused this server's credentials")),
        402 => (ErrorKind::Overload, format!("The provider `{provider}` is not available right now")),
        404 => (ErrorKind::Invalid, "Model Not Exist".into()),
        408 | 504 => (ErrorKind::Timeout, quoted()),
        413 => (ErrorKind::TooLarge, quoted()),
        429 => (ErrorKind::Rate, quoted()),
        400 => (ErrorKind::Invalid, quoted()),
        401..=499 => (ErrorKind::Upstream(status), quoted()),
        503 => (ErrorKind::Overload, quoted()),
        _ => (ErrorKind::Upstream(502), quoted()),
    };
    Error { retry_after, ..Error::new(kind, message) }
}

/// The words of an error body: `error.message`, `error`, `message` or `detail`, as services have it; else short plain text.
fn said(body: &[u8]) -> Option<String> {
    const LONGEST: usize = 1000;
    let text = String::from_utf8_lossy(body);
    let value: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let words = match &value {
        Some(value) => ["/error/message", "/error", "/message", "/detail"]
            .iter()
            .find_map(|pointer| value.pointer(pointer)?.as_str().map(str::to_owned)),
        // A page for people helps no program.
        None if text.trim_start().starts_with('<') => None,
        None => Some(text.trim().to_owned()),
    };
    words.filter(|words| !words.is_empty()).map(|words| words.chars().take(LONGEST).collect())
}

/// A failure in the middle of an answer.
pub(crate) fn broken(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Upstream(502), what)
}

#[cfg(test)]
mod tests;
