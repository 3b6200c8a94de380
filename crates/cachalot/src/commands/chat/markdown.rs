//! Light drawing of Markdown while it arrives: headings, emphasis, code, lists and quotes get a
//! style. No character is removed or changed, so that copied text is still Markdown.

/// The style of a character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    bold: bool,
    italic: bool,
    dim: bool,
    code: bool,
}

impl Style {
    const PLAIN: Self = Self { bold: false, italic: false, dim: false, code: false };

    /// The escape sequence that sets this style, whatever the present one is.
    fn escape(self) -> String {
        let mut codes = String::from("\x1b[0");
        let parts = [(self.bold, ";1"), (self.dim, ";2"), (self.italic, ";3"), (self.code, ";36")];
        parts.iter().filter(|(is_set, _)| *is_set).for_each(|(_, code)| codes.push_str(code));
        codes.push('m');
        codes
    }
}

/// Draws Markdown that arrives in pieces of any size.
#[derive(Debug)]
pub(super) struct Markdown {
    /// Characters whose meaning depends on what follows: the beginning of a line, a run of marks.
    pending: String,
    at_line_start: bool,
    /// The mark of the code block that is open.
    fence: Option<char>,
    line: LineKind,
    bold: bool,
    italic: bool,
    /// The number of backticks of the code span that is open; 0 without one.
    code_ticks: usize,
    /// The character before the pending ones.
    last: char,
    style: Style,
}

impl Default for Markdown {
    fn default() -> Self {
        Self {
            pending: String::new(),
            at_line_start: true,
            fence: None,
            line: LineKind::Text,
            bold: false,
            italic: false,
            code_ticks: 0,
            last: '\n',
            style: Style::PLAIN,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineKind {
    Text,
    Heading,
    /// The mark of a list or a quote, which is drawn by itself.
    Marked,
    /// The first or last line of a code block.
    Fence(char),
}

impl Markdown {
    /// Draws a piece into `out`.
    pub(super) fn push(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            self.push_char(c, out);
        }
    }

    /// Draws what is pending and ends all styles.
    pub(super) fn finish(&mut self, out: &mut String) {
        let pending = std::mem::take(&mut self.pending);
        self.draw(&pending, self.text_style(), out);
        self.set_style(Style::PLAIN, out);
        *self = Self::default();
    }

    fn push_char(&mut self, c: char, out: &mut String) {
        if self.at_line_start {
            self.pending.push(c);
            if let Some(kind) = line_kind(&self.pending, self.fence) {
                self.begin_line(kind, out);
            }
        } else {
            self.push_inline(c, out);
        }
    }

    fn begin_line(&mut self, kind: LineKind, out: &mut String) {
        self.at_line_start = false;
        self.line = kind;
        let start = std::mem::take(&mut self.pending);
        match kind {
            LineKind::Fence(mark) => {
                self.fence = if self.fence.is_some() { None } else { Some(mark) };
                self.draw(&start, self.text_style(), out);
            }
            LineKind::Marked => self.draw(&start, Style { bold: true, ..Style::PLAIN }, out),
            LineKind::Heading => self.draw(&start, self.text_style(), out),
            LineKind::Text => start.chars().for_each(|c| self.push_inline(c, out)),
        }
    }

    /// Takes a character after the beginning of its line.
    fn push_inline(&mut self, c: char, out: &mut String) {
        let is_verbatim = self.fence.is_some() || matches!(self.line, LineKind::Fence(_));
        if let Some(mark) = self.pending.chars().next() {
            if c == mark {
                return self.pending.push(c);
            }
            self.end_run(c, out);
        }
        match c {
            '\n' => self.end_line(out),
            '*' | '_' | '`' if !is_verbatim => self.pending.push(c),
            _ => self.draw(c.encode_utf8(&mut [0; 4]), self.text_style(), out),
        }
    }

    /// Draws a run of marks that `next` follows. Opening marks have the style of the text inside,
    /// and closing ones too.
    fn end_run(&mut self, next: char, out: &mut String) {
        let run = std::mem::take(&mut self.pending);
        let mark = run.chars().next().unwrap_or_default();
        let before = self.text_style();
        let mut closes_span = false;
        if mark == '`' {
            closes_span = self.code_ticks == run.len();
            match self.code_ticks {
                0 => self.code_ticks = run.len(),
                _ if closes_span => self.code_ticks = 0,
                _ => {}
            }
        } else if self.code_ticks == 0 {
            // Marks inside of words are not emphasis where they are underscores (`snake_case`).
            let inside_word = mark == '_' && self.last.is_alphanumeric() && next.is_alphanumeric();
            let closes = !self.last.is_whitespace() && !inside_word;
            let opens = !next.is_whitespace() && !inside_word;
            let mut switch = |is_set: &mut bool| {
                closes_span |= *is_set && closes;
                *is_set = if *is_set { !closes } else { opens };
            };
            if run.len() == 1 || run.len() == 3 {
                switch(&mut self.italic);
            }
            if run.len() == 2 || run.len() == 3 {
                switch(&mut self.bold);
            }
        }
        let shown = if closes_span { before } else { self.text_style() };
        self.draw(&run, shown, out);
    }

    /// Styles do not reach beyond their line: a mark that is never closed does no harm.
    fn end_line(&mut self, out: &mut String) {
        (self.bold, self.italic, self.code_ticks) = (false, false, 0);
        self.set_style(Style::PLAIN, out);
        out.push('\n');
        self.last = '\n';
        self.line = LineKind::Text;
        self.at_line_start = true;
    }

    fn text_style(&self) -> Style {
        match self.line {
            LineKind::Fence(_) => Style { dim: true, ..Style::PLAIN },
            _ if self.fence.is_some() || self.code_ticks > 0 => Style { code: true, ..Style::PLAIN },
            LineKind::Heading => Style { bold: true, italic: self.italic, ..Style::PLAIN },
            _ => Style { bold: self.bold, italic: self.italic, ..Style::PLAIN },
        }
    }

    fn draw(&mut self, text: &str, style: Style, out: &mut String) {
        let Some(last) = text.chars().next_back() else { return };
        self.set_style(style, out);
        out.push_str(text);
        self.last = last;
    }

    fn set_style(&mut self, style: Style, out: &mut String) {
        if std::mem::replace(&mut self.style, style) != style {
            out.push_str(&style.escape());
        }
    }
}

/// The kind of a line that begins with `start`; `None` while more of it is needed. Within a code
/// block, `fence` is the mark that ends it.
fn line_kind(start: &str, fence: Option<char>) -> Option<LineKind> {
    let text = start.trim_start_matches([' ', '\t']);
    let Some(first) = text.chars().next() else {
        // Deeper indentation does not matter.
        return (start.len() > 32).then_some(LineKind::Text);
    };
    if matches!(first, '`' | '~') && fence.is_none_or(|fence| fence == first) {
        let is_run = text.chars().all(|c| c == first);
        return match (is_run, text.len()) {
            (true, 3) => Some(LineKind::Fence(first)),
            (true, _) => None,
            _ => Some(LineKind::Text),
        };
    }
    if fence.is_some() {
        return Some(LineKind::Text);
    }
    let after = text.trim_start_matches(|c: char| c == first || (first.is_ascii_digit() && c.is_ascii_digit()));
    let run = text.len() - after.len();
    match first {
        '#' if run <= 6 => decide(after, &[" "], LineKind::Heading),
        '-' | '+' | '*' if run == 1 => decide(after, &[" "], LineKind::Marked),
        '0'..='9' if run <= 9 => decide(after, &[". ", ") "], LineKind::Marked),
        '>' => Some(LineKind::Marked),
        _ => Some(LineKind::Text),
    }
}

/// `kind` if `after` is one of `ends`, `None` while it can become one.
fn decide(after: &str, ends: &[&str], kind: LineKind) -> Option<LineKind> {
    if ends.contains(&after) {
        Some(kind)
    } else if ends.iter().any(|end| end.starts_with(after)) {
        None
    } else {
        Some(LineKind::Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn draw(pieces: &[&str]) -> String {
        let mut markdown = Markdown::default();
        let mut out = String::new();
        pieces.iter().for_each(|piece| markdown.push(piece, &mut out));
        markdown.finish(&mut out);
        out
    }

    /// The text with styles as letters in brackets: bold, italic, code, dim.
    fn shown(text: &str) -> String {
        let letters = [
            ("\x1b[0m", "[]"),
            ("\x1b[0;1m", "[b]"),
            ("\x1b[0;3m", "[i]"),
            ("\x1b[0;36m", "[c]"),
            ("\x1b[0;2m", "[d]"),
            ("\x1b[0;1;3m", "[bi]"),
        ];
        letters.iter().fold(draw(&[text]), |text, (escape, letter)| text.replace(escape, letter))
    }

    #[test]
    fn marks_get_a_style() {
        for (text, drawn) in [
            ("a **b** c", "a [b]**b**[] c"),
            ("*a* and _b_", "[i]*a*[] and [i]_b_[]"),
            ("***a***", "[bi]***a***[]"),
            ("run `ls *` now", "run [c]`ls *`[] now"),
            ("``a`b``", "[c]``a`b``[]"),
            ("# A *b*.\nc", "[b]# A [bi]*b*[b].[]\nc"),
            ("- a\n* b\n12. c\n> d", "[b]- []a\n[b]* []b\n[b]12. []c\n[b]>[] d"),
            ("```rust\nlet a = **b;\n```\nc", "[d]```rust[]\n[c]let a = **b;[]\n[d]```[]\nc"),
        ] {
            assert_eq!(shown(text), drawn, "{text}");
        }
    }

    #[test]
    fn other_marks_are_text() {
        for text in ["2 * 3 * 4", "snake_case_name", "-a", "#a", "12.5", "1", "~~", "a\n\n  b", "* ", "**", "_"] {
            let drawn = draw(&[text]).replace("\x1b[0;1m", "").replace("\x1b[0m", "");
            assert_eq!(drawn, text);
        }
        assert_eq!(draw(&["2 * 3 * 4 and snake_case_name"]), "2 * 3 * 4 and snake_case_name");
        // An unclosed mark ends with its line.
        assert_eq!(shown("**a\nb"), "[b]**a[]\nb");
    }

    /// The text without escape sequences.
    fn stripped(text: &str) -> String {
        let mut parts = text.split("\x1b[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
    }

    proptest! {
        #[test]
        fn no_character_is_lost_and_pieces_do_not_matter(text in "[-a1 *_`#>~.\n]{0,60}", cut in 0_usize..60) {
            let whole = draw(&[&text]);
            prop_assert_eq!(stripped(&whole), text.clone());
            let cut = cut.min(text.len());
            prop_assert_eq!(draw(&[&text[..cut], &text[cut..]]), whole);
        }
    }
}
