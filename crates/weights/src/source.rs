//! The source of a checkpoint's files: a folder, whose large files are memory-mapped, or bytes in
//! memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::Bytes;
use memmap2::Mmap;

use crate::Error;

/// Maximum size of a file that is read into memory. Tokenizers have a few megabytes.
const MAX_READ_BYTES: u64 = 1 << 30;

/// The files of a checkpoint by name.
pub(crate) enum Source {
    Folder(PathBuf),
    Memory {
        name: String,
        files: BTreeMap<String, Bytes>,
    },
    /// Small files, and of large ones the beginning and the length.
    Headers {
        name: String,
        files: BTreeMap<String, Bytes>,
        headers: BTreeMap<String, (Bytes, u64)>,
    },
}

/// The bytes of a file, mapped or in memory.
pub(crate) struct MappedFile {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    map: Option<Arc<Mmap>>,
    /// The length of the file, which is more than the bytes if only its beginning is known.
    file_bytes: u64,
}

/// [`Bytes`] as the owner of other [`Bytes`].
struct BytesOwner(Bytes);

impl AsRef<[u8]> for BytesOwner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes that live as long as the program, such as a file built into it. They are not copied.
pub fn static_bytes(bytes: &'static [u8]) -> Bytes {
    Bytes::new(Arc::new(bytes), 0..bytes.len())
}

impl Source {
    /// The name in messages: the path of the folder, or the name of the files in memory.
    pub(crate) fn location(&self) -> String {
        match self {
            Self::Folder(dir) => dir.display().to_string(),
            Self::Memory { name, .. } | Self::Headers { name, .. } => name.clone(),
        }
    }

    /// The name of the model, which is that of its folder, or of the model in the Hugging Face
    /// cache.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Folder(dir) => {
                let full = fs::canonicalize(dir).unwrap_or_else(|_| dir.clone());
                let name = hub_name(&full).or_else(|| full.file_name().map(|name| name.to_string_lossy().into_owned()));
                name.unwrap_or_else(|| "model".into())
            }
            Self::Memory { name, .. } | Self::Headers { name, .. } => name.clone(),
        }
    }

    /// Names of all files whose name ends in `ending`, sorted.
    pub(crate) fn list(&self, ending: &str) -> Result<Vec<String>, Error> {
        let mut names = match self {
            Self::Folder(dir) => {
                let io = |source| Error::Io { path: dir.clone(), source };
                let entries = fs::read_dir(dir).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
                entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
            }
            Self::Memory { files, .. } => files.keys().cloned().collect(),
            Self::Headers { files, headers, .. } => files.keys().chain(headers.keys()).cloned().collect(),
        };
        names.retain(|name| name.ends_with(ending));
        names.sort();
        Ok(names)
    }

    /// Reads a small file; `None` if it does not exist.
    pub(crate) fn read(&self, file: &str) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Folder(dir) => {
                let path = dir.join(file);
                match files::read(&path, MAX_READ_BYTES) {
                    Ok(bytes) => Ok(Some(bytes.into())),
                    Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(Error::Io { path, source }),
                }
            }
            Self::Memory { files, .. } | Self::Headers { files, .. } => Ok(files.get(file).cloned()),
        }
    }

    /// Maps a large file; `None` if it does not exist.
    pub(crate) fn map(&self, file: &str) -> Result<Option<MappedFile>, Error> {
        match self {
            Self::Folder(dir) => map(&dir.join(file)),
            Self::Memory { files, .. } => {
                Ok(files.get(file).map(|bytes| MappedFile::in_memory(bytes, bytes.len() as u64)))
            }
            Self::Headers { headers, .. } => {
                Ok(headers.get(file).map(|(bytes, file_bytes)| MappedFile::in_memory(bytes, *file_bytes)))
            }
        }
    }
}

/// The name of the model whose snapshot in the Hugging Face cache the folder is:
/// `models--ORG--NAME/snapshots/COMMIT`.
fn hub_name(folder: &Path) -> Option<String> {
    let snapshots = folder.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "snapshots"))?;
    let model = snapshots.parent()?.file_name()?.to_str()?;
    Some(model.strip_prefix("models--")?.rsplit_once("--")?.1.to_owned())
}

fn map(path: &Path) -> Result<Option<MappedFile>, Error> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let file = match files::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(io)?,
    };
    // SAFETY: the map is private and read-only, and all reads of it are plain byte reads of
    // initialised pages. It cannot be checked that the file is neither shortened nor
    // rewritten while it is open; checkpoints are written once, and every engine that maps
    // them relies on that.
    let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(io)?);
    let file_bytes = map.len() as u64;
    Ok(Some(MappedFile { owner: map.clone(), map: Some(map), file_bytes }))
}

impl MappedFile {
    fn in_memory(bytes: &Bytes, file_bytes: u64) -> Self {
        Self { owner: Arc::new(BytesOwner(bytes.clone())), map: None, file_bytes }
    }

    /// The length of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        (*self.owner).as_ref()
    }

    /// The bytes `start..end`, sharing the owner.
    ///
    /// # Panics
    /// When the range is not inside the file; headers are checked before.
    pub(crate) fn slice(&self, start: u64, end: u64) -> Bytes {
        Bytes::new(self.owner.clone(), start as usize..end as usize)
    }

    /// Advises the system that the range will not be needed soon. Without the advice, its memory is
    /// merely reclaimed later.
    pub(crate) fn forget(&self, range: &Range<u64>) {
        #[cfg(unix)]
        if let Some(map) = &self.map {
            let (start, len) = (range.start as usize, (range.end - range.start) as usize);
            // SAFETY: the map is a private, read-only map of a file and never written, so that a
            // page that is dropped is read from the file again with the same bytes.
            let _advice = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, len) };
        }
    }

    /// Advises the system that the range will be needed soon. Without the advice, reading is merely
    /// slower.
    pub(crate) fn will_need(&self, start: usize, len: usize) {
        #[cfg(unix)]
        if let Some(map) = &self.map {
            let _advice = map.advise_range(memmap2::Advice::WillNeed, start, len);
        }
    }
}
