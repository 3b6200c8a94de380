//! Where the lines of a conversation come from: a terminal or a pipe.

use anyhow::Result;

/// The source of the lines that a person or a program writes.
pub(super) trait LineSource {
    /// Reads the next line. `continues` is set inside a message of several lines.
    ///
    /// # Errors
    /// Input that cannot be read, or that is not UTF-8.
    fn read_line(&mut self, continues: bool) -> Result<LineEvent>;

    /// Adds a message to the history.
    fn remember(&mut self, message: &str);
}

/// The result of reading a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LineEvent {
    /// A line without its end. Text that was pasted may have several.
    Line(String),
    /// Ctrl-C while a line was edited.
    Interrupted,
    /// The end of the input, or Ctrl-D on an empty line.
    End,
}
