//! Recognition of what is given by mistake in place of a checkpoint: files of other formats, and
//! pointers to files.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::Error;
use crate::source::Source;

const GGUF_MAGIC: &[u8] = b"GGUF";
/// The first bytes of a pointer that a clone without Git LFS has in place of a large file.
const LFS_START: &[u8] = b"version https://git-lfs.github.com/spec/";
const PICKLE_ENDINGS: [&str; 3] = [".bin", ".pt", ".pth"];

/// Checks that the path of a checkpoint is not a file.
///
/// # Errors
/// [`Error::Gguf`], [`Error::NotAFolder`].
pub(crate) fn check_folder(path: &Path) -> Result<(), Error> {
    if !fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return Ok(());
    }
    let mut start = [0; GGUF_MAGIC.len()];
    let has_magic = File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == GGUF_MAGIC;
    let path = path.to_path_buf();
    if has_magic || path.extension().is_some_and(|ending| ending == "gguf") {
        return Err(Error::Gguf { path });
    }
    Err(Error::NotAFolder { path })
}

/// The reason why a folder has no `config.json`.
pub(crate) fn no_config(source: &Source) -> Error {
    let is_hub_folder =
        |dir: &Path| dir.join("snapshots").is_dir() && (dir.join("blobs").is_dir() || dir.join("refs").is_dir());
    match source {
        Source::Folder(dir) if is_hub_folder(dir) => Error::HubFolder { folder: source.location() },
        _ => weights_of_other_format(source)
            .unwrap_or_else(|| Error::NoFile { folder: source.location(), file: "config.json" }),
    }
}

/// The reason why a folder has neither safetensors nor an index.
pub(crate) fn no_weights(source: &Source) -> Error {
    weights_of_other_format(source).unwrap_or_else(|| Error::NoWeights { folder: source.location() })
}

fn weights_of_other_format(source: &Source) -> Option<Error> {
    // A folder that cannot be listed has other messages.
    let first = |ending| source.list(ending).ok()?.into_iter().next();
    let folder = source.location();
    if let Some(file) = first(".gguf") {
        return Some(Error::GgufWeights { folder, file });
    }
    if first(".safetensors").is_some() {
        return None;
    }
    let file = PICKLE_ENDINGS.into_iter().find_map(first)?;
    Some(Error::PickledWeights { folder, file })
}

/// Whether the bytes of a file are those of a pointer.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(LFS_START)
}
