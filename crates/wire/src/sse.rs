//! Event-stream framing, both ways. Lines end with `\n`, `\r\n` or `\r`; bytes may arrive in any chunks.

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
}

impl Parser {
    /// Appends the frames that `bytes` complete to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Frame>) {
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => self.end_line(out),
                _ => self.line.push(byte),
            }
        }
    }

    fn end_line(&mut self, out: &mut Vec<Frame>) {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let first = !std::mem::replace(&mut self.any_line, true);
        let line = if first { line.strip_prefix('\u{feff}').unwrap_or(&line) } else { &line };
        if line.is_empty() {
            let name = self.name.take();
            out.extend(self.data.take().map(|data| Frame::Event { name, data }));
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => out.push(Frame::Comment(value.into())),
            "event" => self.name = Some(value.into()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.into()),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        for chunk in chunks {
            parser.feed(chunk, &mut frames);
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
