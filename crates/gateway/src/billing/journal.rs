//! A line before a request begins and a line when it is settled, in files that survive a
//! crash. A file is removed once the store has booked all of it; what a dead process left is
//! settled by the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use store::UsageRecord;

/// A new file is begun when one is larger.
const ROTATE_BYTES: u64 = 8 << 20;

/// Far beyond what a journal grows to: the lines of the requests that run when it is full.
const MAX_READ_BYTES: u64 = 1 << 30;

/// Few lines are longer.
const TYPICAL_LINE_BYTES: usize = 768;

/// The outcome of a request that a crash cut off.
pub(crate) const CRASHED: &str = "crashed";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum JournalEntry<'a> {
    /// The record as it stands if nothing more is heard of it: the cost of the prompt alone.
    Open(std::borrow::Cow<'a, UsageRecord>),
    Done(std::borrow::Cow<'a, UsageRecord>),
}

/// The journal of one process.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    /// What other processes call this one; a part of the names of its files.
    replica: String,
    files: Mutex<JournalFiles>,
}

#[derive(Debug)]
struct JournalFiles {
    current: u64,
    file: Arc<File>,
    bytes: u64,
    /// Lines whose requests the store has not booked yet, by file.
    uncommitted_lines: BTreeMap<u64, u64>,
}

/// Where a request has lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalRef(u64);

impl Journal {
    /// Begins a file in `folder`.
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

    /// A request is about to begin; if nothing more is heard of it, `record` is what it cost.
    pub(crate) fn write_start(&self, record: &UsageRecord) -> io::Result<JournalRef> {
        self.write(&JournalEntry::Open(std::borrow::Cow::Borrowed(record)))
    }

    /// A request has ended.
    pub(crate) fn write_end(&self, record: &UsageRecord) -> io::Result<JournalRef> {
        self.write(&JournalEntry::Done(std::borrow::Cow::Borrowed(record)))
    }

    fn write(&self, entry: &JournalEntry<'_>) -> io::Result<JournalRef> {
        // A line begins with a line break too: what was cut off by a full disk does not spoil it.
        let mut line = Vec::with_capacity(TYPICAL_LINE_BYTES);
        line.push(b'\n');
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        let (journal_ref, file) = self.lock_files().reserve_line(line.len() as u64, |number| self.path(number))?;
        // Nobody waits for anybody's write: each is appended whole.
        (&*file).write_all(&line).inspect_err(|_| self.mark_committed([journal_ref]))?;
        Ok(journal_ref)
    }

    /// The store has booked the requests with lines in these refs.
    pub(crate) fn mark_committed(&self, refs: impl IntoIterator<Item = JournalRef>) {
        let mut files = self.lock_files();
        for JournalRef(number) in refs {
            if let Some(waiting) = files.uncommitted_lines.get_mut(&number) {
                *waiting -= 1;
            }
        }
        let current = files.current;
        files.uncommitted_lines.retain(|&number, &mut waiting| {
            let keep = number == current || waiting > 0;
            if !keep {
                remove_file(&self.path(number));
            }
            keep
        });
    }

    /// Removes the last file, if the store has booked all of it.
    pub(crate) fn close(&self) {
        let files = self.lock_files();
        if files.uncommitted_lines.values().all(|&waiting| waiting == 0) {
            remove_file(&self.path(files.current));
        }
    }

    /// Makes sure that what was written survives a loss of power.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let file = self.lock_files().file.clone();
        file.sync_data()
    }

    /// Lets the next line begin a new file.
    #[cfg(test)]
    pub(crate) fn rotate_at_next_line(&self) {
        self.lock_files().bytes = ROTATE_BYTES + 1;
    }

    fn lock_files(&self) -> MutexGuard<'_, JournalFiles> {
        // A line is counted after it is whole.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JournalFiles {
    /// The file for a line of so many bytes.
    fn reserve_line(&mut self, bytes: u64, path: impl Fn(u64) -> PathBuf) -> io::Result<(JournalRef, Arc<File>)> {
        if self.bytes > ROTATE_BYTES {
            let next = (store::now_micros() as u64).max(self.current + 1);
            self.file = Arc::new(create_locked(&path(next))?);
            (self.current, self.bytes) = (next, 0);
        }
        self.bytes += bytes;
        *self.uncommitted_lines.entry(self.current).or_default() += 1;
        Ok((JournalRef(self.current), self.file.clone()))
    }
}

fn file_path(folder: &Path, number: u64, replica: &str) -> PathBuf {
    folder.join(format!("{number}.{replica}.journal"))
}

/// The replica in the name of a file.
fn replica_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    Some(name.split('.').nth(1).filter(|replica| *replica != "journal")?.to_owned())
}

/// A new file, locked while this process lives. It gets its name when it is locked: nobody takes it
/// for that of a dead one.
fn create_locked(path: &Path) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let file = files::private_options().create_new(true).append(true).open(&temporary)?;
    file.lock()?;
    std::fs::rename(temporary, path)?;
    Ok(file)
}

fn remove_file(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        // Its records are booked already, and will not be booked twice.
        tracing::warn!(path = %path.display(), %error, "a journal could not be removed");
    }
}

/// The records in all journals in `folder`, those of living processes too: each request once, with
/// the outcome `crashed` if it has not ended. The store may have booked some of it.
///
/// # Errors
/// A folder or a file that cannot be read.
pub fn journal_records(folder: &Path) -> io::Result<Vec<UsageRecord>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut records = HashMap::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "journal") {
            continue;
        }
        files::check_regular(&path)?;
        match read_file(&path, &mut records) {
            // All of it was booked meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read?,
        }
    }
    let mut records: Vec<UsageRecord> = records.into_values().collect();
    records.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(records)
}

/// The outcome of records of requests that have not ended.
pub fn is_unfinished(record: &UsageRecord) -> bool {
    record.outcome == CRASHED
}

/// What processes left that are no more.
pub(crate) struct Recovered {
    /// Each request once: as it was settled, or as it was opened with the outcome `crashed`.
    pub(crate) records: Vec<UsageRecord>,
    /// Those processes.
    pub(crate) replicas: Vec<String>,
    files: Vec<(PathBuf, File)>,
}

impl Recovered {
    /// Reads every journal in `folder` that no living process holds.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        files::create_private_folder(folder)?;
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
        paths.sort();
        let (mut records, mut files) = (HashMap::<String, UsageRecord>::new(), Vec::new());
        for path in paths {
            let with_path = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
            files::check_regular(&path).map_err(with_path)?;
            let file = OpenOptions::new().read(true).write(true).open(&path).map_err(with_path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            read_file(&path, &mut records)?;
            files.push((path, file));
        }
        let replicas: BTreeSet<_> = files.iter().filter_map(|(path, _)| replica_of(path)).collect();
        Ok(Self { records: records.into_values().collect(), replicas: replicas.into_iter().collect(), files })
    }

    /// Removes the files; their records are booked.
    pub(crate) fn remove(self) {
        for (path, _lock) in self.files {
            remove_file(&path);
        }
    }
}

fn read_file(path: &Path, records: &mut HashMap<String, UsageRecord>) -> io::Result<()> {
    let bytes = files::read(path, MAX_READ_BYTES)?;
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice::<JournalEntry>(line) {
            Ok(JournalEntry::Done(record)) => {
                records.insert(record.id.clone(), record.into_owned());
            }
            Ok(JournalEntry::Open(record)) => {
                records.entry(record.id.clone()).or_insert_with(|| UsageRecord {
                    outcome: CRASHED.into(),
                    estimated: true,
                    ..record.into_owned()
                });
            }
            // The last line of a process that died while writing it.
            Err(error) => {
                tracing::warn!(path = %path.display(), line = number + 1, %error, "a line of the journal cannot be read")
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, cost: i64) -> UsageRecord {
        UsageRecord { id: id.into(), cost, outcome: "stop".into(), ..UsageRecord::default() }
    }

    fn recovered(folder: &Path) -> Vec<(String, i64, String)> {
        let mut left: Vec<_> = Recovered::read(folder)
            .unwrap()
            .records
            .into_iter()
            .map(|r| (r.id, r.cost, r.outcome.into_owned()))
            .collect();
        left.sort();
        left
    }

    #[test]
    fn a_dead_process_leaves_each_request_once() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), "m").unwrap();
        journal.write_start(&record("a", 5)).unwrap();
        journal.write_start(&record("b", 6)).unwrap();
        journal.write_end(&record("a", 7)).unwrap();
        assert_eq!(recovered(folder.path()), [], "a living process settles its own");
        drop(journal);
        let want = [("a".into(), 7, "stop".into()), ("b".into(), 6, CRASHED.into())];
        assert_eq!(recovered(folder.path()), want);
        assert_eq!(Recovered::read(folder.path()).unwrap().replicas, ["m"]);
        // A line cut short by the crash.
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 4]).unwrap();
        assert_eq!(recovered(folder.path()), [("a".into(), 5, CRASHED.into()), ("b".into(), 6, CRASHED.into())]);
        Recovered::read(folder.path()).unwrap().remove();
        assert_eq!(recovered(folder.path()), []);
    }

    #[test]
    fn a_file_goes_when_all_of_it_is_booked() {
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
        assert_eq!(files(), 1, "b is not booked");
        journal.mark_committed([second]);
        journal.close();
        assert_eq!(files(), 0);
    }
}
