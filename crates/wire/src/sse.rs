//! Event-stream framing, both ways. Lines end with `\n`, `\r\n` or `\r`; bytes may arrive in any chunks.

use memchr::memchr2;

use crate::bounds::{EVENT_BYTES, Exceeded, IDLE_BYTES, LINE_BYTES};

/// Capacity of the line buffer that is kept for the next line.
const KEPT_BYTES: usize = 64 << 10;

/// Appends one event. Line breaks inside `data` become several `data:` lines.
pub fn event(data: &str, out: &mut String) {
    for line in data.split('\n') {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
}

/// Appends a comment, which readers skip.
pub fn comment(text: &str, out: &mut String) {
    debug_assert!(!text.contains(['\n', '\r']), "a comment is one line");
    out.push_str(": ");
    out.push_str(text);
    out.push_str("\n\n");
}

/// What a stream of events says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// `name` is that of an `event:` line.
    Event {
        name: Option<String>,
        data: String,
    },
    Comment(String),
}

/// Reads frames from bytes in any chunks. Fields `id` and `retry` are ignored; an event without data is none.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_return: bool,
    any_line: bool,
    name: Option<String>,
    data: Option<String>,
    /// Bytes of comments and empty lines since the last event.
    idle: usize,
}

impl Parser {
    /// Appends the frames that `bytes` complete to `out`.
    ///
    /// # Errors
    /// The bound that the stream has exceeded. Nothing may be fed after that.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Frame>) -> Result<(), Exceeded> {
        let mut rest = bytes;
        while let Some(at) = memchr2(b'\n', b'\r', rest) {
            let (begin, end) = (&rest[..at], rest[at]);
            rest = &rest[at + 1..];
            let is_rest_of_return =
                std::mem::replace(&mut self.after_return, false) && end == b'\n' && begin.is_empty();
            self.keep(begin)?;
            if !is_rest_of_return {
                self.end_line(out)?;
            }
            self.after_return = end == b'\r';
        }
        self.after_return &= rest.is_empty();
        self.keep(rest)
    }

    /// Bytes that are held of the event that has not ended.
    pub fn held(&self) -> usize {
        self.line.len() + self.event_bytes()
    }

    fn event_bytes(&self) -> usize {
        self.data.as_ref().map_or(0, String::len) + self.name.as_ref().map_or(0, String::len)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Exceeded> {
        let length = self.line.len() + bytes.len();
        if length > LINE_BYTES {
            return Err(Exceeded::Line);
        }
        if length + self.event_bytes() > EVENT_BYTES {
            return Err(Exceeded::Event);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, out: &mut Vec<Frame>) -> Result<(), Exceeded> {
        let line = String::from_utf8_lossy(&self.line);
        self.idle += self.line.len() + 1;
        let first = !std::mem::replace(&mut self.any_line, true);
        let line = if first { line.strip_prefix('\u{feff}').unwrap_or(&line) } else { &line };
        if line.is_empty() {
            let name = self.name.take();
            if let Some(data) = self.data.take() {
                self.idle = 0;
                out.push(Frame::Event { name, data });
            }
        } else {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => out.push(Frame::Comment(value.into())),
                "event" => self.name = Some(value.into()),
                "data" => {
                    // What belongs to an event is bounded with it.
                    self.idle = 0;
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
        // A long line is rare, and its memory is not kept for the next.
        self.line.shrink_to(KEPT_BYTES);
        if self.idle > IDLE_BYTES { Err(Exceeded::Idle) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        for chunk in chunks {
            parser.feed(chunk, &mut frames).unwrap();
        }
        frames
    }

    fn says(data: &str) -> Frame {
        Frame::Event { name: None, data: data.into() }
    }

    #[test]
    fn all_line_ends_names_and_comments_are_understood() {
        let text = "\u{feff}: hello\r\n\r\nevent: error\rdata: a\r\ndata:b\n\nid: 7\nretry: 1\n\ndata\n\ndata: cut";
        let error = Frame::Event { name: Some("error".into()), data: "a\nb".into() };
        assert_eq!(parse([text.as_bytes()]), [Frame::Comment("hello".into()), error, says("")]);
    }

    #[test]
    fn rendered_events_are_read_back() {
        let mut out = String::new();
        comment("keep-alive", &mut out);
        event("{}", &mut out);
        event("[DONE]", &mut out);
        assert_eq!(out, ": keep-alive\n\ndata: {}\n\ndata: [DONE]\n\n");
        assert_eq!(parse([out.as_bytes()]), [Frame::Comment("keep-alive".into()), says("{}"), says("[DONE]")]);
    }

    /// The bound that `piece` exceeds when it is repeated without end, and the most bytes held until then.
    fn endless(piece: &str) -> (Exceeded, usize) {
        let (mut parser, mut most) = (Parser::default(), 0);
        let bytes = piece.repeat((64 << 10) / piece.len());
        for _ in 0..2000 {
            if let Err(exceeded) = parser.feed(bytes.as_bytes(), &mut Vec::new()) {
                return (exceeded, most);
            }
            most = most.max(parser.held());
        }
        panic!("{piece:?} goes on for ever")
    }

    #[test]
    fn nothing_goes_on_for_ever() {
        for (piece, exceeded) in [
            ("x", Exceeded::Line),
            ("data: x\n", Exceeded::Event),
            ("data: x\n: c\n", Exceeded::Event),
            ("data: xxxxxxxxxxxxxxxx\nevent: y\n", Exceeded::Event),
            ("data\n", Exceeded::Event),
            (": c\n", Exceeded::Idle),
            ("\n", Exceeded::Idle),
            ("\r", Exceeded::Idle),
            ("event: x\n\n", Exceeded::Idle),
            ("id: 7\n", Exceeded::Idle),
        ] {
            let (found, held) = endless(piece);
            assert_eq!(found, exceeded, "{piece:?}");
            assert!(held <= EVENT_BYTES, "{piece:?}: {held}");
        }
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_how_bytes_were_chunked(
            text in "([:a-dé\u{feff} \r\n]|data: |event: |\r\n|\n\n){0,40}",
            cuts in prop::collection::vec(1usize..9, 0..40),
        ) {
            let (mut rest, mut chunks) = (text.as_bytes(), Vec::new());
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
            event(&data, &mut out);
            prop_assert_eq!(parse([out.as_bytes()]), [says(&data)]);
        }
    }
}
