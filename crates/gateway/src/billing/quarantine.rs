//! The quarantine of records that the store refuses: `quarantine.jsonl` in the folder of the
//! journal, one JSON object a line.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store::{Store, UsageRecord};

/// The file in the folder of the journal.
const FILE_NAME: &str = "quarantine.jsonl";
/// The largest file that is read.
const MAX_READ_BYTES: u64 = 1 << 30;

/// The quarantine of a journal.
#[derive(Clone, Debug)]
pub struct Quarantine {
    path: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct QuarantinedRecord {
    /// The time of the refusal, in microseconds since 1970.
    at: i64,
    /// The error of the store.
    error: String,
    record: UsageRecord,
}

impl Quarantine {
    /// The quarantine of the journal in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join(FILE_NAME) }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record, and flushes the file to disk (fsync).
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn append(&self, record: &UsageRecord, error: &str) -> io::Result<()> {
        let line = QuarantinedRecord { at: store::now_micros(), error: error.to_owned(), record: record.clone() };
        // A line also begins with a line break, because a full disk may have truncated
        // the line before.
        let line = format!("\n{}\n", serde_json::to_string(&line)?);
        files::check_regular(&self.path)?;
        let mut file = files::private_options().create(true).append(true).open(&self.path)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        files::sync_folder(&files::folder_of(&self.path))
    }

    /// The records in quarantine, each with the error of the store.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn records(&self) -> io::Result<Vec<(UsageRecord, String)>> {
        Ok(self.read_records()?.into_iter().map(|line| (line.record, line.error)).collect())
    }

    /// Commits the records that the store accepts now, and keeps the others. Returns the
    /// committed records.
    ///
    /// # Errors
    /// A file that cannot be read or written. Records committed before are not committed twice.
    pub async fn retry_inserts(&self, store: &Store) -> io::Result<Vec<UsageRecord>> {
        let mut inserted = Vec::new();
        let mut remaining = String::new();
        for line in self.read_records()? {
            match store.insert_records(std::slice::from_ref(&line.record)).await {
                Ok(_) => inserted.push(line.record),
                Err(error) => {
                    let line = QuarantinedRecord { error: error.to_string(), ..line };
                    remaining.push_str(&serde_json::to_string(&line)?);
                    remaining.push('\n');
                }
            }
        }
        match (inserted.is_empty(), remaining.is_empty()) {
            (true, _) => {}
            (false, true) => std::fs::remove_file(&self.path)?,
            (false, false) => files::replace_atomically(&self.path, remaining.as_bytes())?,
        }
        Ok(inserted)
    }

    /// The lines of the file, each record once: after a crash a record may be quarantined again.
    fn read_records(&self) -> io::Result<Vec<QuarantinedRecord>> {
        let bytes = match files::read(&self.path, MAX_READ_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut lines = Vec::<QuarantinedRecord>::new();
        let mut seen_ids = HashSet::new();
        for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            match serde_json::from_slice::<QuarantinedRecord>(line) {
                Ok(line) if !seen_ids.insert(line.record.id.clone()) => {}
                Ok(line) => lines.push(line),
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), line = number + 1, %error, "skipped an unreadable line of the quarantine");
                }
            }
        }
        Ok(lines)
    }
}
