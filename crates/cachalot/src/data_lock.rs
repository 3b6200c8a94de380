//! The lock on a server's data folder, so that only one server at a time uses it. The operating
//! system releases the lock when the process ends. Other commands do not acquire it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The locked file in the folder. It stays there after the server has ended.
const LOCK_FILE: &str = "server.lock";
/// How long to wait for the lock of a server that is about to end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// A held lock. Dropping it releases the folder.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Acquires the lock on `folder`, which is created when it is missing.
    ///
    /// # Errors
    /// Another server holds the lock: the message names its process id and the folder. A folder
    /// that cannot be written.
    pub fn acquire(folder: &Path) -> Result<Self> {
        let path = lock_path(folder);
        let fault = || format!("the data folder `{}` cannot be locked", folder.display());
        files::create_private_folder(folder).with_context(fault)?;
        let of_file = || format!("the lock file `{}`", path.display());
        files::check_regular(&path).with_context(of_file)?;
        let open = files::private_options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = open.with_context(of_file)?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(error).with_context(fault),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => bail!(
                    "another server (process {}) uses the data folder `{}`: stop it, or give this one a folder of its own with --store sqlite:PATH, or with `journal` in [store]",
                    read_pid(&mut file),
                    folder.display()
                ),
            }
        }
        let write_pid = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write_pid(&mut file).with_context(fault)?;
        Ok(Self { _file: file })
    }

    /// The process id of the server that holds the lock on `folder`; `None` when it is not locked.
    /// Nothing is created.
    ///
    /// # Errors
    /// A lock file that cannot be opened.
    pub fn holder_pid(folder: &Path) -> io::Result<Option<String>> {
        files::check_regular(&lock_path(folder))?;
        let mut file = match OpenOptions::new().read(true).open(lock_path(folder)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // The lock is released with the file, before a server that starts meanwhile gives up.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(read_pid(&mut file))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether a server has ever locked `folder`.
    pub fn is_known(folder: &Path) -> bool {
        lock_path(folder).symlink_metadata().is_ok()
    }

    /// Whether a server holds the lock on `folder`.
    ///
    /// # Errors
    /// As [`DataLock::holder_pid`].
    pub fn is_held(folder: &Path) -> io::Result<bool> {
        Ok(Self::holder_pid(folder)?.is_some())
    }
}

fn lock_path(folder: &Path) -> PathBuf {
    folder.join(LOCK_FILE)
}

/// The process id in the lock file, or `unknown`.
fn read_pid(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(32).read_to_string(&mut text));
    let id = text.trim();
    if read.is_err() || id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return "unknown".into();
    }
    id.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_holds_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("data");
        assert!(!DataLock::is_held(&inner).unwrap() && !DataLock::is_known(&inner) && !inner.exists());
        let held = DataLock::acquire(&inner).unwrap();
        assert_eq!(DataLock::holder_pid(&inner).unwrap(), Some(std::process::id().to_string()));
        let refused = format!("{:#}", DataLock::acquire(&inner).unwrap_err());
        assert!(refused.contains(&std::process::id().to_string()) && refused.contains("data`"), "{refused}");
        drop(held);
        assert!(!DataLock::is_held(&inner).unwrap() && DataLock::is_known(&inner));
        DataLock::acquire(&inner).unwrap();
    }
}
