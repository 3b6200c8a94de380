//! The models in the cache: their sizes, and their removal.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::model_id::is_commit;
use crate::{Error, HubCache, ModelId, ModelRef};

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    pub id: ModelId,
    /// Bytes on disk, files that are not complete included.
    pub bytes: u64,
    /// Bytes of files that are not complete.
    pub incomplete_bytes: u64,
    /// In the order of their commits.
    pub revisions: Vec<CachedRevision>,
}

/// A commit of a model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedRevision {
    pub commit: String,
    /// Branches and tags that name it.
    pub refs: Vec<String>,
    pub files: usize,
    /// Bytes of its files. Other commits may share them.
    pub bytes: u64,
    pub folder: PathBuf,
}

impl HubCache {
    /// The models in the cache, by name.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn models(&self) -> Result<Vec<CachedModel>, Error> {
        let entries = entries(self.folder())?;
        let ids = entries.iter().filter_map(|entry| ModelId::from_folder_name(&entry.file_name().to_string_lossy()));
        let mut models = ids.map(|id| self.model(&id)).collect::<Result<Vec<_>, _>>()?;
        models.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(models)
    }

    fn model(&self, id: &ModelId) -> Result<CachedModel, Error> {
        let refs = self.refs(id)?;
        let mut revisions = Vec::new();
        for entry in entries(&self.model_folder(id).join("snapshots"))? {
            let commit = entry.file_name().to_string_lossy().into_owned();
            if !is_commit(&commit) {
                continue;
            }
            let mut files = Vec::new();
            find_files(&entry.path(), &mut files)?;
            // A link whose blob is missing is not a file.
            let sizes: Vec<u64> = files.iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).collect();
            let mut refs: Vec<String> =
                refs.iter().filter(|(_, named)| *named == commit).map(|(name, _)| name.clone()).collect();
            refs.sort();
            let (files, bytes) = (sizes.len(), sizes.iter().sum());
            revisions.push(CachedRevision { commit, refs, files, bytes, folder: entry.path() });
        }
        revisions.sort_by(|a, b| a.commit.cmp(&b.commit));
        let mut all = Vec::new();
        find_files(&self.model_folder(id), &mut all)?;
        let is_incomplete = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "incomplete");
        Ok(CachedModel {
            id: id.clone(),
            bytes: all.iter().map(|path| bytes_of(path)).sum(),
            incomplete_bytes: all.iter().filter(|path| is_incomplete(path)).map(|path| bytes_of(path)).sum(),
            revisions,
        })
    }

    /// The branches and tags of a model, and their commits.
    fn refs(&self, id: &ModelId) -> Result<Vec<(String, String)>, Error> {
        let folder = self.refs_folder(id);
        let mut files = Vec::new();
        find_files(&folder, &mut files)?;
        let named = files.iter().filter_map(|path| {
            let name = path.strip_prefix(&folder).ok()?.to_string_lossy().into_owned();
            Some((name, fs::read_to_string(path).ok()?.trim().to_owned()))
        });
        Ok(named.collect())
    }

    /// Removes a model with all its revisions. Returns the bytes that are free now.
    ///
    /// # Errors
    /// [`Error::NotCached`]; [`Error::InUse`] while it is downloaded; a file that cannot be
    /// removed.
    pub fn remove_model(&self, id: &ModelId) -> Result<u64, Error> {
        let folder = self.model_folder(id);
        if !folder.is_dir() {
            return Err(Error::NotCached { id: id.to_string(), folder: self.folder().to_owned() });
        }
        self.ensure_unused(id)?;
        let bytes = self.model(id)?.bytes;
        // Refs first: what is left after a crash is not found by its branch.
        remove_folder(&self.refs_folder(id))?;
        remove_folder(&folder)?;
        remove_folder(&self.locks_folder(id))?;
        Ok(bytes)
    }

    /// Removes one revision, and the files that no other revision of the model shares. Returns the
    /// bytes that are free now.
    ///
    /// # Errors
    /// As [`HubCache::remove_model`].
    pub fn remove_revision(&self, model: &ModelRef) -> Result<u64, Error> {
        let folder = self.snapshot(model)?;
        self.ensure_unused(&model.id)?;
        let before = self.model(&model.id)?;
        if before.revisions.iter().all(|revision| revision.folder == folder) {
            return self.remove_model(&model.id);
        }
        let commit = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (name, _) in self.refs(&model.id)?.iter().filter(|(_, named)| *named == commit) {
            let path = self.refs_folder(&model.id).join(name);
            fs::remove_file(&path).map_err(|source| Error::Io { path, source })?;
        }
        remove_folder(&folder)?;
        self.remove_unlinked_blobs(&model.id)?;
        Ok(before.bytes.saturating_sub(self.model(&model.id)?.bytes))
    }

    /// Removes the blobs that no snapshot links.
    fn remove_unlinked_blobs(&self, id: &ModelId) -> Result<(), Error> {
        let mut links = Vec::new();
        find_files(&self.model_folder(id).join("snapshots"), &mut links)?;
        let linked: BTreeSet<_> =
            links.iter().filter_map(|link| Some(fs::read_link(link).ok()?.file_name()?.to_owned())).collect();
        for entry in entries(&self.blobs_folder(id))?.iter().filter(|entry| !linked.contains(&entry.file_name())) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|source| Error::Io { path, source })?;
        }
        Ok(())
    }

    /// Checks that no process downloads a file of the model.
    fn ensure_unused(&self, id: &ModelId) -> Result<(), Error> {
        for entry in entries(&self.locks_folder(id))? {
            let file = fs::File::open(entry.path()).map_err(|source| Error::Io { path: entry.path(), source })?;
            if file.try_lock().is_err() {
                return Err(Error::InUse { id: id.to_string() });
            }
        }
        Ok(())
    }
}

/// The entries of a folder; none of a folder that does not exist.
fn entries(folder: &Path) -> Result<Vec<DirEntry>, Error> {
    let found = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    match found {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => Ok(Vec::new()),
        found => found.map_err(|source| Error::Io { path: folder.to_owned(), source }),
    }
}

/// Adds the paths of all files and links below a folder. Links are not followed.
fn find_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in entries(folder)? {
        let kind = entry.file_type().map_err(|source| Error::Io { path: entry.path(), source })?;
        if kind.is_dir() {
            find_files(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The bytes of a file itself; of a link none.
fn bytes_of(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |found| if found.is_file() { found.len() } else { 0 })
}

fn remove_folder(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| Error::Io { path: folder.to_owned(), source }),
    }
}
