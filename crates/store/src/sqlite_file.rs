//! Checks of an SQLite database file before SQLite opens it, because SQLite treats an empty file as
//! a new database. Also creates the file, and moves it aside.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::{StoreError, now_micros};

/// The first bytes of a database file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Suffixes of the files that SQLite creates beside the database.
const SIDECAR_SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The state of a database file that [`inspect`] does not refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    /// The file is missing or empty.
    Missing {
        /// There is a write-ahead log with content, but not its database.
        orphaned_wal: bool,
    },
    /// The file is an SQLite database.
    Database,
}

/// Checks the header and the length of the file, and that it can be read and written. Changes
/// nothing.
///
/// # Errors
/// `Unusable` for a file that is not an SQLite database or is truncated. `File` for a file that
/// cannot be read or written, and if it or a file of SQLite beside it is not a regular file.
pub(crate) fn check_file(path: &Path) -> Result<FileState, StoreError> {
    let fault = |error: std::io::Error| StoreError::File(path.to_owned(), error);
    for name in [path.to_owned()].into_iter().chain(SIDECAR_SUFFIXES.map(|suffix| append_suffix(path, suffix))) {
        files::check_regular(&name).map_err(|error| StoreError::File(name.clone(), error))?;
    }
    let has_content = |suffix| std::fs::metadata(append_suffix(path, suffix)).is_ok_and(|metadata| metadata.len() > 0);
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
    let page_bytes = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    if page_bytes < 512 || !page_bytes.is_power_of_two() {
        return unusable("its header is damaged");
    }
    // While there is a log to recover from, the file may have any length.
    if bytes % page_bytes != 0 && !has_content("-wal") && !has_content("-journal") {
        return unusable("it is truncated");
    }
    std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(fault)?;
    Ok(FileState::Database)
}

/// Creates an empty file and its folder, both for their owner only, where they are missing. What
/// exists keeps its content and permissions. The files that SQLite creates beside the database
/// inherit its permissions.
///
/// # Errors
/// `Folder` for a folder that cannot be created; `File` for a file that cannot be created or
/// written.
pub(crate) fn create_file(path: &Path) -> Result<(), StoreError> {
    let fault = |error| StoreError::File(path.to_owned(), error);
    let folder = files::folder_of(path);
    files::create_private_folder(&folder).map_err(|error| StoreError::Folder(folder, error))?;
    files::private_options().create(true).truncate(false).write(true).open(path).map_err(fault)?;
    Ok(())
}

/// Renames a database and the files of SQLite beside it. Returns the new name of the database, also
/// if only files beside it existed; `None` when there was no file.
///
/// # Errors
/// `File` for a file that cannot be renamed.
pub(crate) fn move_aside(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let aside = unused_name(path);
    let mut moved = false;
    // The database itself is last, so that an interrupted start finds it again.
    for suffix in SIDECAR_SUFFIXES.into_iter().chain([""]) {
        moved |= rename_if_exists(&append_suffix(path, suffix), &append_suffix(&aside, suffix))?;
    }
    Ok(moved.then_some(aside))
}

/// Renames a file. Returns false when it does not exist.
///
/// # Errors
/// `File` for a file that cannot be renamed.
pub(crate) fn rename_if_exists(from: &Path, to: &Path) -> Result<bool, StoreError> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::File(from.to_owned(), error)),
    }
}

/// A name that is not in use: `path` with `.old-` and a time in seconds.
pub(crate) fn unused_name(path: &Path) -> PathBuf {
    let mut at = now_micros() / 1_000_000;
    loop {
        let name = append_suffix(path, &format!(".old-{at}"));
        if name.symlink_metadata().is_err() {
            return name;
        }
        at += 1;
    }
}

fn append_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_sqlite_file_is_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cachalot.db");
        assert_eq!(check_file(&path).unwrap(), FileState::Missing { orphaned_wal: false });
        std::fs::write(&path, "").unwrap();
        assert_eq!(check_file(&path).unwrap(), FileState::Missing { orphaned_wal: false });
        std::fs::write(append_suffix(&path, "-wal"), "x").unwrap();
        assert_eq!(check_file(&path).unwrap(), FileState::Missing { orphaned_wal: true });
        std::fs::remove_file(append_suffix(&path, "-wal")).unwrap();
        let mut whole = vec![0; 8192];
        whole[..16].copy_from_slice(MAGIC);
        whole[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(check_file(&path).unwrap(), FileState::Database);
        let mut bad_page_size = whole.clone();
        bad_page_size[17] = 7;
        for bad in [b"S".as_slice(), &[b'x'; 4096], &whole[..99], &whole[..5000], &bad_page_size] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(check_file(&path), Err(StoreError::Unusable(..))), "{} bytes", bad.len());
        }
    }

    #[test]
    fn a_database_that_is_moved_aside_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cachalot.db");
        assert_eq!(move_aside(&path).unwrap(), None);
        std::fs::write(&path, "first").unwrap();
        std::fs::write(append_suffix(&path, "-wal"), "log").unwrap();
        let first = move_aside(&path).unwrap().unwrap();
        std::fs::write(&path, "second").unwrap();
        let second = move_aside(&path).unwrap().unwrap();
        assert!(first != second && !path.exists());
        assert_eq!(std::fs::read(&first).unwrap(), b"first");
        assert_eq!(std::fs::read(append_suffix(&first, "-wal")).unwrap(), b"log");
        assert_eq!(std::fs::read(second).unwrap(), b"second");
    }
}
