//! A blob that arrives: its file in the cache, and the checksum of the bytes so far.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tokio::task::{block_in_place, yield_now};

use crate::checksum::Hasher;
use crate::{Checksum, Error, PlannedBlob};

/// Bytes that are collected before they are hashed and written. A killed process loses at most
/// these.
const WRITE_BYTES: usize = 256 << 10;

/// The file `CHECKSUM.incomplete`.
pub(crate) struct PartialBlob {
    path: PathBuf,
    file: File,
    /// The checksum of the bytes in the file.
    hasher: Hasher,
    /// The checksum of no bytes yet.
    new_hasher: Hasher,
    /// Bytes in the file.
    written: u64,
    pending: Vec<u8>,
}

impl PartialBlob {
    /// Opens or creates the file at `path`. Bytes of an earlier download are read once for the
    /// checksum; a file that is longer than the blob is emptied.
    pub(crate) async fn open(path: &Path, blob: &PlannedBlob) -> Result<Self, Error> {
        let io_error = |source| Error::Io { path: path.to_owned(), source };
        // Opening a pipe could wait forever.
        files::check_regular(path).map_err(io_error)?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options.open(path).map_err(io_error)?;
        if file.metadata().map_err(io_error)?.len() > blob.size {
            file.set_len(0).map_err(io_error)?;
        }
        let new_hasher = blob.checksum.hasher(blob.size);
        let (hasher, written) = hash_all(&mut file, new_hasher.clone()).await.map_err(io_error)?;
        Ok(Self { path: path.to_owned(), file, hasher, new_hasher, written, pending: Vec::new() })
    }

    /// The number of bytes that have arrived.
    pub(crate) fn length(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Adds bytes at the end.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes all bytes to the file.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            block_in_place(|| {
                self.hasher.update(&pending);
                self.file.write_all(&pending)
            })
            .map_err(|source| self.error(source))?;
            self.written += pending.len() as u64;
        }
        Ok(())
    }

    /// Drops all bytes.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        self.pending.clear();
        self.hasher = self.new_hasher.clone();
        self.written = 0;
        let emptied = self.file.set_len(0).and_then(|()| io::Seek::rewind(&mut self.file));
        emptied.map_err(|source| self.error(source))
    }

    /// The checksum of the bytes in the file.
    pub(crate) fn checksum(&self) -> Checksum {
        self.hasher.clone().finish()
    }

    /// Gives the file its final name, after its bytes have reached the disk (fsync).
    pub(crate) fn rename_to(self, place: &Path) -> Result<(), Error> {
        block_in_place(|| {
            self.file.sync_all()?;
            fs::rename(&self.path, place)?;
            files::sync_folder(&files::folder_of(place))
        })
        .map_err(|source| Error::Io { path: place.to_owned(), source })
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}

/// The checksum of a file that may be a complete blob.
pub(crate) async fn checksum_of(path: &Path, blob: &PlannedBlob) -> Result<Checksum, Error> {
    let io_error = |source| Error::Io { path: path.to_owned(), source };
    let mut file = files::open(path).map_err(io_error)?;
    let (hasher, _) = hash_all(&mut file, blob.checksum.hasher(blob.size)).await.map_err(io_error)?;
    Ok(hasher.finish())
}

/// Reads to the end of the file. Returns the checksum with these bytes, and their number.
async fn hash_all(file: &mut File, mut hasher: Hasher) -> io::Result<(Hasher, u64)> {
    let mut buffer = vec![0; WRITE_BYTES];
    let mut length = 0;
    loop {
        let read = block_in_place(|| {
            let read = file.read(&mut buffer)?;
            hasher.update(&buffer[..read]);
            io::Result::Ok(read)
        })?;
        if read == 0 {
            return Ok((hasher, length));
        }
        length += read as u64;
        // A download that was cancelled ends here.
        yield_now().await;
    }
}
