//! Breaks the lines of an answer between words, at the width of the terminal.

use unicode_width::UnicodeWidthChar;

/// The distance of tab stops, in columns.
const TAB: usize = 8;

/// Breaks lines while text arrives. Nothing waits for the end of a word: a word that outgrows its
/// line is erased there and written again on the next one.
#[derive(Debug)]
pub(super) struct WordWrap {
    /// Columns of the terminal.
    width: usize,
    /// The column of the next character, counted from 0.
    column: usize,
    /// The word that the line ends with, with the escape sequences inside it.
    word: String,
    /// The column at which the word begins.
    word_start: usize,
    /// The escape sequence that set the style at the beginning of the word.
    style_before_word: String,
    /// The escape sequence that set the present style.
    style: String,
    /// Whether the columns of the line are known. Terminals differ in the width of joined emoji.
    is_measured: bool,
}

impl WordWrap {
    /// Lines of at most `width` columns.
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            column: 0,
            word: String::new(),
            word_start: 0,
            style_before_word: String::new(),
            style: String::new(),
            is_measured: true,
        }
    }

    /// Writes text whose only control characters are ends of lines, tabs, and escape sequences that
    /// set a style (`\x1b[` to `m`). A sequence is never split over two calls.
    pub(super) fn push(&mut self, text: &str, out: &mut String) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let length = match c {
                '\x1b' => rest.find('m').map_or(rest.len(), |end| end + 1),
                _ => c.len_utf8(),
            };
            let (piece, after) = rest.split_at(length);
            if c == '\x1b' {
                self.set_style(piece, out)
            } else {
                self.push_char(c, out)
            }
            rest = after;
        }
    }

    fn set_style(&mut self, escape: &str, out: &mut String) {
        out.push_str(escape);
        escape.clone_into(&mut self.style);
        if self.word.is_empty() {
            escape.clone_into(&mut self.style_before_word);
        } else {
            self.word.push_str(escape);
        }
    }

    fn push_char(&mut self, c: char, out: &mut String) {
        match c {
            '\n' => {
                out.push(c);
                self.begin_word(0);
                self.is_measured = true;
            }
            ' ' | '\t' => self.push_space(c, out),
            _ => match c.width() {
                Some(width) if width > 0 => self.push_letter(c, width, out),
                // Accents, joiners and variation selectors.
                _ => {
                    self.is_measured = false;
                    self.word.push(c);
                    out.push(c);
                }
            },
        }
    }

    fn push_space(&mut self, c: char, out: &mut String) {
        let next = if c == '\t' { (self.column / TAB + 1) * TAB } else { self.column + 1 };
        if self.is_measured && next > self.width {
            // The end of the line stands for the space.
            out.push('\n');
            return self.begin_word(0);
        }
        out.push(c);
        self.begin_word(next);
    }

    fn push_letter(&mut self, c: char, width: usize, out: &mut String) {
        if self.is_measured && self.column + width > self.width {
            if self.word_start > 0 {
                // Terminals count columns from 1. From the word's first one on, the line is erased.
                let first = self.word_start + 1;
                out.push_str(&format!("\x1b[{first}G\x1b[K\n{}{}", self.style_before_word, self.word));
                self.column -= self.word_start;
                self.word_start = 0;
            } else {
                // The terminal breaks a word that is longer than a line.
                self.begin_word(0);
            }
        }
        self.column += width;
        self.word.push(c);
        out.push(c);
    }

    fn begin_word(&mut self, column: usize) {
        self.column = column;
        self.word_start = column;
        self.word.clear();
        self.style_before_word.clone_from(&self.style);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines that a terminal of `width` columns shows, without styles.
    fn shown(text: &str, width: usize) -> Vec<String> {
        let mut wrap = WordWrap::new(width);
        let mut out = String::new();
        text.chars().for_each(|c| wrap.push(c.encode_utf8(&mut [0; 4]), &mut out));
        draw(&out, width)
    }

    /// A terminal that knows the sequences that are written here. A line is full before it wraps.
    fn draw(out: &str, width: usize) -> Vec<String> {
        let mut lines = vec![Vec::new()];
        let mut column = 0;
        let mut rest = out;
        while let Some(c) = rest.chars().next() {
            let line = lines.last_mut().unwrap();
            if let Some(sequence) = rest.strip_prefix("\x1b[") {
                let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                match &sequence[end..=end] {
                    "G" => column = sequence[..end].parse::<usize>().unwrap() - 1,
                    "K" => line.truncate(column),
                    "m" => {}
                    other => panic!("{other}"),
                }
                rest = &sequence[end + 1..];
                continue;
            }
            rest = &rest[c.len_utf8()..];
            if c == '\n' || column == width {
                lines.push(Vec::new());
                column = 0;
            }
            if c != '\n' {
                lines.last_mut().unwrap().push(c);
                column += 1;
            }
        }
        lines.into_iter().map(|line| line.into_iter().collect()).collect()
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(shown("one two three", 8), ["one two ", "three"]);
        assert_eq!(shown("one two three", 7), ["one two", "three"], "a space at the end of a full line");
        assert_eq!(shown("one two\nthree", 7), ["one two", "three"]);
        assert_eq!(shown("a bcdefghijk l", 5), ["a ", "bcdef", "ghijk", "l"], "a word longer than a line");
        assert_eq!(shown("abc", 3), ["abc"]);
    }

    #[test]
    fn a_word_keeps_its_styles_on_the_next_line() {
        let mut wrap = WordWrap::new(6);
        let mut out = String::new();
        wrap.push("\x1b[0;1mone t\x1b[0mwo", &mut out);
        assert_eq!(out, "\x1b[0;1mone t\x1b[0mw\x1b[5G\x1b[K\n\x1b[0;1mt\x1b[0mwo");
    }

    #[test]
    fn wide_characters_take_two_columns_and_joined_ones_end_the_measure() {
        let mut wrap = WordWrap::new(4);
        let mut out = String::new();
        wrap.push("海 鲸鱼", &mut out);
        assert_eq!(out, "海 \x1b[4G\x1b[K\n鲸鱼");
        let mut joined = String::new();
        WordWrap::new(4).push("a 👩\u{200d}🔬 bcd efg", &mut joined);
        assert_eq!(joined, "a 👩\u{200d}🔬 bcd efg");
    }

    proptest! {
        #[test]
        fn no_word_is_lost_or_cut(text in "[abc]{1,6}( [abc]{1,6}){0,12}", width in 6_usize..20) {
            let lines = shown(&text, width);
            prop_assert!(lines.iter().all(|line| line.trim_end().len() <= width));
            let words: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
            prop_assert_eq!(words, text.split(' ').collect::<Vec<_>>());
        }
    }
}
