//! The line editor of a terminal: arrow keys, history, completion of commands, and pasted text of
//! several lines as one message.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use super::line_source::{LineEvent, LineSource};
use super::slash_command;
use crate::paths;

/// Most messages that are kept.
const MAX_HISTORY: usize = 1000;

/// Reads lines from the terminal.
pub(super) struct LineEditor {
    editor: Editor<CommandCompleter, DefaultHistory>,
    /// Where messages are kept; `None` when they are not.
    history_file: Option<PathBuf>,
}

impl LineEditor {
    /// An editor with the messages of earlier conversations, if `keep_history`.
    ///
    /// # Errors
    /// A terminal that cannot be used.
    pub(super) fn new(keep_history: bool) -> Result<Self> {
        let config = Config::builder().max_history_size(MAX_HISTORY)?.history_ignore_dups(true)?.build();
        let history = DefaultHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history)?;
        editor.set_helper(Some(CommandCompleter));
        let history_file = if keep_history { paths::chat_history_file() } else { None };
        let mut editor = Self { editor, history_file };
        editor.load_history();
        Ok(editor)
    }

    /// Loads the messages of earlier conversations. Without the file, a conversation works as well.
    fn load_history(&mut self) {
        let Some(path) = self.history_file.clone() else { return };
        let loaded = files::create_private_folder(&files::folder_of(&path))
            .and_then(|()| files::check_regular(&path))
            .map_err(ReadlineError::Io)
            .and_then(|()| if path.exists() { self.editor.load_history(&path) } else { Ok(()) });
        if let Err(error) = loaded {
            eprintln!("note: earlier messages cannot be read from `{}`: {error}", path.display());
            self.history_file = None;
        }
    }
}

impl LineSource for LineEditor {
    fn read_line(&mut self, continues: bool) -> Result<LineEvent> {
        match self.editor.readline(if continues { "… " } else { "> " }) {
            Ok(line) => Ok(LineEvent::Line(line)),
            Err(ReadlineError::Interrupted) => Ok(LineEvent::Interrupted),
            Err(ReadlineError::Eof) => Ok(LineEvent::End),
            Err(error) => Err(error).context("cannot read from the terminal"),
        }
    }

    fn remember(&mut self, message: &str) {
        let added = self.editor.add_history_entry(message);
        let saved = match (&self.history_file, added) {
            (Some(path), Ok(true)) => self.editor.append_history(path),
            (_, added) => added.map(|_| ()),
        };
        if let Err(error) = saved {
            eprintln!("note: this message is not kept for the next conversation: {error}");
            self.history_file = None;
        }
    }
}

/// Completes the names of commands.
struct CommandCompleter;

impl Helper for CommandCompleter {}
impl Highlighter for CommandCompleter {}
impl Validator for CommandCompleter {}
impl Hinter for CommandCompleter {
    type Hint = String;
}

impl Completer for CommandCompleter {
    type Candidate = String;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, slash_command::completions(&line[..cursor])))
    }
}
