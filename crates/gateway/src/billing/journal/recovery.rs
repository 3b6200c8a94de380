//! Reading journals: those that dead processes left, and all of them for a check.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use store::UsageRecord;

use super::{JournalEntry, remove_file};

/// The largest file that is read. It is far beyond the size of any journal: the rotation size and
/// the lines of the requests that run meanwhile.
const MAX_READ_BYTES: u64 = 1 << 30;

/// The outcome of a request that a crash interrupted.
pub(crate) const CRASHED: &str = "crashed";

/// The records in all journals in `folder`, including those of running processes: each request
/// once, with the outcome `crashed` if it has not ended. The store may have committed some of them.
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
            // All of it was committed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read?,
        }
    }
    let mut records: Vec<UsageRecord> = records.into_values().collect();
    records.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(records)
}

/// Whether a record of [`journal_records`] is of a request that has not ended.
pub fn is_unfinished(record: &UsageRecord) -> bool {
    record.outcome == CRASHED
}

/// The journals of processes that no longer run.
pub(crate) struct Recovered {
    /// Each request once: as it was settled, or as it was started, with the outcome `crashed`.
    pub(crate) records: Vec<UsageRecord>,
    /// The ids of those processes among their replicas.
    pub(crate) replicas: Vec<String>,
    files: Vec<(PathBuf, File)>,
}

impl Recovered {
    /// Reads every journal in `folder` that is not locked by a running process.
    ///
    /// # Errors
    /// A folder or a file that cannot be read.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        files::create_private_folder(folder)?;
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
        paths.sort();
        let mut records = HashMap::<String, UsageRecord>::new();
        let mut files = Vec::new();
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

    /// Removes the files, after their records were committed.
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
            // A line that was cut off when its process crashed.
            Err(error) => {
                tracing::warn!(path = %path.display(), line = number + 1, %error, "skipped an unreadable line of the journal")
            }
        }
    }
    Ok(())
}

/// The id of the replica in the name of a file.
fn replica_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    Some(name.split('.').nth(1).filter(|replica| *replica != "journal")?.to_owned())
}
