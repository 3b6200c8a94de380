//! How much a provider may say before it has failed, and what it is told then. What passes to the
//! caller without being held may be of any length; everything that is held is bounded.

use std::fmt;

use chat::{Error, ErrorKind};

/// Most bytes of one line of a stream.
pub const MAX_LINE_BYTES: usize = 16 << 20;
/// Most bytes of one event: all of its lines.
pub const MAX_EVENT_BYTES: usize = 16 << 20;
/// Most bytes of comments and empty lines between two events: signs of life are some
/// twenty bytes a second.
pub const MAX_IDLE_BYTES: usize = 4 << 20;
/// Most events in a row that bring nothing of the answer. Some services send one for every token of
/// hidden reasoning.
pub const MAX_EMPTY_EVENTS: u64 = 1 << 18;
/// Most values of one event that is read: a value of two bytes takes some hundred in memory.
pub const MAX_EVENT_VALUES: usize = 1 << 18;
/// Most bytes of an answer that is read, and so held until its end by callers who want it whole:
/// text of tens of millions of tokens.
pub const MAX_RESPONSE_BYTES: usize = 64 << 20;
/// Most bytes of an answer that passes whole: pictures and embeddings are large.
pub const MAX_PASSTHROUGH_BODY_BYTES: usize = 256 << 20;

/// The machine word of the error that a caller gets when a provider exceeds a bound.
pub const PROVIDER_LIMIT_EXCEEDED: &str = "provider_limit_exceeded";

/// The bound that a provider has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderLimitExceeded {
    Line,
    Event,
    Idle,
    EmptyEvents,
    Values,
    Response,
    PassthroughBody,
    /// A list or another answer of this server's own requests.
    Bytes(usize),
}

impl fmt::Display for ProviderLimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line => write!(f, "sent a line of more than {MAX_LINE_BYTES} bytes"),
            Self::Event => write!(f, "sent an event of more than {MAX_EVENT_BYTES} bytes"),
            Self::Idle => write!(f, "sent more than {MAX_IDLE_BYTES} bytes without an event"),
            Self::EmptyEvents => write!(f, "sent more than {MAX_EMPTY_EVENTS} events that said nothing"),
            Self::Values => write!(f, "sent an event of more than {MAX_EVENT_VALUES} values"),
            Self::Response => write!(f, "sent an answer of more than {MAX_RESPONSE_BYTES} bytes"),
            Self::PassthroughBody => write!(f, "sent an answer of more than {MAX_PASSTHROUGH_BODY_BYTES} bytes"),
            Self::Bytes(most) => write!(f, "sent more than {most} bytes"),
        }
    }
}

impl ProviderLimitExceeded {
    /// The caller's error.
    pub fn to_error(self, provider: &str) -> Error {
        let error = Error::new(ErrorKind::Upstream(502), format!("The provider `{provider}` {self}"));
        Error { code: Some(PROVIDER_LIMIT_EXCEEDED), ..error }
    }
}

/// Whether an event may be read: its tree may take a hundred times as much as its text.
///
/// # Errors
/// `Values`.
pub fn check_event_values(data: &[u8]) -> Result<(), ProviderLimitExceeded> {
    if has_at_most_values(data, MAX_EVENT_VALUES) { Ok(()) } else { Err(ProviderLimitExceeded::Values) }
}

/// Whether the values of `json` are at most `most`, by the commas and brackets outside of its
/// strings. It is not looked at further than it has to be.
pub(crate) fn has_at_most_values(json: &[u8], most: usize) -> bool {
    // Every value but the first has a comma or a bracket before it.
    if json.len() <= most {
        return true;
    }
    let (mut values, mut rest) = (1, json);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = skip_string(rest),
            b',' | b'[' | b'{' => values += 1,
            _ => {}
        }
        if values > most {
            return false;
        }
    }
    true
}

/// The bytes after a string whose opening quote has been read.
fn skip_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        if rest[at] == b'"' {
            return &rest[at + 1..];
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_where_they_are_values() {
        let text = format!("{{\"text\":\"{}\"}}", ",[\\\"{".repeat(1000));
        assert!(has_at_most_values(text.as_bytes(), 10));
        let list = format!("[{}0]", "0,".repeat(100));
        assert!(!has_at_most_values(list.as_bytes(), 100) && has_at_most_values(list.as_bytes(), 102));
        assert!(!has_at_most_values(b"[[[[[[[[[[[[", 10));
        assert!(has_at_most_values(format!("\"{}\\", "x".repeat(100)).as_bytes(), 10));
    }

    #[test]
    fn what_was_exceeded_is_told_with_its_bound() {
        let error = ProviderLimitExceeded::Line.to_error("p");
        assert_eq!(error.message, "The provider `p` sent a line of more than 16777216 bytes");
        assert_eq!((error.kind, error.code), (ErrorKind::Upstream(502), Some(PROVIDER_LIMIT_EXCEEDED)));
    }
}
