//! Lines of standard input that is not a terminal.

use std::io::{BufRead, stdin};

use anyhow::{Context, Result};

use super::line_source::{LineEvent, LineSource};

/// Reads lines of any length.
pub(super) struct PipedLines;

impl LineSource for PipedLines {
    fn read_line(&mut self, _continues: bool) -> Result<LineEvent> {
        let mut line = String::new();
        let read = stdin().lock().read_line(&mut line).context("cannot read standard input")?;
        if read == 0 {
            return Ok(LineEvent::End);
        }
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        Ok(LineEvent::Line(line))
    }

    fn remember(&mut self, _message: &str) {}
}
