//! `store-id`: a copy of the identity of the database, kept outside of it. A start compares the
//! two, and so notices that the database was lost, replaced or restored from a backup. Such a
//! database could accept revoked keys again, or requests without a key.
//!
//! The first line is `<id> <changes>`. Each further line is a recent change, in the order of
//! recording: `<number> <description>`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::StoreError;

const FILE_NAME: &str = "store-id";
/// Maximum number of recent changes in the file; older ones are dropped.
const MAX_RECENT_CHANGES: usize = 200;
const MAX_READ_BYTES: u64 = 1 << 20;

/// The identity of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// A random UUID.
    pub id: String,
    /// The number of changes of keys and users so far. A restored backup has a smaller number than
    /// `store-id`.
    pub changes: i64,
}

/// The file `store-id` in a data folder.
#[derive(Debug)]
pub(crate) struct IdFile {
    path: PathBuf,
    /// The identity that this process wrote last; `None` before it has written. The lock is held
    /// while the file is written.
    last_known: Mutex<Option<StoreIdentity>>,
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdFileContent {
    pub(crate) identity: StoreIdentity,
    /// The description of each change, with the value of `changes` after it.
    pub(crate) recent_changes: VecDeque<(i64, String)>,
}

impl IdFile {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join(FILE_NAME), last_known: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The identity that this process wrote last; `None` before it has written.
    pub(crate) fn last_known(&self) -> Option<StoreIdentity> {
        self.last_known.lock().clone()
    }

    /// Reads the file; `None` when it is missing.
    ///
    /// # Errors
    /// `IdFile` for a symbolic link, and for a file that cannot be read or parsed. None of them
    /// counts as missing.
    pub(crate) fn read(&self) -> Result<Option<IdFileContent>, StoreError> {
        let fault = |reason: String| StoreError::IdFile(self.path.clone(), reason);
        let metadata = match std::fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(|error| fault(error.to_string()))?,
        };
        if metadata.is_symlink() {
            return Err(fault("it is a symbolic link, and a regular file is expected".into()));
        }
        let text = files::read_text(&self.path, MAX_READ_BYTES).map_err(|error| fault(error.to_string()))?;
        let content = parse(&text).ok_or_else(|| fault("it is damaged".into()))?;
        Ok(Some(content))
    }

    /// Records the identity `now`, and creates a missing file. `what` describes the change that led
    /// to it; with `None` only the identity is recorded. Changes that other processes have recorded
    /// are kept, and the number of changes never decreases.
    ///
    /// # Errors
    /// `IdFile` for a file that cannot be read, parsed or written, or that belongs to another
    /// database.
    pub(crate) fn record(&self, now: &StoreIdentity, what: Option<&str>) -> Result<(), StoreError> {
        let mut last_known = self.last_known.lock();
        let _folder_lock = self.lock_folder();
        let mut content = match self.read()? {
            Some(content) if content.identity.id == now.id => content,
            Some(_) => {
                return Err(StoreError::IdFile(self.path.clone(), "it belongs to another database".into()));
            }
            None => IdFileContent { identity: now.clone(), recent_changes: VecDeque::new() },
        };
        content.identity.changes = content.identity.changes.max(now.changes);
        if let Some(what) = what {
            content.recent_changes.push_back((now.changes, what.to_owned()));
        }
        self.write(&content)?;
        *last_known = Some(content.identity);
        Ok(())
    }

    /// Replaces the file, whatever it contains, by the identity `now` and the one change `what`.
    ///
    /// # Errors
    /// `IdFile` for a file that cannot be written.
    pub(crate) fn replace(&self, now: &StoreIdentity, what: &str) -> Result<(), StoreError> {
        let mut last_known = self.last_known.lock();
        let _folder_lock = self.lock_folder();
        self.write(&IdFileContent { identity: now.clone(), recent_changes: [(now.changes, what.to_owned())].into() })?;
        *last_known = Some(now.clone());
        Ok(())
    }

    /// Writes the file atomically, and flushes it to disk (fsync). Creates its folder.
    fn write(&self, content: &IdFileContent) -> Result<(), StoreError> {
        let StoreIdentity { id, changes } = &content.identity;
        let mut text = format!("{id} {changes}\n");
        let old = content.recent_changes.len().saturating_sub(MAX_RECENT_CHANGES);
        for (number, what) in content.recent_changes.iter().skip(old) {
            // Names in old databases may have any characters.
            let what: String =
                what.chars().map(|c| if crate::is_printable(c.encode_utf8(&mut [0; 4])) { c } else { '?' }).collect();
            text.push_str(&format!("{number} {what}\n"));
        }
        let fault = |error: std::io::Error| StoreError::IdFile(self.path.clone(), error.to_string());
        files::create_private_folder(&files::folder_of(&self.path)).map_err(fault)?;
        files::replace_atomically(&self.path, text.as_bytes()).map_err(fault)
    }

    /// Locks the folder against other processes that write the file. `None` if that fails; the file
    /// is written nevertheless. Two writers may then overwrite each other, and the description of a
    /// change may be lost. The number of changes is corrected from the database later.
    fn lock_folder(&self) -> Option<std::fs::File> {
        let folder = std::fs::File::open(files::folder_of(&self.path)).ok()?;
        folder.lock().ok()?;
        Some(folder)
    }
}

/// Parses the file; `None` when a part of it is missing or invalid.
fn parse(text: &str) -> Option<IdFileContent> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let (id, changes) = lines.next()?.split_once(' ')?;
    uuid::Uuid::parse_str(id).ok()?;
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
    let changes_of_lines = lines.map(|line| {
        let (at, what) = line.split_once(' ')?;
        Some((number(at)?, what.to_owned()))
    });
    let recent_changes = changes_of_lines.collect::<Option<_>>()?;
    let identity = StoreIdentity { id: id.to_owned(), changes: number(changes)? };
    Some(IdFileContent { identity, recent_changes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(changes: i64) -> StoreIdentity {
        StoreIdentity { id: "5f0e3c1a-0000-4000-8000-000000000001".into(), changes }
    }

    #[test]
    fn what_is_recorded_is_read_again_and_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = IdFile::in_folder(&folder.path().join("deep"));
        assert_eq!(file.read().unwrap(), None);
        file.record(&identity(2), Some("key `a` added")).unwrap();
        file.record(&identity(5), None).unwrap();
        file.record(&identity(4), Some("key `b`\n added")).unwrap();
        let content = file.read().unwrap().unwrap();
        assert_eq!((content.identity, content.recent_changes.len()), (identity(5), 2));
        assert_eq!(content.recent_changes[1], (4, "key `b`? added".into()));
        let other = StoreIdentity { id: "5f0e3c1a-0000-4000-8000-000000000002".into(), changes: 9 };
        assert!(file.record(&other, None).is_err());
        file.replace(&other, "accepted").unwrap();
        assert_eq!(file.read().unwrap().unwrap().identity, other);
        for number in 0..2 * MAX_RECENT_CHANGES as i64 {
            file.record(&StoreIdentity { changes: 10 + number, ..other.clone() }, Some("change")).unwrap();
        }
        assert_eq!(file.read().unwrap().unwrap().recent_changes.len(), MAX_RECENT_CHANGES);
    }

    #[test]
    fn a_damaged_file_is_not_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = IdFile::in_folder(folder.path());
        let id = identity(1).id;
        for text in [
            "",
            "\n",
            &id,
            &format!("{id} "),
            &format!("{id} 12"),
            &format!("{id} -1\n"),
            "x 1\n",
            &format!("{id} 1\n7\n"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            assert!(file.read().is_err(), "{text:?}");
            assert!(file.record(&identity(2), None).is_err(), "{text:?}");
        }
        std::fs::write(file.path(), [0xff; 40]).unwrap();
        assert!(file.read().is_err());
        #[cfg(unix)]
        {
            std::fs::remove_file(file.path()).unwrap();
            std::os::unix::fs::symlink("/no/such/file", file.path()).unwrap();
            assert!(file.read().unwrap_err().to_string().contains("symbolic link"));
        }
    }
}
