//! `store-id`: the identity of the database, kept outside of it. By this file a start notices that the database was lost, replaced
//! or restored, which would otherwise bring back revoked keys, or let everybody in.
//!
//! The first line is `<id> <changes>`; each further one is a recent change, `<number> <what>`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Identity, StoreError};

const NAME: &str = "store-id";
/// Recent changes that are noted.
const RECENT: usize = 200;
const MOST_BYTES: u64 = 1 << 20;

/// The file in a data folder.
#[derive(Debug)]
pub(crate) struct IdFile {
    path: PathBuf,
    /// The identity that this process has read or written last. One writer at a time.
    seen: Mutex<Option<Identity>>,
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) identity: Identity,
    /// The number of a change, and what it was.
    pub(crate) recent: VecDeque<(i64, String)>,
}

impl IdFile {
    pub(crate) fn of(folder: &Path) -> Self {
        Self { path: folder.join(NAME), seen: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The identity that this process has read or written last.
    pub(crate) fn seen(&self) -> Option<Identity> {
        self.lock().clone()
    }

    /// Reads it; `None` when there is none.
    ///
    /// # Errors
    /// `IdFile` when something is there that cannot be read or understood: this is never taken for a missing file.
    pub(crate) fn read(&self) -> Result<Option<Noted>, StoreError> {
        let fault = |reason: String| StoreError::IdFile(self.path.clone(), reason);
        let metadata = match std::fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(|error| fault(error.to_string()))?,
        };
        if metadata.is_symlink() {
            return Err(fault("it is a symbolic link, and a regular file is expected".into()));
        }
        let text = files::read_text(&self.path, MOST_BYTES).map_err(|error| fault(error.to_string()))?;
        let noted = parse(&text).ok_or_else(|| fault("it is damaged".into()))?;
        Ok(Some(noted))
    }

    /// Notes that the database has this identity, after `what` was changed. What another process has noted meanwhile stays.
    ///
    /// # Errors
    /// `IdFile` when it cannot be written, or is of another database.
    pub(crate) fn note(&self, now: &Identity, what: Option<&str>) -> Result<(), StoreError> {
        let mut seen = self.lock();
        let _turn = self.turn();
        let mut noted = match self.read()? {
            Some(noted) if noted.identity.id == now.id => noted,
            Some(_) => {
                return Err(StoreError::IdFile(self.path.clone(), "it is of another database".into()));
            }
            None => Noted { identity: now.clone(), recent: VecDeque::new() },
        };
        noted.identity.changes = noted.identity.changes.max(now.changes);
        if let Some(what) = what {
            noted.recent.push_back((now.changes, what.to_owned()));
        }
        self.write(&noted)?;
        *seen = Some(noted.identity);
        Ok(())
    }

    /// Replaces it, whatever it has said.
    ///
    /// # Errors
    /// `IdFile` when it cannot be written.
    pub(crate) fn replace(&self, now: &Identity, what: &str) -> Result<(), StoreError> {
        let mut seen = self.lock();
        let _turn = self.turn();
        self.write(&Noted { identity: now.clone(), recent: [(now.changes, what.to_owned())].into() })?;
        *seen = Some(now.clone());
        Ok(())
    }

    fn write(&self, noted: &Noted) -> Result<(), StoreError> {
        let Identity { id, changes } = &noted.identity;
        let mut text = format!("{id} {changes}\n");
        let old = noted.recent.len().saturating_sub(RECENT);
        for (number, what) in noted.recent.iter().skip(old) {
            // Names of old databases may hold anything.
            let what: String =
                what.chars().map(|c| if crate::is_plain(c.encode_utf8(&mut [0; 4])) { c } else { '?' }).collect();
            text.push_str(&format!("{number} {what}\n"));
        }
        let fault = |error: std::io::Error| StoreError::IdFile(self.path.clone(), error.to_string());
        files::create_private_folder(&files::folder_of(&self.path)).map_err(fault)?;
        files::replace_atomically(&self.path, text.as_bytes()).map_err(fault)
    }

    /// Waits for other processes that write it. Where the folder cannot be locked, a note of what was changed may be lost, and
    /// never the number of changes for long: whoever serves reads it from the database.
    fn turn(&self) -> Option<std::fs::File> {
        let folder = std::fs::File::open(files::folder_of(&self.path)).ok()?;
        folder.lock().ok()?;
        Some(folder)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Identity>> {
        // It is written whole.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parses the content of the file; `None` when a part of it is missing.
fn parse(text: &str) -> Option<Noted> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let (id, changes) = lines.next()?.split_once(' ')?;
    uuid::Uuid::parse_str(id).ok()?;
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
    let recent = lines.map(|line| {
        let (at, what) = line.split_once(' ')?;
        Some((number(at)?, what.to_owned()))
    });
    let recent = recent.collect::<Option<_>>()?;
    Some(Noted { identity: Identity { id: id.to_owned(), changes: number(changes)? }, recent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(changes: i64) -> Identity {
        Identity { id: "5f0e3c1a-0000-4000-8000-000000000001".into(), changes }
    }

    #[test]
    fn what_is_noted_is_read_again_and_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = IdFile::of(&folder.path().join("deep"));
        assert_eq!(file.read().unwrap(), None);
        file.note(&identity(2), Some("key `a` added")).unwrap();
        file.note(&identity(5), None).unwrap();
        file.note(&identity(4), Some("key `b`\n added")).unwrap();
        let noted = file.read().unwrap().unwrap();
        assert_eq!((noted.identity, noted.recent.len()), (identity(5), 2));
        assert_eq!(noted.recent[1], (4, "key `b`? added".into()));
        let other = Identity { id: "5f0e3c1a-0000-4000-8000-000000000002".into(), changes: 9 };
        assert!(file.note(&other, None).is_err());
        file.replace(&other, "accepted").unwrap();
        assert_eq!(file.read().unwrap().unwrap().identity, other);
        for number in 0..2 * RECENT as i64 {
            file.note(&Identity { changes: 10 + number, ..other.clone() }, Some("change")).unwrap();
        }
        assert_eq!(file.read().unwrap().unwrap().recent.len(), RECENT);
    }

    #[test]
    fn a_damaged_file_is_not_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = IdFile::of(folder.path());
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
            assert!(file.note(&identity(2), None).is_err(), "{text:?}");
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
