//! The cache on disk, in the layout of the hub's other tools:
//!
//! ```text
//! models--ORG--NAME/blobs/CHECKSUM          a file's bytes
//! models--ORG--NAME/blobs/CHECKSUM.incomplete   the same while they arrive
//! models--ORG--NAME/snapshots/COMMIT/PATH   a link to the blob
//! models--ORG--NAME/refs/REVISION           the commit of a branch or tag
//! .locks/models--ORG--NAME/CHECKSUM.lock    held (flock) by whoever writes the blob
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::model_id::is_commit;
use crate::{Checksum, Error, ModelId, ModelRef};

/// The most bytes of a file below `refs`.
const MAX_REF_BYTES: u64 = 256;

/// The cache in a folder, which may not exist yet.
#[derive(Clone, Debug)]
pub struct HubCache {
    folder: PathBuf,
}

/// The right to write a blob. Dropping it gives the right back, and so does the end of the process.
pub(crate) struct BlobLock {
    _file: File,
}

impl HubCache {
    /// The cache in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder of the cache.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a revision's files. Some of them may be missing.
    ///
    /// # Errors
    /// [`Error::NotCached`]; a file of the cache that cannot be read.
    pub fn snapshot(&self, model: &ModelRef) -> Result<PathBuf, Error> {
        let missing = || Error::NotCached { id: model.to_string(), folder: self.folder.clone() };
        let commit = if model.is_commit() { Some(model.revision.clone()) } else { self.commit_of(model)? };
        let snapshot = self.snapshot_folder(&model.id, &commit.ok_or_else(missing)?);
        if snapshot.is_dir() { Ok(snapshot) } else { Err(missing()) }
    }

    /// The commit that a branch or tag named when it was downloaded.
    fn commit_of(&self, model: &ModelRef) -> Result<Option<String>, Error> {
        let path = self.refs_folder(&model.id).join(&model.revision);
        match files::read_text(&path, MAX_REF_BYTES) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|commit| is_commit(commit))),
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => Ok(None),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// Records the commit of a branch or tag. A commit needs no record.
    pub(crate) fn write_ref(&self, model: &ModelRef, commit: &str) -> Result<(), Error> {
        if model.is_commit() {
            return Ok(());
        }
        let path = self.refs_folder(&model.id).join(&model.revision);
        create_folder(&files::folder_of(&path))?;
        files::publish(&path, commit.as_bytes()).map_err(|source| Error::Io { path, source })
    }

    /// Links `path` of a commit to its blob, which is complete.
    pub(crate) fn link(&self, id: &ModelId, commit: &str, path: &str, checksum: &Checksum) -> Result<(), Error> {
        let link = self.snapshot_folder(id, commit).join(path);
        // Relative, so that the cache can be moved.
        let target = "../".repeat(path.split('/').count() + 1) + &format!("blobs/{checksum}");
        if fs::read_link(&link).is_ok_and(|found| found == Path::new(&target)) {
            return Ok(());
        }
        create_folder(&files::folder_of(&link))?;
        let made = make_link(Path::new(&target), &self.blob(id, checksum), &link);
        made.map_err(|source| Error::Io { path: link, source })
    }

    /// Whether the blob is complete: files get this name only after their checksum was right.
    pub(crate) fn has_blob(&self, id: &ModelId, checksum: &Checksum, size: u64) -> bool {
        fs::metadata(self.blob(id, checksum)).is_ok_and(|found| found.is_file() && found.len() == size)
    }

    /// Takes the right to write a blob; `None` while another process has it.
    pub(crate) fn try_lock(&self, id: &ModelId, checksum: &Checksum) -> Result<Option<BlobLock>, Error> {
        let folder = self.locks_folder(id);
        create_folder(&folder)?;
        let path = folder.join(format!("{checksum}.lock"));
        let io_error = |source| Error::Io { path: path.clone(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io_error)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(BlobLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(io_error(source)),
        }
    }

    pub(crate) fn blob(&self, id: &ModelId, checksum: &Checksum) -> PathBuf {
        self.blobs_folder(id).join(checksum.to_string())
    }

    pub(crate) fn incomplete_blob(&self, id: &ModelId, checksum: &Checksum) -> PathBuf {
        self.blobs_folder(id).join(format!("{checksum}.incomplete"))
    }

    pub(crate) fn model_folder(&self, id: &ModelId) -> PathBuf {
        self.folder.join(id.folder_name())
    }

    pub(crate) fn blobs_folder(&self, id: &ModelId) -> PathBuf {
        self.model_folder(id).join("blobs")
    }

    pub(crate) fn refs_folder(&self, id: &ModelId) -> PathBuf {
        self.model_folder(id).join("refs")
    }

    pub(crate) fn locks_folder(&self, id: &ModelId) -> PathBuf {
        self.folder.join(".locks").join(id.folder_name())
    }

    pub(crate) fn snapshot_folder(&self, id: &ModelId, commit: &str) -> PathBuf {
        self.model_folder(id).join("snapshots").join(commit)
    }
}

pub(crate) fn create_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.to_owned(), source })
}

/// Replaces or creates the link.
#[cfg(unix)]
fn make_link(target: &Path, _blob: &Path, link: &Path) -> io::Result<()> {
    let mut name = link.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let unfinished = link.with_file_name(name);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(target, &unfinished)?;
    fs::rename(&unfinished, link)
}

/// Copies the blob: links need a privilege on some systems.
#[cfg(not(unix))]
fn make_link(_target: &Path, blob: &Path, link: &Path) -> io::Result<()> {
    fs::copy(blob, link).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> ModelRef {
        text.parse().unwrap()
    }

    #[test]
    fn a_snapshot_is_found_by_branch_and_by_commit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = HubCache::new(folder.path());
        let (commit, sum) = ("0f".repeat(20), Checksum::sha256(&"ab".repeat(32)).unwrap());
        let id = model("a/b").id;
        assert!(matches!(cache.snapshot(&model("a/b")), Err(Error::NotCached { .. })));
        fs::create_dir_all(cache.blobs_folder(&id)).unwrap();
        fs::write(cache.blob(&id, &sum), "text").unwrap();
        cache.link(&id, &commit, "sub/file.json", &sum).unwrap();
        cache.link(&id, &commit, "sub/file.json", &sum).unwrap();
        let snapshot = cache.snapshot(&model(&format!("a/b@{commit}"))).unwrap();
        assert_eq!(snapshot, folder.path().join("models--a--b/snapshots").join(&commit));
        assert_eq!(fs::read_to_string(snapshot.join("sub/file.json")).unwrap(), "text");
        assert!(cache.snapshot(&model("a/b")).is_err());
        cache.write_ref(&model("a/b"), &commit).unwrap();
        cache.write_ref(&model("a/b@refs/pr/1"), &commit).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("models--a--b/refs/main")).unwrap(), commit);
        assert_eq!(cache.snapshot(&model("a/b")).unwrap(), snapshot);
        assert_eq!(cache.snapshot(&model("a/b@refs/pr/1")).unwrap(), snapshot);
        // A ref is text of other programs.
        fs::write(folder.path().join("models--a--b/refs/main"), "../../..").unwrap();
        assert!(matches!(cache.snapshot(&model("a/b")), Err(Error::NotCached { .. })));
        assert!(cache.snapshot(&model("a/b@main/x")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_replaces_another_and_stays_relative() {
        let folder = tempfile::tempdir().unwrap();
        let cache = HubCache::new(folder.path().join("first"));
        let id = model("a/b").id;
        let sums = ["ab", "cd"].map(|pair| Checksum::sha256(&pair.repeat(32)).unwrap());
        fs::create_dir_all(cache.blobs_folder(&id)).unwrap();
        for (sum, text) in sums.iter().zip(["old", "new"]) {
            fs::write(cache.blob(&id, sum), text).unwrap();
            cache.link(&id, "c", "file", sum).unwrap();
        }
        fs::rename(folder.path().join("first"), folder.path().join("moved")).unwrap();
        let moved = folder.path().join("moved/models--a--b/snapshots/c");
        assert_eq!(fs::read_to_string(moved.join("file")).unwrap(), "new");
        assert_eq!(fs::read_dir(moved).unwrap().count(), 1);
    }

    #[test]
    fn one_holder_writes_a_blob() {
        let folder = tempfile::tempdir().unwrap();
        let cache = HubCache::new(folder.path());
        let (id, sum) = (model("a/b").id, Checksum::sha256(&"ab".repeat(32)).unwrap());
        let lock = cache.try_lock(&id, &sum).unwrap();
        assert!(lock.is_some() && cache.try_lock(&id, &sum).unwrap().is_none());
        drop(lock);
        assert!(cache.try_lock(&id, &sum).unwrap().is_some());
    }
}
