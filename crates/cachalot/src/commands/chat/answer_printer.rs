//! Prints an answer as it arrives: Markdown drawn lightly, lines broken between words, reasoning
//! dimmed or folded into a line.

use std::io::{Result, Write};
use std::time::Duration;

use chat::Delta;

use super::markdown::Markdown;
use super::reasoning_display::ReasoningDisplay;
use super::word_wrap::WordWrap;

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";
/// Returns to the beginning of the line and empties it.
const ERASE_LINE: &str = "\r\x1b[2K";

/// Prints the deltas of one answer.
pub(super) struct AnswerPrinter<'a> {
    out: &'a mut dyn Write,
    /// Whether escape sequences are written.
    is_styled: bool,
    reasoning: ReasoningDisplay,
    state: State,
    /// The seconds that the folded line shows.
    shown_seconds: Option<u64>,
    markdown: Markdown,
    /// Breaks the lines of a terminal whose width is known.
    wrap: Option<WordWrap>,
    /// Whether the last character was the end of a line.
    at_line_start: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Reasoning,
    Text,
}

impl<'a> AnswerPrinter<'a> {
    /// A printer of styled text for a terminal of `columns`, or of plain text.
    pub(super) fn new(
        out: &'a mut dyn Write,
        is_styled: bool,
        columns: Option<usize>,
        reasoning: ReasoningDisplay,
    ) -> Self {
        Self {
            out,
            is_styled,
            reasoning,
            state: State::Waiting,
            shown_seconds: None,
            markdown: Markdown::default(),
            wrap: columns.filter(|_| is_styled).map(WordWrap::new),
            at_line_start: true,
        }
    }

    /// Prints a delta that arrived `elapsed` after the question.
    ///
    /// # Errors
    /// An output that cannot be written.
    pub(super) fn push(&mut self, delta: &Delta, elapsed: Duration) -> Result<()> {
        match delta {
            Delta::Reasoning { text, .. } => self.push_reasoning(text, elapsed)?,
            Delta::Text { text, .. } => self.push_text(text, elapsed)?,
            Delta::ToolCall { name, .. } => self.push_text(&format!("\n[call {name}] "), elapsed)?,
            Delta::Arguments { text, .. } => self.push_text(text, elapsed)?,
            Delta::Start(_)
            | Delta::Prompt { .. }
            | Delta::Citation(_)
            | Delta::Media(_)
            | Delta::Signature(_)
            | Delta::Dropped(_)
            | Delta::Finish(_)
            | Delta::Usage(_) => return Ok(()),
        }
        self.out.flush()
    }

    /// Ends the answer, also one that was stopped: styles are reset and the line is ended.
    ///
    /// # Errors
    /// An output that cannot be written.
    pub(super) fn finish(mut self, elapsed: Duration) -> Result<()> {
        if self.state == State::Reasoning {
            self.end_reasoning(elapsed)?;
        }
        if self.is_styled {
            let mut rest = String::new();
            self.markdown.finish(&mut rest);
            self.at_line_start &= rest.is_empty() || rest == RESET;
            self.write_wrapped(&rest)?;
        }
        if !self.at_line_start || !self.is_styled {
            writeln!(self.out)?;
        }
        self.out.flush()
    }

    fn push_reasoning(&mut self, text: &str, elapsed: Duration) -> Result<()> {
        if self.state == State::Waiting {
            self.state = State::Reasoning;
            match (self.reasoning, self.is_styled) {
                (ReasoningDisplay::Show, true) => self.write_wrapped(DIM)?,
                (ReasoningDisplay::Show, false) => writeln!(self.out, "<think>")?,
                (ReasoningDisplay::Fold, _) => {}
            }
        }
        match (self.reasoning, self.is_styled) {
            (ReasoningDisplay::Show, _) => self.write(text),
            (ReasoningDisplay::Fold, true) if self.shown_seconds != Some(elapsed.as_secs()) => {
                self.shown_seconds = Some(elapsed.as_secs());
                write!(self.out, "{ERASE_LINE}{DIM}thinking, {} s{RESET}", elapsed.as_secs())
            }
            (ReasoningDisplay::Fold, _) => Ok(()),
        }
    }

    fn end_reasoning(&mut self, elapsed: Duration) -> Result<()> {
        self.state = State::Text;
        match (self.reasoning, self.is_styled) {
            (ReasoningDisplay::Show, true) => self.write_wrapped(&format!("{RESET}\n\n"))?,
            (ReasoningDisplay::Show, false) => writeln!(self.out, "\n</think>")?,
            (ReasoningDisplay::Fold, true) => {
                writeln!(self.out, "{ERASE_LINE}{DIM}thought for {} s; /reasoning prints it{RESET}", elapsed.as_secs())?
            }
            (ReasoningDisplay::Fold, false) => {}
        }
        self.at_line_start = true;
        Ok(())
    }

    fn push_text(&mut self, text: &str, elapsed: Duration) -> Result<()> {
        if self.state == State::Reasoning {
            self.end_reasoning(elapsed)?;
        }
        self.state = State::Text;
        if !self.is_styled {
            return self.write(text);
        }
        let mut drawn = String::new();
        self.markdown.push(&printable(text), &mut drawn);
        self.at_line_start = text.ends_with('\n');
        self.write_wrapped(&drawn)
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.at_line_start = text.ends_with('\n');
        if self.is_styled { self.write_wrapped(&printable(text)) } else { self.out.write_all(text.as_bytes()) }
    }

    /// Writes text that controls nothing but styles.
    fn write_wrapped(&mut self, text: &str) -> Result<()> {
        let Some(wrap) = &mut self.wrap else { return self.out.write_all(text.as_bytes()) };
        let mut wrapped = String::new();
        wrap.push(text, &mut wrapped);
        self.out.write_all(wrapped.as_bytes())
    }
}

/// The text without characters that control a terminal: an answer must not move the cursor, change
/// the title or read the clipboard.
pub(super) fn printable(text: &str) -> String {
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().map(|c| if is_control(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output for some reasoning and a text, each a second later.
    fn print(is_styled: bool, reasoning: ReasoningDisplay, text: &str) -> String {
        let mut out = Vec::new();
        let mut printer = AnswerPrinter::new(&mut out, is_styled, Some(80), reasoning);
        let thought = |text: &str| Delta::Reasoning { text: text.into(), logprobs: vec![] };
        let deltas = [thought("let me "), thought("see"), Delta::Text { text: text.into(), logprobs: vec![] }];
        for (second, delta) in deltas.iter().enumerate() {
            printer.push(delta, Duration::from_secs(second as u64)).unwrap();
        }
        printer.finish(Duration::from_secs(9)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reasoning_is_dimmed_marked_or_folded() {
        assert_eq!(print(true, ReasoningDisplay::Show, "Hi."), "\x1b[2mlet me see\x1b[0m\n\nHi.\n");
        assert_eq!(print(false, ReasoningDisplay::Show, "Hi."), "<think>\nlet me see\n</think>\nHi.\n");
        assert_eq!(print(false, ReasoningDisplay::Fold, "Hi."), "Hi.\n");
        let folded = print(true, ReasoningDisplay::Fold, "Hi.");
        assert!(folded.contains("thinking, 1 s") && !folded.contains("let me"), "{folded:?}");
        assert!(folded.ends_with("thought for 2 s; /reasoning prints it\x1b[0m\nHi.\n"), "{folded:?}");
    }

    #[test]
    fn an_answer_cannot_control_the_terminal() {
        let printed = print(true, ReasoningDisplay::Show, "a\x1b]0;title\x07b\u{9b}2Jc\rd\te\n");
        assert!(printed.ends_with("a\u{fffd}]0;title\u{fffd}b\u{fffd}2Jc\u{fffd}d\te\n"), "{printed:?}");
        assert!(print(false, ReasoningDisplay::Show, "a\x1bb").contains("a\x1bb"), "a pipe gets every byte");
    }

    #[test]
    fn lines_break_between_words_in_a_terminal_only() {
        let words = "whale ".repeat(20);
        // Thirteen words of six columns, and two columns of the next one.
        assert!(print(true, ReasoningDisplay::Fold, &words).contains("wh\x1b[79G\x1b[K\nwhale"));
        assert!(print(false, ReasoningDisplay::Fold, &words).contains(&words));
    }

    #[test]
    fn styles_end_with_the_answer() {
        assert!(print(true, ReasoningDisplay::Show, "a **b").ends_with("\x1b[0;1m**b\x1b[0m\n"));
        assert!(print(true, ReasoningDisplay::Show, "a\n```\nb\n").ends_with("b\x1b[0m\n"));
    }
}
