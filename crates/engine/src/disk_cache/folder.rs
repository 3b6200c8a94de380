//! The folder of the disk cache: its lock, and the pages found in it at the start.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use metrics::counter;

use super::index::PageIndex;
use super::page_file;

/// Locks the folder for this process. Waits up to a second for a process that is stopping.
pub(super) fn lock_folder(lock: &File) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another program uses this folder")),
        }
    }
}

/// Adds the pages of the folder to `index`, oldest first, and removes temporary and corrupt files.
/// Files with other names are left alone.
pub(super) fn load_index_and_clean(folder: &Path, index: &mut PageIndex) -> io::Result<()> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if page_file::is_temporary(&name) {
            fs::remove_file(entry.path())?;
        } else if let Some(key) = page_file::key_from_name(&name) {
            let metadata = entry.metadata()?;
            match page_file::read_parent(&entry.path(), &key) {
                Some(parent) => pages.push((metadata.modified()?, key, parent, metadata.len())),
                None => {
                    counter!("cachalot_disk_cache_corrupt_files_total").increment(1);
                    fs::remove_file(entry.path())?;
                }
            }
        }
    }
    pages.sort_unstable();
    for (_, key, parent, size) in pages {
        index.insert(key, parent, size);
    }
    Ok(())
}
