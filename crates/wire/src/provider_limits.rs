//! Limits on responses of providers, and the error when one is exceeded. Bytes that are forwarded
//! without being held may be of any length; everything that is held is limited.

use std::fmt;

use chat::{Error, ErrorKind};

/// Maximum number of bytes of a line of a stream.
pub const MAX_LINE_BYTES: usize = 16 << 20;
/// Maximum number of bytes of an event with all its lines.
pub const MAX_EVENT_BYTES: usize = 16 << 20;
/// Maximum number of bytes of comments and empty lines between two events. Keep-alives take some
/// twenty bytes a second.
pub const MAX_IDLE_BYTES: usize = 4 << 20;
/// Maximum number of consecutive events without content. Some services send one for every token of
/// hidden reasoning.
pub const MAX_EMPTY_EVENTS: u64 = 1 << 18;
/// Maximum number of values of an event that is parsed. A value of two bytes takes some hundred
/// bytes in memory.
pub const MAX_EVENT_VALUES: usize = 1 << 18;
/// Maximum number of bytes of an answer that is parsed, and held until its end if it
/// is not streamed.
/// They are enough for tens of millions of tokens.
pub const MAX_RESPONSE_BYTES: usize = 64 << 20;
/// Maximum number of bytes of a body that is forwarded as a whole. Images and embeddings are large.
pub const MAX_PASSTHROUGH_BODY_BYTES: usize = 256 << 20;

/// The code of the error that a caller receives when a provider exceeds a limit.
pub const PROVIDER_LIMIT_EXCEEDED: &str = "provider_limit_exceeded";

/// The limit that a provider has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderLimitExceeded {
    Line,
    Event,
    Idle,
    EmptyEvents,
    Values,
    Response,
    PassthroughBody,
    /// The limit of a response to one of this server's own requests, such as a list of models.
    Bytes(usize),
}

impl fmt::Display for ProviderLimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line => write!(f, "sent a line of more than {MAX_LINE_BYTES} bytes"),
            Self::Event => write!(f, "sent an event of more than {MAX_EVENT_BYTES} bytes"),
            Self::Idle => write!(f, "sent more than {MAX_IDLE_BYTES} bytes without an event"),
            Self::EmptyEvents => write!(f, "sent more than {MAX_EMPTY_EVENTS} events without content"),
            Self::Values => write!(f, "sent an event of more than {MAX_EVENT_VALUES} values"),
            Self::Response => write!(f, "sent an answer of more than {MAX_RESPONSE_BYTES} bytes"),
            Self::PassthroughBody => write!(f, "sent an answer of more than {MAX_PASSTHROUGH_BODY_BYTES} bytes"),
            Self::Bytes(limit) => write!(f, "sent more than {limit} bytes"),
        }
    }
}

impl ProviderLimitExceeded {
    /// The error for the caller.
    pub fn to_error(self, provider: &str) -> Error {
        let error = Error::new(ErrorKind::Upstream(502), format!("The provider `{provider}` {self}"));
        Error { code: Some(PROVIDER_LIMIT_EXCEEDED), ..error }
    }
}

/// Checks the number of values of an event before it is parsed: the parsed tree may take a hundred
/// times as much memory as the text.
///
/// # Errors
/// `Values` when there are more than [`MAX_EVENT_VALUES`].
pub fn check_event_values(data: &[u8]) -> Result<(), ProviderLimitExceeded> {
    if has_at_most_values(data, MAX_EVENT_VALUES) { Ok(()) } else { Err(ProviderLimitExceeded::Values) }
}

/// Whether `json` has at most `limit` values, counted by the commas and brackets
/// outside its strings.
/// Counting stops at the limit.
pub(crate) fn has_at_most_values(json: &[u8], limit: usize) -> bool {
    // Every value but the first has a comma or a bracket before it.
    if json.len() <= limit {
        return true;
    }
    let mut values = 1;
    let mut rest = json;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = skip_string(rest),
            b',' | b'[' | b'{' => values += 1,
            _ => {}
        }
        if values > limit {
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
    fn the_error_names_the_exceeded_limit() {
        let error = ProviderLimitExceeded::Line.to_error("p");
        assert_eq!(error.message, "The provider `p` sent a line of more than 16777216 bytes");
        assert_eq!((error.kind, error.code), (ErrorKind::Upstream(502), Some(PROVIDER_LIMIT_EXCEEDED)));
    }
}
