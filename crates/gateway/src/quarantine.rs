//! Records that the store refuses, set aside in a file: `quarantine.jsonl` in the folder of the journal, an object a line.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store::{Record, Store};

/// The file in the folder of the journal.
const NAME: &str = "quarantine.jsonl";
/// Most bytes of it that are read.
const MOST_BYTES: u64 = 1 << 30;

/// Where records are set aside.
#[derive(Clone, Debug)]
pub struct Quarantine {
    path: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// When it was set aside, in microseconds since 1970.
    at: i64,
    /// Why the store refused it.
    error: String,
    record: Record,
}

impl Quarantine {
    /// That of the journal in `folder`.
    pub fn of(folder: &Path) -> Self {
        Self { path: folder.join(NAME) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets a record aside, safe from a loss of power.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn add(&self, record: &Record, error: &str) -> io::Result<()> {
        let line = Line { at: store::now(), error: error.to_owned(), record: record.clone() };
        // A line begins with a line break too: what was cut off by a full disk does not spoil it.
        let line = format!("\n{}\n", serde_json::to_string(&line)?);
        files::check_regular(&self.path)?;
        let mut file = files::private_options().create(true).append(true).open(&self.path)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        files::sync_folder(&files::folder_of(&self.path))
    }

    /// The records that are set aside, and why.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn records(&self) -> io::Result<Vec<(Record, String)>> {
        Ok(self.lines()?.into_iter().map(|line| (line.record, line.error)).collect())
    }

    /// Books the records that the store takes by now, and keeps the others. Returns those that were booked.
    ///
    /// # Errors
    /// A file that cannot be read or written; records that are booked by then are not booked twice.
    pub async fn book(&self, store: &Store) -> io::Result<Vec<Record>> {
        let (mut booked, mut kept) = (Vec::new(), String::new());
        for line in self.lines()? {
            match store.settle(std::slice::from_ref(&line.record)).await {
                Ok(_) => booked.push(line.record),
                Err(error) => {
                    let line = Line { error: error.to_string(), ..line };
                    kept.push_str(&serde_json::to_string(&line)?);
                    kept.push('\n');
                }
            }
        }
        match (booked.is_empty(), kept.is_empty()) {
            (true, _) => {}
            (false, true) => std::fs::remove_file(&self.path)?,
            (false, false) => files::replace_atomically(&self.path, kept.as_bytes())?,
        }
        Ok(booked)
    }

    /// Each record once: a crash lets the journal bring one again.
    fn lines(&self) -> io::Result<Vec<Line>> {
        let bytes = match files::read(&self.path, MOST_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let (mut lines, mut known) = (Vec::<Line>::new(), HashSet::new());
        for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            match serde_json::from_slice::<Line>(line) {
                Ok(line) if !known.insert(line.record.id.clone()) => {}
                Ok(line) => lines.push(line),
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), line = number + 1, %error, "a line of the quarantine cannot be read");
                }
            }
        }
        Ok(lines)
    }
}
