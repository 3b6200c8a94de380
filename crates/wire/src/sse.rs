//! A writer and a parser of server-sent events. Lines end with `\n`, `\r\n` or `\r`; bytes may
//! arrive in any chunks.

use memchr::memchr2;

use crate::provider_limits::{MAX_EVENT_BYTES, MAX_IDLE_BYTES, MAX_LINE_BYTES, ProviderLimitExceeded};

/// Capacity that the line buffer keeps for the next line.
const RETAINED_LINE_CAPACITY: usize = 64 << 10;

/// Appends one event. Line breaks inside `data` become several `data:` lines.
pub fn write_event(data: &str, out: &mut String) {
    for line in data.split('\n') {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
}

/// Appends a comment, which readers skip.
pub fn write_comment(text: &str, out: &mut String) {
    debug_assert!(!text.contains(['\n', '\r']), "a comment is one line");
    out.push_str(": ");
    out.push_str(text);
    out.push_str("\n\n");
}

/// A frame of an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SseFrame {
    /// An event. `name` is the value of its `event:` line.
    Event { name: Option<String>, data: String },
    /// A comment line.
    Comment(String),
}

/// Parses frames from bytes in any chunks. The fields `id` and `retry`, and events without
/// data, are ignored.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    after_carriage_return: bool,
    seen_first_line: bool,
    name: Option<String>,
    data: Option<String>,
    /// Bytes of comments and empty lines since the last event.
    idle_bytes: usize,
}

impl SseParser {
    /// Appends the frames that `bytes` complete to `out`.
    ///
    /// # Errors
    /// The limit that the stream has exceeded. The parser must not be used after that.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<SseFrame>) -> Result<(), ProviderLimitExceeded> {
        let mut rest = bytes;
        while let Some(at) = memchr2(b'\n', b'\r', rest) {
            let (line_part, terminator) = (&rest[..at], rest[at]);
            rest = &rest[at + 1..];
            let is_crlf_remainder = std::mem::replace(&mut self.after_carriage_return, false)
                && terminator == b'\n'
                && line_part.is_empty();
            self.append_to_line(line_part)?;
            if !is_crlf_remainder {
                self.end_line(out)?;
            }
            self.after_carriage_return = terminator == b'\r';
        }
        self.after_carriage_return &= rest.is_empty();
        self.append_to_line(rest)
    }

    /// Ends the stream. Returns the data of a last event without its empty line, which may be cut
    /// off.
    pub fn finish(&mut self) -> Option<String> {
        let mut frames = Vec::new();
        // A limit cannot be exceeded by the end of a line.
        self.feed(b"\n\n", &mut frames).ok()?;
        frames.into_iter().find_map(|frame| match frame {
            SseFrame::Event { data, .. } => Some(data),
            SseFrame::Comment(_) => None,
        })
    }

    /// Number of bytes held of the incomplete event.
    pub fn buffered_bytes(&self) -> usize {
        self.line.len() + self.event_bytes()
    }

    fn event_bytes(&self) -> usize {
        self.data.as_ref().map_or(0, String::len) + self.name.as_ref().map_or(0, String::len)
    }

    fn append_to_line(&mut self, bytes: &[u8]) -> Result<(), ProviderLimitExceeded> {
        let length = self.line.len() + bytes.len();
        if length > MAX_LINE_BYTES {
            return Err(ProviderLimitExceeded::Line);
        }
        if length + self.event_bytes() > MAX_EVENT_BYTES {
            return Err(ProviderLimitExceeded::Event);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, out: &mut Vec<SseFrame>) -> Result<(), ProviderLimitExceeded> {
        let line = String::from_utf8_lossy(&self.line);
        self.idle_bytes += self.line.len() + 1;
        let is_first_line = !std::mem::replace(&mut self.seen_first_line, true);
        let line = if is_first_line { line.strip_prefix('\u{feff}').unwrap_or(&line) } else { &line };
        if line.is_empty() {
            let name = self.name.take();
            if let Some(data) = self.data.take() {
                self.idle_bytes = 0;
                out.push(SseFrame::Event { name, data });
            }
        } else {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => out.push(SseFrame::Comment(value.into())),
                "event" => self.name = Some(value.into()),
                "data" => {
                    // The data of an event has a limit of its own.
                    self.idle_bytes = 0;
                    match &mut self.data {
                        Some(data) => {
                            data.push('\n');
                            data.push_str(value);
                        }
                        None => self.data = Some(value.into()),
                    }
                }
                _ => {}
            }
        }
        self.line.clear();
        // A long line is rare, so its memory is released.
        self.line.shrink_to(RETAINED_LINE_CAPACITY);
        if self.idle_bytes > MAX_IDLE_BYTES { Err(ProviderLimitExceeded::Idle) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<SseFrame> {
        let mut parser = SseParser::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            parser.feed(chunk, &mut frames).unwrap();
        }
        frames
    }

    fn data_event(data: &str) -> SseFrame {
        SseFrame::Event { name: None, data: data.into() }
    }

    #[test]
    fn all_line_ends_names_and_comments_are_read() {
        let text = "\u{feff}: hello\r\n\r\nevent: error\rdata: a\r\ndata:b\n\nid: 7\nretry: 1\n\ndata\n\ndata: cut";
        let error = SseFrame::Event { name: Some("error".into()), data: "a\nb".into() };
        assert_eq!(parse([text.as_bytes()]), [SseFrame::Comment("hello".into()), error, data_event("")]);
    }

    #[test]
    fn rendered_events_are_read_back() {
        let mut out = String::new();
        write_comment("keep-alive", &mut out);
        write_event("{}", &mut out);
        write_event("[DONE]", &mut out);
        assert_eq!(out, ": keep-alive\n\ndata: {}\n\ndata: [DONE]\n\n");
        assert_eq!(
            parse([out.as_bytes()]),
            [SseFrame::Comment("keep-alive".into()), data_event("{}"), data_event("[DONE]")]
        );
    }

    /// The limit that `piece` exceeds when it is repeated, and the most bytes held until then.
    fn feed_until_exceeded(piece: &str) -> (ProviderLimitExceeded, usize) {
        let mut parser = SseParser::default();
        let mut most_held = 0;
        let bytes = piece.repeat((64 << 10) / piece.len());
        for _ in 0..2000 {
            if let Err(exceeded) = parser.feed(bytes.as_bytes(), &mut Vec::new()) {
                return (exceeded, most_held);
            }
            most_held = most_held.max(parser.buffered_bytes());
        }
        panic!("{piece:?} exceeds no limit")
    }

    #[test]
    fn an_endless_stream_exceeds_a_limit() {
        for (piece, exceeded) in [
            ("x", ProviderLimitExceeded::Line),
            ("data: x\n", ProviderLimitExceeded::Event),
            ("data: x\n: c\n", ProviderLimitExceeded::Event),
            ("data: xxxxxxxxxxxxxxxx\nevent: y\n", ProviderLimitExceeded::Event),
            ("data\n", ProviderLimitExceeded::Event),
            (": c\n", ProviderLimitExceeded::Idle),
            ("\n", ProviderLimitExceeded::Idle),
            ("\r", ProviderLimitExceeded::Idle),
            ("event: x\n\n", ProviderLimitExceeded::Idle),
            ("id: 7\n", ProviderLimitExceeded::Idle),
        ] {
            let (found, held) = feed_until_exceeded(piece);
            assert_eq!(found, exceeded, "{piece:?}");
            assert!(held <= MAX_EVENT_BYTES, "{piece:?}: {held}");
        }
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_how_bytes_were_chunked(
            text in "([:a-dé\u{feff} \r\n]|data: |event: |\r\n|\n\n){0,40}",
            cuts in prop::collection::vec(1usize..9, 0..40),
        ) {
            let mut rest = text.as_bytes();
            let mut chunks = Vec::new();
            for cut in cuts {
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            chunks.push(rest);
            prop_assert_eq!(parse(chunks), parse([text.as_bytes()]));
        }

        #[test]
        fn any_data_without_carriage_returns_survives(data in "[^\r]{0,60}") {
            let mut out = String::new();
            write_event(&data, &mut out);
            prop_assert_eq!(parse([out.as_bytes()]), [data_event(&data)]);
        }
    }
}
