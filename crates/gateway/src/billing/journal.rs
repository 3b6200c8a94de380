//! The write-ahead journal: a line before a request calls a provider and a line when it is settled,
//! in files that survive a crash. A file is removed once the store has committed all of it. Files
//! of a dead process are recovered by the next one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::UsageRecord;

pub(crate) mod recovery;

/// The size above which the next line starts a new file.
const ROTATE_BYTES: u64 = 8 << 20;

/// The capacity of a line's buffer. Few lines are longer.
const TYPICAL_LINE_BYTES: usize = 768;

/// One line of a journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum JournalEntry<'a> {
    /// The record of a request that starts, with the cost of the prompt alone. It counts if no
    /// other line of the request follows.
    Open(Cow<'a, UsageRecord>),
    /// The settled record.
    Done(Cow<'a, UsageRecord>),
}

/// The journal of one process.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    /// The id of this process among its replicas, a part of the names of its files.
    replica: String,
    files: Mutex<JournalFiles>,
}

#[derive(Debug)]
struct JournalFiles {
    /// The number of the file that is written.
    current: u64,
    file: Arc<File>,
    bytes: u64,
    /// The number of lines whose records are not committed yet, by file.
    uncommitted_lines: BTreeMap<u64, u64>,
}

/// The number of the file that has a line of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalRef(u64);

impl Journal {
    /// Creates a file in `folder`, and the folder if it is missing.
    pub(crate) fn create(folder: &Path, replica: &str) -> io::Result<Self> {
        files::create_private_folder(folder)?;
        let current = store::now_micros() as u64;
        let file = Arc::new(create_locked(&file_path(folder, current, replica))?);
        let files = JournalFiles { current, file, bytes: 0, uncommitted_lines: BTreeMap::new() };
        Ok(Self { folder: folder.into(), replica: replica.into(), files: Mutex::new(files) })
    }

    fn path(&self, number: u64) -> PathBuf {
        file_path(&self.folder, number, &self.replica)
    }

    /// Writes that a request starts. `record` counts if no [`Journal::write_end`] follows.
    pub(crate) fn write_start(&self, record: &UsageRecord) -> io::Result<JournalRef> {
        self.write(&JournalEntry::Open(Cow::Borrowed(record)))
    }

    /// Writes the settled record of a request.
    pub(crate) fn write_end(&self, record: &UsageRecord) -> io::Result<JournalRef> {
        self.write(&JournalEntry::Done(Cow::Borrowed(record)))
    }

    fn write(&self, entry: &JournalEntry<'_>) -> io::Result<JournalRef> {
        // A line also begins with a line break, because a full disk may have truncated
        // the line before.
        let mut line = Vec::with_capacity(TYPICAL_LINE_BYTES);
        line.push(b'\n');
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        let (journal_ref, file) = self.files.lock().reserve_line(line.len() as u64, |number| self.path(number))?;
        // The lock is not held during the write: each line is appended by one call.
        (&*file).write_all(&line).inspect_err(|_| self.mark_committed([journal_ref]))?;
        Ok(journal_ref)
    }

    /// Counts lines as committed, and removes files in which all are. The current file is kept.
    pub(crate) fn mark_committed(&self, refs: impl IntoIterator<Item = JournalRef>) {
        let mut files = self.files.lock();
        for JournalRef(number) in refs {
            if let Some(lines) = files.uncommitted_lines.get_mut(&number) {
                *lines -= 1;
            }
        }
        let current = files.current;
        files.uncommitted_lines.retain(|&number, &mut lines| {
            let keep = number == current || lines > 0;
            if !keep {
                remove_file(&self.path(number));
            }
            keep
        });
    }

    /// Removes the current file if the store has committed all lines.
    pub(crate) fn close(&self) {
        let files = self.files.lock();
        if files.uncommitted_lines.values().all(|&lines| lines == 0) {
            remove_file(&self.path(files.current));
        }
    }

    /// Flushes the current file to disk (fdatasync), so that it survives a loss of power.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let file = self.files.lock().file.clone();
        file.sync_data()
    }

    /// Lets the next line start a new file.
    #[cfg(test)]
    pub(crate) fn rotate_at_next_line(&self) {
        self.files.lock().bytes = ROTATE_BYTES + 1;
    }
}

impl JournalFiles {
    /// Counts a line of `bytes`. Returns its file, a new one if the current file is full.
    fn reserve_line(&mut self, bytes: u64, path: impl Fn(u64) -> PathBuf) -> io::Result<(JournalRef, Arc<File>)> {
        if self.bytes > ROTATE_BYTES {
            let next = (store::now_micros() as u64).max(self.current + 1);
            self.file = Arc::new(create_locked(&path(next))?);
            self.current = next;
            self.bytes = 0;
        }
        self.bytes += bytes;
        *self.uncommitted_lines.entry(self.current).or_default() += 1;
        Ok((JournalRef(self.current), self.file.clone()))
    }
}

fn file_path(folder: &Path, number: u64, replica: &str) -> PathBuf {
    folder.join(format!("{number}.{replica}.journal"))
}

/// Creates a file that is locked while this process lives. The file is renamed to `path` only when
/// it is locked, so that another process cannot take it for the file of a dead one.
fn create_locked(path: &Path) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let file = files::private_options().create_new(true).append(true).open(&temporary)?;
    file.lock()?;
    std::fs::rename(temporary, path)?;
    Ok(file)
}

fn remove_file(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        // Its records are committed, and a record is never committed twice.
        tracing::warn!(path = %path.display(), %error, "failed to remove a journal file");
    }
}

#[cfg(test)]
mod tests {
    use super::recovery::{CRASHED, Recovered};
    use super::*;

    fn record(id: &str, cost: i64) -> UsageRecord {
        UsageRecord { id: id.into(), cost, outcome: "stop".into(), ..UsageRecord::default() }
    }

    fn recovered(folder: &Path) -> Vec<(String, i64, String)> {
        let mut records: Vec<_> = Recovered::read(folder)
            .unwrap()
            .records
            .into_iter()
            .map(|r| (r.id, r.cost, r.outcome.into_owned()))
            .collect();
        records.sort();
        records
    }

    #[test]
    fn a_dead_process_leaves_each_request_once() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), "m").unwrap();
        journal.write_start(&record("a", 5)).unwrap();
        journal.write_start(&record("b", 6)).unwrap();
        journal.write_end(&record("a", 7)).unwrap();
        assert_eq!(recovered(folder.path()), [], "a running process settles its own requests");
        drop(journal);
        let want = [("a".into(), 7, "stop".into()), ("b".into(), 6, CRASHED.into())];
        assert_eq!(recovered(folder.path()), want);
        assert_eq!(Recovered::read(folder.path()).unwrap().replicas, ["m"]);
        // A line truncated by the crash.
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 4]).unwrap();
        assert_eq!(recovered(folder.path()), [("a".into(), 5, CRASHED.into()), ("b".into(), 6, CRASHED.into())]);
        Recovered::read(folder.path()).unwrap().remove();
        assert_eq!(recovered(folder.path()), []);
    }

    #[test]
    fn a_file_is_removed_when_all_of_it_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        let journal = Journal::create(folder.path(), "m").unwrap();
        let first = journal.write_start(&record("a", 1)).unwrap();
        journal.rotate_at_next_line();
        let second = journal.write_start(&record("b", 1)).unwrap();
        let done = journal.write_end(&record("a", 1)).unwrap();
        assert!(first != second && second == done && files() == 2);
        journal.mark_committed([first, done]);
        assert_eq!(files(), 1);
        journal.close();
        assert_eq!(files(), 1, "b is not committed");
        journal.mark_committed([second]);
        journal.close();
        assert_eq!(files(), 0);
    }
}
