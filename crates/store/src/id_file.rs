//! `store-id`: the identity of the database, kept outside of it. By this file a start notices that
//! the database was lost, replaced or restored, which would otherwise bring back revoked keys, or
//! let everybody in.
//!
//! The first line is `<id> <changes>`; each further one is a recent change, `<number> <what>`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{StoreError, StoreIdentity};

const FILE_NAME: &str = "store-id";
/// Recent changes that are noted.
const MAX_RECENT_CHANGES: usize = 200;
const MAX_READ_BYTES: u64 = 1 << 20;

/// The file in a data folder.
#[derive(Debug)]
pub(crate) struct IdFile {
    path: PathBuf,
    /// The identity that this process has read or written last. One writer at a time.
    last_known: Mutex<Option<StoreIdentity>>,
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdFileContent {
    pub(crate) identity: StoreIdentity,
    /// The number of a change, and what it was.
    pub(crate) recent_changes: VecDeque<(i64, String)>,
}

impl IdFile {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join(FILE_NAME), last_known: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The identity that this process has read or written last.
    pub(crate) fn last_known(&self) -> Option<StoreIdentity> {
        self.lock_last_known().clone()
    }

    /// Reads it; `None` when there is none.
    ///
    /// # Errors
    /// `IdFile` when something is there that cannot be read or understood: this is never taken
    /// for a missing file.
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
        let noted = parse(&text).ok_or_else(|| fault("it is damaged".into()))?;
        Ok(Some(noted))
    }

    /// Notes that the database has this identity, after `what` was changed. What another process
    /// has noted meanwhile stays.
    ///
    /// # Errors
    /// `IdFile` when it cannot be written, or is of another database.
    pub(crate) fn record(&self, now: &StoreIdentity, what: Option<&str>) -> Result<(), StoreError> {
        let mut last_known = self.lock_last_known();
        let _folder_lock = self.lock_folder();
        let mut content = match self.read()? {
            Some(noted) if noted.identity.id == now.id => noted,
            Some(_) => {
                return Err(StoreError::IdFile(self.path.clone(), "it is of another database".into()));
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

    /// Replaces it, whatever it has said.
    ///
    /// # Errors
    /// `IdFile` when it cannot be written.
    pub(crate) fn replace(&self, now: &StoreIdentity, what: &str) -> Result<(), StoreError> {
        let mut last_known = self.lock_last_known();
        let _folder_lock = self.lock_folder();
        self.write(&IdFileContent { identity: now.clone(), recent_changes: [(now.changes, what.to_owned())].into() })?;
        *last_known = Some(now.clone());
        Ok(())
    }

    fn write(&self, content: &IdFileContent) -> Result<(), StoreError> {
        let StoreIdentity { id, changes } = &content.identity;
        let mut text = format!("{id} {changes}\n");
        let old = content.recent_changes.len().saturating_sub(MAX_RECENT_CHANGES);
        for (number, what) in content.recent_changes.iter().skip(old) {
            // Names of old databases may hold anything.
            let what: String =
                what.chars().map(|c| if crate::is_printable(c.encode_utf8(&mut [0; 4])) { c } else { '?' }).collect();
            text.push_str(&format!("{number} {what}\n"));
        }
        let fault = |error: std::io::Error| StoreError::IdFile(self.path.clone(), error.to_string());
        files::create_private_folder(&files::folder_of(&self.path)).map_err(fault)?;
        files::replace_atomically(&self.path, text.as_bytes()).map_err(fault)
    }

    /// Waits for other processes that write it. Where the folder cannot be locked, a note of what
    /// was changed may be lost, and never the number of changes for long: whoever serves reads it
    /// from the database.
    fn lock_folder(&self) -> Option<std::fs::File> {
        let folder = std::fs::File::open(files::folder_of(&self.path)).ok()?;
        folder.lock().ok()?;
        Some(folder)
    }

    fn lock_last_known(&self) -> MutexGuard<'_, Option<StoreIdentity>> {
        // It is written whole.
        self.last_known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parses the content of the file; `None` when a part of it is missing.
fn parse(text: &str) -> Option<IdFileContent> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let (id, changes) = lines.next()?.split_once(' ')?;
    uuid::Uuid::parse_str(id).ok()?;
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
    let recent = lines.map(|line| {
        let (at, what) = line.split_once(' ')?;
        Some((number(at)?, what.to_owned()))
    });
    let recent = recent.collect::<Option<_>>()?;
    Some(IdFileContent {
        identity: StoreIdentity { id: id.to_owned(), changes: number(changes)? },
        recent_changes: recent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(changes: i64) -> StoreIdentity {
        StoreIdentity { id: "5f0e3c1a-0000-4000-8000-000000000001".into(), changes }
    }

    #[test]
    fn what_is_noted_is_read_again_and_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = IdFile::in_folder(&folder.path().join("deep"));
        assert_eq!(file.read().unwrap(), None);
        file.record(&identity(2), Some("key `a` added")).unwrap();
        file.record(&identity(5), None).unwrap();
        file.record(&identity(4), Some("key `b`\n added")).unwrap();
        let noted = file.read().unwrap().unwrap();
        assert_eq!((noted.identity, noted.recent_changes.len()), (identity(5), 2));
        assert_eq!(noted.recent_changes[1], (4, "key `b`? added".into()));
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
