//! A parser of Amazon's binary event streams (`application/vnd.amazon.eventstream`): messages of
//! headers and a payload, with lengths and checksums.
//! <https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html>

use serde_json::{Value, json};

use crate::provider_limits::{MAX_EVENT_BYTES, ProviderLimitExceeded};
use crate::sse::{SseFrame, SseParser};

/// The length of a message, that of its headers, and their checksum.
const PRELUDE_BYTES: usize = 12;
/// The checksum at the end of a message.
const CHECKSUM_BYTES: usize = 4;

/// The parser of a stream of events, in the framing of its dialect.
#[derive(Debug)]
pub enum FrameParser {
    Sse(SseParser),
    EventStream(EventStreamParser),
}

impl FrameParser {
    /// Appends the frames that `bytes` complete to `out`.
    ///
    /// # Errors
    /// The limit that the stream has exceeded. The parser must not be used after that.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<SseFrame>) -> Result<(), ProviderLimitExceeded> {
        match self {
            Self::Sse(parser) => parser.feed(bytes, out),
            Self::EventStream(parser) => parser.feed(bytes, out),
        }
    }

    /// Ends the stream. Returns the data of a last event without its end, which may be cut off.
    pub fn finish(&mut self) -> Option<String> {
        match self {
            Self::Sse(parser) => parser.finish(),
            Self::EventStream(_) => None,
        }
    }

    /// Number of bytes held of the incomplete event.
    pub fn buffered_bytes(&self) -> usize {
        match self {
            Self::Sse(parser) => parser.buffered_bytes(),
            Self::EventStream(parser) => parser.buffered_bytes(),
        }
    }
}

/// Parses messages from bytes in any chunks. Each becomes an event whose data is a JSON object of
/// one field: the type of the event, and the payload. An exception is the field `exception`.
#[derive(Debug, Default)]
pub struct EventStreamParser {
    buffer: Vec<u8>,
    /// A message was not valid: what follows it cannot be read.
    is_broken: bool,
}

impl EventStreamParser {
    /// Appends the frames that `bytes` complete to `out`. A message that is not valid is an event
    /// that no reader accepts.
    ///
    /// # Errors
    /// The limit that the stream has exceeded. The parser must not be used after that.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<SseFrame>) -> Result<(), ProviderLimitExceeded> {
        if self.is_broken {
            return Ok(());
        }
        self.buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(length) = message_length(&self.buffer[at..]) {
            let Some(length) = length else {
                self.is_broken = true;
                out.push(SseFrame::Event { name: None, data: "not a message".into() });
                break;
            };
            if length > MAX_EVENT_BYTES {
                return Err(ProviderLimitExceeded::Event);
            }
            let Some(message) = self.buffer[at..].get(..length) else { break };
            at += length;
            let data = parse_message(message);
            self.is_broken = data.is_none();
            let data = data.unwrap_or_else(|| "not a message".into());
            out.push(SseFrame::Event { name: None, data });
            if self.is_broken {
                break;
            }
        }
        if self.is_broken {
            // The rest is never read.
            self.buffer = Vec::new();
        } else {
            self.buffer.drain(..at);
        }
        Ok(())
    }

    /// Number of bytes held of the incomplete message.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }
}

/// The length of the message at the beginning of `bytes`: `None` without a whole prelude, and
/// `Some(None)` for one that is not valid.
fn message_length(bytes: &[u8]) -> Option<Option<usize>> {
    let prelude = bytes.get(..PRELUDE_BYTES)?;
    let (length, headers) = (read_u32(prelude), read_u32(&prelude[4..]));
    let is_valid = read_u32(&prelude[8..]) == crc32(&prelude[..8])
        && headers.checked_add(PRELUDE_BYTES + CHECKSUM_BYTES).is_some_and(|least| least <= length);
    Some(is_valid.then_some(length))
}

/// The data of a message, whose prelude is valid; `None` if the rest is not.
fn parse_message(message: &[u8]) -> Option<String> {
    let (content, checksum) = message.split_at_checked(message.len() - CHECKSUM_BYTES)?;
    if read_u32(checksum) != crc32(content) {
        return None;
    }
    let (headers, payload) = content[PRELUDE_BYTES..].split_at_checked(read_u32(&content[4..]))?;
    let headers = Headers::parse(headers)?;
    let payload = std::str::from_utf8(payload).ok()?;
    let kind = |kind: Option<&str>| Some(Value::from(kind?).to_string());
    match headers.message_type? {
        "event" => Some(format!("{{{}:{payload}}}", kind(headers.event_type)?)),
        "exception" => {
            let message = serde_json::from_str::<Value>(payload).ok();
            let message = message.as_ref().and_then(|body| body["message"].as_str().or(body["Message"].as_str()));
            Some(json!({ "exception": { "type": headers.exception_type?, "message": message } }).to_string())
        }
        "error" => {
            Some(json!({ "exception": { "type": headers.error_code?, "message": headers.error_message } }).to_string())
        }
        _ => None,
    }
}

/// The headers that say what a message is.
#[derive(Default)]
struct Headers<'a> {
    message_type: Option<&'a str>,
    event_type: Option<&'a str>,
    exception_type: Option<&'a str>,
    error_code: Option<&'a str>,
    error_message: Option<&'a str>,
}

impl<'a> Headers<'a> {
    /// Parses all headers; `None` if they are not valid.
    fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut headers = Self::default();
        while let Some((&name_length, rest)) = bytes.split_first() {
            let (name, rest) = rest.split_at_checked(usize::from(name_length))?;
            let (&kind, rest) = rest.split_first()?;
            let (value, rest) = split_value(kind, rest)?;
            bytes = rest;
            let Some(text) = (kind == STRING).then(|| std::str::from_utf8(value).ok()).flatten() else { continue };
            match name {
                b":message-type" => headers.message_type = Some(text),
                b":event-type" => headers.event_type = Some(text),
                b":exception-type" => headers.exception_type = Some(text),
                b":error-code" => headers.error_code = Some(text),
                b":error-message" => headers.error_message = Some(text),
                _ => {}
            }
        }
        Some(headers)
    }
}

/// The type of a text.
const STRING: u8 = 7;

/// Splits off the value of a header of this type; `None` for an unknown type.
fn split_value(kind: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = match kind {
        // True and false.
        0 | 1 => 0,
        // Numbers of one, two, four and eight bytes, times, and UUIDs.
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        // Bytes and texts.
        6 | STRING => {
            let (length, rest) = bytes.split_at_checked(2)?;
            return rest.split_at_checked(usize::from(u16::from_be_bytes([length[0], length[1]])));
        }
        _ => return None,
    };
    bytes.split_at_checked(length)
}

fn read_u32(bytes: &[u8]) -> usize {
    bytes[..4].iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The CRC-32 of ISO 3309, as in gzip.
fn crc32(bytes: &[u8]) -> usize {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8));
    !crc as usize
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message with these headers, as a service writes it.
    fn message(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
        let mut fields = Vec::new();
        for (name, value) in headers {
            fields.push(name.len() as u8);
            fields.extend_from_slice(name.as_bytes());
            fields.push(STRING);
            fields.extend_from_slice(&(value.len() as u16).to_be_bytes());
            fields.extend_from_slice(value.as_bytes());
        }
        let length = PRELUDE_BYTES + fields.len() + payload.len() + CHECKSUM_BYTES;
        let mut bytes = (length as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&(fields.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&(crc32(&bytes) as u32).to_be_bytes());
        bytes.extend(fields);
        bytes.extend_from_slice(payload.as_bytes());
        bytes.extend_from_slice(&(crc32(&bytes) as u32).to_be_bytes());
        bytes
    }

    fn event(kind: &str, payload: &str) -> Vec<u8> {
        let content_type = (":content-type", "application/json");
        message(&[(":event-type", kind), content_type, (":message-type", "event")], payload)
    }

    fn parse(bytes: &[u8], cut: usize) -> Result<Vec<String>, ProviderLimitExceeded> {
        let (mut parser, mut frames) = (EventStreamParser::default(), Vec::new());
        for chunk in bytes.chunks(cut) {
            parser.feed(chunk, &mut frames)?;
        }
        let data = |frame| match frame {
            SseFrame::Event { data, .. } => data,
            SseFrame::Comment(text) => text,
        };
        Ok(frames.into_iter().map(data).collect())
    }

    #[test]
    fn the_checksum_is_that_of_gzip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    /// The example of the vendor's document on the encoding: a message without headers and payload,
    /// and one with a payload alone.
    #[test]
    fn the_smallest_messages_have_the_documented_bytes() {
        assert_eq!(message(&[], ""), [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff]);
        let bytes = message(&[], "{'foo':'bar'}");
        assert_eq!(bytes[..12], [0, 0, 0, 0x1d, 0, 0, 0, 0, 0xfd, 0x52, 0x8c, 0x5a]);
        assert_eq!(bytes[25..], [0xc3, 0x65, 0x39, 0x36]);
    }

    #[test]
    fn events_and_exceptions_are_read_in_any_chunks() {
        let exception = message(
            &[(":exception-type", "throttlingException"), (":message-type", "exception")],
            r#"{"message":"Too many"}"#,
        );
        let error = message(
            &[(":error-code", "InternalServerException"), (":error-message", "gone"), (":message-type", "error")],
            "",
        );
        let bytes = [event("messageStart", r#"{"role":"assistant"}"#), exception, error].concat();
        for cut in [1, 7, 1000] {
            assert_eq!(
                parse(&bytes, cut).unwrap(),
                [
                    r#"{"messageStart":{"role":"assistant"}}"#,
                    r#"{"exception":{"type":"throttlingException","message":"Too many"}}"#,
                    r#"{"exception":{"type":"InternalServerException","message":"gone"}}"#,
                ]
            );
        }
    }

    #[test]
    fn a_message_that_is_not_valid_ends_the_stream() {
        let good = event("messageStop", "{}");
        for at in [3, 9, 20, good.len() - 6, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let frames = parse(&[bad, good.clone()].concat(), 1000).unwrap();
            assert_eq!(frames, ["not a message"], "byte {at}");
        }
        assert_eq!(parse(b"HTTP is not this protocol", 1000).unwrap(), ["not a message"]);
        assert!(parse(&good[..good.len() - 1], 3).unwrap().is_empty());
        // Nothing is held of what is not read.
        let (mut parser, mut frames) = (EventStreamParser::default(), Vec::new());
        for bytes in [&b"HTTP is not this protocol"[..], &good] {
            parser.feed(bytes, &mut frames).unwrap();
            assert_eq!((frames.len(), parser.buffered_bytes()), (1, 0));
        }
        // A long message is refused before it is held.
        let mut prelude = ((MAX_EVENT_BYTES + 1) as u32).to_be_bytes().to_vec();
        prelude.extend_from_slice(&[0; 4]);
        prelude.extend_from_slice(&(crc32(&prelude) as u32).to_be_bytes());
        assert_eq!(parse(&prelude, 100), Err(ProviderLimitExceeded::Event));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80), cut in 1usize..40, seal: bool) {
            if seal && bytes.len() >= 16 {
                // A valid prelude before any content.
                let length = bytes.len() as u32;
                bytes[..4].copy_from_slice(&length.to_be_bytes());
                bytes[4..7].fill(0);
                let prelude = crc32(&bytes[..8]) as u32;
                bytes[8..12].copy_from_slice(&prelude.to_be_bytes());
                let end = bytes.len() - 4;
                let whole = crc32(&bytes[..end]) as u32;
                bytes[end..].copy_from_slice(&whole.to_be_bytes());
            }
            let _ = parse(&bytes, cut);
        }
    }
}
