//! Safe access to local files: reads only regular files of limited size, writes files that are
//! private to their owner and replaced atomically.
#![forbid(unsafe_code)]

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// A path that is not a regular file (a FIFO, which would block; a device, which may have no end; a
/// folder), a larger file, and those of [`File::open`].
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Commonly used as an empty file.
    if path == Path::new("/dev/null") {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Reads a regular file of UTF-8 text of at most `limit` bytes.
///
/// # Errors
/// As [`read`]; `InvalidData` for other text.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

/// Opens a regular file for reading.
///
/// # Errors
/// As [`read`].
pub fn open(path: &Path) -> io::Result<File> {
    // Checked before opening: opening a FIFO waits for its other end, and opening a device may have
    // side effects.
    ensure_regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    ensure_regular(&file.metadata()?)?;
    Ok(file)
}

/// Checks that `path` is a regular file or does not exist. A symbolic link is followed.
///
/// # Errors
/// Another kind of file, or a path whose metadata cannot be read.
pub fn check_regular(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) => ensure_regular(&metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn ensure_regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_dir() { "a folder" } else { describe_special(kind) };
    Err(io::Error::new(ErrorKind::InvalidInput, format!("it is {what}, and a regular file is expected")))
}

#[cfg(unix)]
fn describe_special(kind: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "a pipe (FIFO)"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn describe_special(_: fs::FileType) -> &'static str {
    "no file"
}

/// Options that create files with mode 0600, readable by their owner only.
pub fn private_options() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has modes"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates a folder that only its owner may enter (mode 0700), and missing parent folders.
///
/// # Errors
/// Those of [`fs::create_dir_all`].
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The folder of a path; `.` for a bare file name.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Creates a file that only its owner may read, and flushes it to disk (fsync).
///
/// # Errors
/// `AlreadyExists`; a folder that is missing or cannot be written, a full disk.
pub fn create_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = private_options().write(true).create_new(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    sync_folder(&folder_of(path))
}

/// Replaces or creates the file at `path` atomically: after a crash it has either the old or the
/// new content. The file is private to its owner, and flushed to disk when this returns.
///
/// # Errors
/// A folder that is missing or cannot be written, a full disk.
pub fn replace_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, content, private_options())
}

/// Replaces or creates the file at `path` as [`replace_atomically`] does, but with the permissions
/// that new files of the process have.
///
/// # Errors
/// As [`replace_atomically`].
pub fn publish(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_with(path, content, OpenOptions::new())
}

fn replace_with(path: &Path, content: &[u8], options: OpenOptions) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}-{}.new", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
    let unfinished = path.with_file_name(name);
    let written = write_synced(&unfinished, content, options).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // A leftover file is harmless.
        let _ = fs::remove_file(&unfinished);
    }
    written?;
    sync_folder(&folder_of(path))
}

fn write_synced(path: &Path, content: &[u8], mut options: OpenOptions) -> io::Result<()> {
    let mut file = options.write(true).create(true).truncate(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Flushes the entries of a folder to disk (fsync), so that created and removed files survive
/// a power failure.
///
/// # Errors
/// Those of `fsync`.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Whether users other than the owner may read or write a file. Access of its group counts, unless
/// the folder is shared with that group on purpose (by its set-group-id bit, as Kubernetes'
/// `fsGroup` sets it).
///
/// # Errors
/// A file or folder whose metadata cannot be read.
pub fn is_open_to_others(path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let file = fs::metadata(path)?;
        if file.mode() & 0o006 != 0 {
            return Ok(true);
        }
        let folder = fs::metadata(folder_of(path))?;
        let shared_on_purpose = folder.mode() & 0o2000 != 0 && folder.gid() == file.gid();
        Ok(file.mode() & 0o060 != 0 && !shared_on_purpose)
    }
    #[cfg(not(unix))]
    fs::metadata(path).map(|_| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "four").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"four");
        assert!(read(&path, 3).unwrap_err().to_string().contains("larger than 3 bytes"));
        assert_eq!(read(&folder.path().join("none"), 9).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(read(folder.path(), 9).unwrap_err().to_string().contains("a folder"));
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path, 9).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_and_an_endless_device_are_refused_without_being_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(read(&pipe, 9).unwrap_err().to_string().contains("a pipe"));
        assert!(check_regular(&pipe).is_err());
        assert!(read(Path::new("/dev/zero"), 9).unwrap_err().to_string().contains("a device"));
        assert_eq!(read(Path::new("/dev/null"), 9).unwrap(), b"");
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace_atomically(&path, b"one").unwrap();
        replace_atomically(&path, b"two").unwrap();
        assert_eq!(read(&path, 9).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        assert!(replace_atomically(&folder.path().join("no/file"), b"").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn what_is_created_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (inner, path) = (folder.path().join("a/b"), folder.path().join("a/b/file"));
        create_private_folder(&inner).unwrap();
        replace_atomically(&path, b"secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.path().join("a")), mode(&inner), mode(&path)), (0o700, 0o700, 0o600));
        assert!(!is_open_to_others(&path).unwrap());
        for (of_file, of_folder, open) in
            [(0o644, 0o700, true), (0o640, 0o700, true), (0o660, 0o2770, false), (0o662, 0o2770, true)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(of_file)).unwrap();
            fs::set_permissions(&inner, fs::Permissions::from_mode(of_folder)).unwrap();
            assert_eq!(is_open_to_others(&path).unwrap(), open, "{of_file:o} in {of_folder:o}");
        }
    }
}
