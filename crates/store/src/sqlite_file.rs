//! The file of an SQLite database, looked at before SQLite opens it: SQLite takes an empty file for
//! a new database, and makes what is missing.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::{StoreError, now_micros};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Endings of the files that SQLite puts beside the database.
const SIDECAR_SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The kind of file at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    /// No file, or an empty one. `wal`: a write-ahead log lies there without its database.
    Missing {
        orphaned_wal: bool,
    },
    Database,
}

/// Looks at the file.
///
/// # Errors
/// `Unusable` for what SQLite did not write, or not to its end; `File` for what cannot be
/// read and written.
pub(crate) fn inspect(path: &Path) -> Result<FileState, StoreError> {
    let fault = |error: std::io::Error| StoreError::File(path.to_owned(), error);
    for name in [path.to_owned()].into_iter().chain(SIDECAR_SUFFIXES.map(|ending| with_suffix(path, ending))) {
        files::check_regular(&name).map_err(|error| StoreError::File(name.clone(), error))?;
    }
    let has_content = |ending| std::fs::metadata(with_suffix(path, ending)).is_ok_and(|metadata| metadata.len() > 0);
    let bytes = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        metadata => metadata.map_err(fault)?.len(),
    };
    if bytes == 0 {
        return Ok(FileState::Missing { orphaned_wal: has_content("-wal") });
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
    if bytes % page != 0 && !has_content("-wal") && !has_content("-journal") {
        return unusable("it is truncated");
    }
    std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(fault)?;
    Ok(FileState::Database)
}

/// Creates an empty file that only its owner may read, in a folder of which that is true too. What
/// SQLite puts beside it has the same permissions.
///
/// # Errors
/// `File` for a folder that cannot be written.
pub(crate) fn create_file(path: &Path) -> Result<(), StoreError> {
    let fault = |error| StoreError::File(path.to_owned(), error);
    let folder = files::folder_of(path);
    files::create_private_folder(&folder).map_err(|error| StoreError::Folder(folder, error))?;
    files::private_options().create(true).truncate(false).write(true).open(path).map_err(fault)?;
    Ok(())
}

/// Gives a database and what lies beside it other names. Returns the new one; `None` when
/// there was nothing.
///
/// # Errors
/// `File` for a folder that cannot be written.
pub(crate) fn move_aside(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let aside = unused_name(path);
    let mut moved = false;
    // The database itself goes last: a start that is cut short here finds it again.
    for ending in SIDECAR_SUFFIXES.into_iter().chain([""]) {
        moved |= rename_if_exists(&with_suffix(path, ending), &with_suffix(&aside, ending))?;
    }
    Ok(moved.then_some(aside))
}

/// Gives a file another name, if it is there.
pub(crate) fn rename_if_exists(from: &Path, to: &Path) -> Result<bool, StoreError> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::File(from.to_owned(), error)),
    }
}

/// A name beside `path` that nothing has.
pub(crate) fn unused_name(path: &Path) -> PathBuf {
    let mut at = now_micros() / 1_000_000;
    loop {
        let name = with_suffix(path, &format!(".old-{at}"));
        if name.symlink_metadata().is_err() {
            return name;
        }
        at += 1;
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_sqlite_has_written_whole_is_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cachalot.db");
        assert_eq!(inspect(&path).unwrap(), FileState::Missing { orphaned_wal: false });
        std::fs::write(&path, "").unwrap();
        assert_eq!(inspect(&path).unwrap(), FileState::Missing { orphaned_wal: false });
        std::fs::write(with_suffix(&path, "-wal"), "x").unwrap();
        assert_eq!(inspect(&path).unwrap(), FileState::Missing { orphaned_wal: true });
        std::fs::remove_file(with_suffix(&path, "-wal")).unwrap();
        let mut whole = vec![0; 8192];
        whole[..16].copy_from_slice(MAGIC);
        whole[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(inspect(&path).unwrap(), FileState::Database);
        let mut odd = whole.clone();
        odd[17] = 7;
        for bad in [b"S".as_slice(), &[b'x'; 4096], &whole[..99], &whole[..5000], &odd] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(inspect(&path), Err(StoreError::Unusable(..))), "{} bytes", bad.len());
        }
    }

    #[test]
    fn what_is_set_aside_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cachalot.db");
        assert_eq!(move_aside(&path).unwrap(), None);
        std::fs::write(&path, "first").unwrap();
        std::fs::write(with_suffix(&path, "-wal"), "log").unwrap();
        let first = move_aside(&path).unwrap().unwrap();
        std::fs::write(&path, "second").unwrap();
        let second = move_aside(&path).unwrap().unwrap();
        assert!(first != second && !path.exists());
        assert_eq!(std::fs::read(&first).unwrap(), b"first");
        assert_eq!(std::fs::read(with_suffix(&first, "-wal")).unwrap(), b"log");
        assert_eq!(std::fs::read(second).unwrap(), b"second");
    }
}
