//! A line before a request begins and a line when it is settled, in files that survive a crash. A file is removed once
//! the store has booked all of it; what a dead process left is settled by the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use store::Record;

/// A new file is begun when one is larger.
const FILE_BYTES: u64 = 8 << 20;

/// Far beyond what a journal grows to: the lines of the requests that run when it is full.
const MOST_BYTES: u64 = 1 << 30;

/// Few lines are longer.
const LINE_BYTES: usize = 768;

/// The outcome of a request that a crash cut off.
pub(crate) const CRASHED: &str = "crashed";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry<'a> {
    /// The record as it stands if nothing more is heard of it: the cost of the prompt alone.
    Open(std::borrow::Cow<'a, Record>),
    Done(std::borrow::Cow<'a, Record>),
}

/// The journal of one process.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    /// What other processes call this one; a part of the names of its files.
    machine: String,
    files: Mutex<Files>,
}

#[derive(Debug)]
struct Files {
    current: u64,
    file: Arc<File>,
    bytes: u64,
    /// Lines whose requests the store has not booked yet, by file.
    waiting: BTreeMap<u64, u64>,
}

/// Where a request has lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Journal {
    /// Begins a file in `folder`.
    pub(crate) fn create(folder: &Path, machine: &str) -> io::Result<Self> {
        files::create_private_folder(folder)?;
        let current = store::now() as u64;
        let file = Arc::new(begin(&path(folder, current, machine))?);
        let files = Files { current, file, bytes: 0, waiting: BTreeMap::new() };
        Ok(Self { folder: folder.into(), machine: machine.into(), files: Mutex::new(files) })
    }

    fn path(&self, number: u64) -> PathBuf {
        path(&self.folder, number, &self.machine)
    }

    /// A request is about to begin; if nothing more is heard of it, `record` is what it cost.
    pub(crate) fn open(&self, record: &Record) -> io::Result<Place> {
        self.write(&Entry::Open(std::borrow::Cow::Borrowed(record)))
    }

    /// A request has ended.
    pub(crate) fn done(&self, record: &Record) -> io::Result<Place> {
        self.write(&Entry::Done(std::borrow::Cow::Borrowed(record)))
    }

    fn write(&self, entry: &Entry<'_>) -> io::Result<Place> {
        // A line begins with a line break too: what was cut off by a full disk does not spoil it.
        let mut line = Vec::with_capacity(LINE_BYTES);
        line.push(b'\n');
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        let (place, file) = self.files().take(line.len() as u64, |number| self.path(number))?;
        // Nobody waits for anybody's write: each is appended whole.
        (&*file).write_all(&line).inspect_err(|_| self.booked([place]))?;
        Ok(place)
    }

    /// The store has booked the requests with lines in these places.
    pub(crate) fn booked(&self, places: impl IntoIterator<Item = Place>) {
        let mut files = self.files();
        for Place(number) in places {
            if let Some(waiting) = files.waiting.get_mut(&number) {
                *waiting -= 1;
            }
        }
        let current = files.current;
        files.waiting.retain(|&number, &mut waiting| {
            let keep = number == current || waiting > 0;
            if !keep {
                remove(&self.path(number));
            }
            keep
        });
    }

    /// Removes the last file, if the store has booked all of it.
    pub(crate) fn close(&self) {
        let files = self.files();
        if files.waiting.values().all(|&waiting| waiting == 0) {
            remove(&self.path(files.current));
        }
    }

    /// Makes sure that what was written survives a loss of power.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let file = self.files().file.clone();
        file.sync_data()
    }

    /// Lets the next line begin a new file.
    #[cfg(test)]
    pub(crate) fn fill(&self) {
        self.files().bytes = FILE_BYTES + 1;
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // A line is counted after it is whole.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    /// The file for a line of so many bytes.
    fn take(&mut self, bytes: u64, path: impl Fn(u64) -> PathBuf) -> io::Result<(Place, Arc<File>)> {
        if self.bytes > FILE_BYTES {
            let next = (store::now() as u64).max(self.current + 1);
            self.file = Arc::new(begin(&path(next))?);
            (self.current, self.bytes) = (next, 0);
        }
        self.bytes += bytes;
        *self.waiting.entry(self.current).or_default() += 1;
        Ok((Place(self.current), self.file.clone()))
    }
}

fn path(folder: &Path, number: u64, machine: &str) -> PathBuf {
    folder.join(format!("{number}.{machine}.journal"))
}

/// The machine in the name of a file.
fn machine(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    Some(name.split('.').nth(1).filter(|machine| *machine != "journal")?.to_owned())
}

/// A new file, locked while this process lives. It gets its name when it is locked: nobody takes it for that of a dead one.
fn begin(path: &Path) -> io::Result<File> {
    let unnamed = path.with_extension("new");
    let file = files::private_options().create_new(true).append(true).open(&unnamed)?;
    file.lock()?;
    std::fs::rename(unnamed, path)?;
    Ok(file)
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        // Its records are booked already, and will not be booked twice.
        tracing::warn!(path = %path.display(), %error, "a journal could not be removed");
    }
}

/// The records in all journals in `folder`, those of living processes too: each request once, with the outcome `crashed` if it
/// has not ended. The store may have booked some of it.
///
/// # Errors
/// A folder or a file that cannot be read.
pub fn held(folder: &Path) -> io::Result<Vec<Record>> {
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
        match read(&path, &mut records) {
            // All of it was booked meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read?,
        }
    }
    let mut records: Vec<Record> = records.into_values().collect();
    records.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(records)
}

/// The outcome of records of requests that have not ended.
pub fn is_open(record: &Record) -> bool {
    record.outcome == CRASHED
}

/// What processes left that are no more.
pub(crate) struct Left {
    /// Each request once: as it was settled, or as it was opened with the outcome `crashed`.
    pub(crate) records: Vec<Record>,
    /// Those processes.
    pub(crate) machines: Vec<String>,
    files: Vec<(PathBuf, File)>,
}

impl Left {
    /// Reads every journal in `folder` that no living process holds.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        files::create_private_folder(folder)?;
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
        paths.sort();
        let (mut records, mut files) = (HashMap::<String, Record>::new(), Vec::new());
        for path in paths {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
            files::check_regular(&path).map_err(named)?;
            let file = OpenOptions::new().read(true).write(true).open(&path).map_err(named)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            read(&path, &mut records)?;
            files.push((path, file));
        }
        let machines: BTreeSet<_> = files.iter().filter_map(|(path, _)| machine(path)).collect();
        Ok(Self { records: records.into_values().collect(), machines: machines.into_iter().collect(), files })
    }

    /// Removes the files; their records are booked.
    pub(crate) fn remove(self) {
        for (path, _lock) in self.files {
            remove(&path);
        }
    }
}

fn read(path: &Path, records: &mut HashMap<String, Record>) -> io::Result<()> {
    let bytes = files::read(path, MOST_BYTES)?;
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice::<Entry>(line) {
            Ok(Entry::Done(record)) => {
                records.insert(record.id.clone(), record.into_owned());
            }
            Ok(Entry::Open(record)) => {
                records.entry(record.id.clone()).or_insert_with(|| Record {
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

    fn record(id: &str, cost: i64) -> Record {
        Record { id: id.into(), cost, outcome: "stop".into(), ..Record::default() }
    }

    fn left(folder: &Path) -> Vec<(String, i64, String)> {
        let mut left: Vec<_> =
            Left::read(folder).unwrap().records.into_iter().map(|r| (r.id, r.cost, r.outcome.into_owned())).collect();
        left.sort();
        left
    }

    #[test]
    fn a_dead_process_leaves_each_request_once() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), "m").unwrap();
        journal.open(&record("a", 5)).unwrap();
        journal.open(&record("b", 6)).unwrap();
        journal.done(&record("a", 7)).unwrap();
        assert_eq!(left(folder.path()), [], "a living process settles its own");
        drop(journal);
        let want = [("a".into(), 7, "stop".into()), ("b".into(), 6, CRASHED.into())];
        assert_eq!(left(folder.path()), want);
        assert_eq!(Left::read(folder.path()).unwrap().machines, ["m"]);
        // A line cut short by the crash.
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 4]).unwrap();
        assert_eq!(left(folder.path()), [("a".into(), 5, CRASHED.into()), ("b".into(), 6, CRASHED.into())]);
        Left::read(folder.path()).unwrap().remove();
        assert_eq!(left(folder.path()), []);
    }

    #[test]
    fn a_file_goes_when_all_of_it_is_booked() {
        let folder = tempfile::tempdir().unwrap();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        let journal = Journal::create(folder.path(), "m").unwrap();
        let first = journal.open(&record("a", 1)).unwrap();
        journal.fill();
        let second = journal.open(&record("b", 1)).unwrap();
        let done = journal.done(&record("a", 1)).unwrap();
        assert!(first != second && second == done && files() == 2);
        journal.booked([first, done]);
        assert_eq!(files(), 1);
        journal.close();
        assert_eq!(files(), 1, "b is not booked");
        journal.booked([second]);
        journal.close();
        assert_eq!(files(), 0);
    }
}
