//! The file of an SQLite database, looked at before SQLite opens it: SQLite takes an empty file for a new database, and makes what is
//! missing.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::{StoreError, now};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Endings of the files that SQLite puts beside the database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The kind of file at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No file, or an empty one. `wal`: a write-ahead log lies there without its database.
    Nothing {
        wal: bool,
    },
    Database,
}

/// Looks at the file.
///
/// # Errors
/// `Unusable` for what SQLite did not write, or not to its end; `File` for what cannot be read and written.
pub(crate) fn look(path: &Path) -> Result<Found, StoreError> {
    let fault = |error: std::io::Error| StoreError::File(path.to_owned(), error);
    for name in [path.to_owned()].into_iter().chain(BESIDE.map(|ending| beside(path, ending))) {
        files::check_regular(&name).map_err(|error| StoreError::File(name.clone(), error))?;
    }
    let logged = |ending| std::fs::metadata(beside(path, ending)).is_ok_and(|metadata| metadata.len() > 0);
    let bytes = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        metadata => metadata.map_err(fault)?.len(),
    };
    if bytes == 0 {
        return Ok(Found::Nothing { wal: logged("-wal") });
    }
    let unusable = |reason: &str| Err(StoreError::Unusable(path.to_owned(), reason.to_owned()));
    let mut header = [0; 100];
    match files::open(path).map_err(fault)?.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return unusable("it is too short for a database"),
        read => read.map_err(fault)?,
    }
    if !header.starts_with(MAGIC) {
        return unusable("it is not an SQLite database");
    }
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    if page < 512 || !page.is_power_of_two() {
        return unusable("its header is damaged");
    }
    // While SQLite has something to bring back, the file may end anywhere.
    if bytes % page != 0 && !logged("-wal") && !logged("-journal") {
        return unusable("it is truncated");
    }
    std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(fault)?;
    Ok(Found::Database)
}

/// Creates an empty file that only its owner may read, in a folder of which that is true too. What SQLite puts beside it has the same
/// permissions.
///
/// # Errors
/// `File` for a folder that cannot be written.
pub(crate) fn create(path: &Path) -> Result<(), StoreError> {
    let fault = |error| StoreError::File(path.to_owned(), error);
    let folder = files::folder_of(path);
    files::create_private_folder(&folder).map_err(|error| StoreError::Folder(folder, error))?;
    files::private_options().create(true).truncate(false).write(true).open(path).map_err(fault)?;
    Ok(())
}

/// Gives a database and what lies beside it other names. Returns the new one; `None` when there was nothing.
///
/// # Errors
/// `File` for a folder that cannot be written.
pub(crate) fn set_aside(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let aside = unused_name(path);
    let mut moved = false;
    // The database itself goes last: a start that is cut short here finds it again.
    for ending in BESIDE.into_iter().chain([""]) {
        moved |= rename(&beside(path, ending), &beside(&aside, ending))?;
    }
    Ok(moved.then_some(aside))
}

/// Gives a file another name, if it is there.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<bool, StoreError> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::File(from.to_owned(), error)),
    }
}

/// A name beside `path` that nothing has.
pub(crate) fn unused_name(path: &Path) -> PathBuf {
    let mut at = now() / 1_000_000;
    loop {
        let name = beside(path, &format!(".old-{at}"));
        if name.symlink_metadata().is_err() {
            return name;
        }
        at += 1;
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_sqlite_has_written_whole_is_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cachalot.db");
        assert_eq!(look(&path).unwrap(), Found::Nothing { wal: false });
        std::fs::write(&path, "").unwrap();
        assert_eq!(look(&path).unwrap(), Found::Nothing { wal: false });
        std::fs::write(beside(&path, "-wal"), "x").unwrap();
        assert_eq!(look(&path).unwrap(), Found::Nothing { wal: true });
        std::fs::remove_file(beside(&path, "-wal")).unwrap();
        let mut whole = vec![0; 8192];
        whole[..16].copy_from_slice(MAGIC);
        whole[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(look(&path).unwrap(), Found::Database);
        let mut odd = whole.clone();
        odd[17] = 7;
        for bad in [b"S".as_slice(), &[b'x'; 4096], &whole[..99], &whole[..5000], &odd] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(look(&path), Err(StoreError::Unusable(..))), "{} bytes", bad.len());
        }
    }

    #[test]
    fn what_is_set_aside_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cachalot.db");
        assert_eq!(set_aside(&path).unwrap(), None);
        std::fs::write(&path, "first").unwrap();
        std::fs::write(beside(&path, "-wal"), "log").unwrap();
        let first = set_aside(&path).unwrap().unwrap();
        std::fs::write(&path, "second").unwrap();
        let second = set_aside(&path).unwrap().unwrap();
        assert!(first != second && !path.exists());
        assert_eq!(std::fs::read(&first).unwrap(), b"first");
        assert_eq!(std::fs::read(beside(&first, "-wal")).unwrap(), b"log");
        assert_eq!(std::fs::read(second).unwrap(), b"second");
    }
}
