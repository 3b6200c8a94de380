//! The plan of a download, made before it begins: which bytes are missing, and whether the disk has
//! room for them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::{Checksum, Error, HubCache, ModelRef, RepoFile, Repository};

/// Bytes that stay free on the disk: links, locks, and what others write meanwhile.
const SPARE_BYTES: u64 = 64 << 20;
/// Files up to this size are downloaded before all others.
const SMALL_BYTES: u64 = 16 << 20;

/// The files of one revision that will be in the cache.
#[derive(Clone, Debug)]
pub struct DownloadPlan {
    pub model: ModelRef,
    pub repository: Repository,
    /// Small files first, then in the order of their paths.
    pub blobs: Vec<PlannedBlob>,
}

/// The content of one file, or of several equal ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedBlob {
    pub checksum: Checksum,
    /// Size in bytes.
    pub size: u64,
    /// Bytes that an earlier download left; `size` if the blob is complete.
    pub present: u64,
    pub paths: Vec<String>,
}

impl DownloadPlan {
    /// Plans the download of `files` into `cache`.
    ///
    /// # Errors
    /// A file without size or checksum.
    pub fn new(
        cache: &HubCache,
        model: &ModelRef,
        repository: &Repository,
        files: &[&RepoFile],
    ) -> Result<Self, Error> {
        let mut blobs: BTreeMap<&Checksum, PlannedBlob> = BTreeMap::new();
        for file in files {
            let (size, checksum) =
                file.content.as_ref().ok_or_else(|| Error::NoChecksum { file: file.path.clone() })?;
            let new = || PlannedBlob { checksum: checksum.clone(), size: *size, present: 0, paths: Vec::new() };
            blobs.entry(checksum).or_insert_with(new).paths.push(file.path.clone());
        }
        let mut blobs: Vec<PlannedBlob> = blobs.into_values().collect();
        for blob in &mut blobs {
            let left = fs::metadata(cache.incomplete_blob(&model.id, &blob.checksum)).map_or(0, |file| file.len());
            let complete = cache.has_blob(&model.id, &blob.checksum, blob.size);
            // A longer one is of another program, and is not continued.
            blob.present = if complete { blob.size } else { Some(left).filter(|left| *left <= blob.size).unwrap_or(0) };
            blob.paths.sort();
        }
        blobs.sort_by(|a, b| (a.size > SMALL_BYTES, &a.paths).cmp(&(b.size > SMALL_BYTES, &b.paths)));
        Ok(Self { model: model.clone(), repository: repository.clone(), blobs })
    }

    /// The number of files.
    pub fn files(&self) -> usize {
        self.blobs.iter().map(|blob| blob.paths.len()).sum()
    }

    /// Bytes of all files, equal ones once.
    pub fn bytes_total(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    /// Bytes that are in the cache already.
    pub fn bytes_present(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.present).sum()
    }

    /// Bytes to download.
    pub fn bytes_missing(&self) -> u64 {
        self.bytes_total() - self.bytes_present()
    }

    /// Checks that the disk of the cache has room for the missing bytes.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; a disk whose free space is not known.
    pub fn check_space(&self, cache: &HubCache) -> Result<(), Error> {
        let needed = self.bytes_missing();
        if needed == 0 {
            return Ok(());
        }
        let folder = cache.folder();
        let available = free_bytes(folder).map_err(|source| Error::Io { path: folder.to_owned(), source })?;
        if available < needed.saturating_add(SPARE_BYTES) {
            return Err(Error::NoSpace { folder: folder.to_owned(), available, needed });
        }
        Ok(())
    }
}

/// Bytes that this user may still write on the disk of `folder`, which may not exist yet.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let absolute = std::path::absolute(folder)?;
    let existing = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(&absolute);
    let disk = rustix::fs::statvfs(existing)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, digit: char, size: u64) -> RepoFile {
        let checksum = Checksum::sha256(&digit.to_string().repeat(64)).unwrap();
        RepoFile { path: path.to_owned(), content: Some((size, checksum)) }
    }

    fn plan(cache: &HubCache, files: &[RepoFile]) -> DownloadPlan {
        let model: ModelRef = "a/b".parse().unwrap();
        let (commit, id) = ("0".repeat(40), model.id.clone());
        let repository = Repository { id, commit, files: files.to_vec(), base_models: Vec::new() };
        DownloadPlan::new(cache, &model, &repository, &files.iter().collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_is_there_is_not_downloaded_again_and_equal_files_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = HubCache::new(folder.path());
        let big = 1 << 30;
        let files =
            [file("model.safetensors", '1', big), file("z.json", '2', 10), file("a.json", '3', 10), file("b", '3', 10)];
        let empty = plan(&cache, &files);
        let paths: Vec<&str> = empty.blobs.iter().map(|blob| blob.paths[0].as_str()).collect();
        assert_eq!(paths, ["a.json", "z.json", "model.safetensors"], "small files first");
        assert_eq!((empty.files(), empty.bytes_total(), empty.bytes_missing()), (4, big + 20, big + 20));

        let blobs = cache.blobs_folder(&empty.model.id);
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join("3".repeat(64)), "0123456789").unwrap();
        fs::write(blobs.join("2".repeat(64)), "short").unwrap();
        fs::write(blobs.join("2".repeat(64) + ".incomplete"), "longer than it").unwrap();
        fs::write(blobs.join("1".repeat(64) + ".incomplete"), "four").unwrap();
        let present: Vec<u64> = plan(&cache, &files).blobs.iter().map(|blob| blob.present).collect();
        assert_eq!(present, [10, 0, 4]);
    }

    #[test]
    fn the_disk_is_judged_before_the_download() {
        let folder = tempfile::tempdir().unwrap();
        let cache = HubCache::new(folder.path().join("not/yet"));
        plan(&cache, &[file("small", '1', 10)]).check_space(&cache).unwrap();
        let error = plan(&cache, &[file("huge", '1', 1 << 60)]).check_space(&cache).unwrap_err();
        assert!(matches!(error, Error::NoSpace { needed, available, .. } if needed == 1 << 60 && available > 0));
        assert!(!folder.path().join("not").exists(), "nothing is created");
    }

    #[test]
    fn a_file_without_a_checksum_is_not_downloaded() {
        let files = [RepoFile { path: "x".into(), content: None }];
        let model: ModelRef = "a/b".parse().unwrap();
        let (commit, id) = ("0".repeat(40), model.id.clone());
        let repository = Repository { id, commit, files: files.to_vec(), base_models: Vec::new() };
        let found = DownloadPlan::new(&HubCache::new("/nowhere"), &model, &repository, &[&files[0]]);
        assert!(matches!(found, Err(Error::NoChecksum { .. })));
    }
}
