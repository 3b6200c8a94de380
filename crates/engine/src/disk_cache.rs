//! Prefix pages that survive a restart: one file a page, written once, believed only when
//! its checksum holds.
//!
//! A page's key is a hash of everything its rows depend on: the identity of weights, build and
//! number formats, the salt of the caller, and all tokens up to its end. So a file of another
//! model, another caller or another conversation is never even looked for, and no text of a prompt
//! stands on disk. Files are read and written by threads of their own; the engine copies bytes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use sha2::{Digest, Sha256};

use crate::page_allocator::{CacheScope, PAGE_ROWS};
use index::PageIndex;

mod index;
mod page_file;
#[cfg(test)]
mod tests;

/// Bytes that may wait to be written, and pages that are read ahead of the engine.
const WRITE_QUEUE_BYTES: usize = 256 << 20;
const READ_AHEAD_BYTES: usize = 64 << 20;
/// Far more than a page of any model has.
const MAX_PAGE_BYTES: u64 = 1 << 30;

/// Where prefix pages are kept, and how many.
#[derive(Clone, Debug)]
pub struct DiskCacheOptions {
    /// Only this program's own files in it are ever touched. Made when it is missing.
    pub folder: PathBuf,
    /// Most bytes of all files together.
    pub max_bytes: u64,
    /// A hash of what rows depend on besides tokens: weights, build, number formats,
    /// instruction set.
    pub fingerprint: [u8; 32],
}

/// Names a page: a hash of all that its rows depend on.
pub(crate) type PageKey = [u8; 32];

/// The store of one engine.
pub(crate) struct DiskCache {
    shared: Arc<Shared>,
    fingerprint: [u8; 32],
    write_queue: Option<SyncSender<PageWrite>>,
    read_queue: Option<SyncSender<PageRead>>,
    threads: Vec<JoinHandle<()>>,
    /// Pages a reader may be ahead of the engine.
    read_ahead: usize,
}

struct Shared {
    folder: PathBuf,
    page_bytes: usize,
    index: Mutex<PageIndex>,
    /// The folder takes no more files.
    write_failed: AtomicBool,
    /// Held as long as the store is used: two programs do not share a folder.
    _lock: File,
}

/// A page on its way to disk.
struct PageWrite {
    key: PageKey,
    parent: PageKey,
    rows: Vec<u8>,
}

/// Pages wanted, in order, and the way back. The way back ends at the first page that is not there.
struct PageRead {
    keys: Vec<PageKey>,
    reply: SyncSender<Vec<u8>>,
}

impl DiskCache {
    /// Opens the folder and learns what is in it. `None`, with a warning, when it cannot be used:
    /// the engine does without.
    pub(crate) fn open(options: &DiskCacheOptions, page_bytes: usize) -> Option<Self> {
        match Self::try_open(options, page_bytes) {
            Ok(disk) => Some(disk),
            Err(error) => {
                tracing::warn!(folder = %options.folder.display(), %error, "prompts are not cached on disk");
                None
            }
        }
    }

    fn try_open(options: &DiskCacheOptions, page_bytes: usize) -> io::Result<Self> {
        describe_metrics();
        files::create_private_folder(&options.folder)?;
        files::check_regular(&options.folder.join("lock"))?;
        let lock =
            files::private_options().create(true).truncate(false).write(true).open(options.folder.join("lock"))?;
        lock_folder(&lock)?;
        let mut index = PageIndex::new(options.max_bytes);
        load_index(&options.folder, &mut index)?;
        index.record_gauges();
        let shared = Arc::new(Shared {
            folder: options.folder.clone(),
            page_bytes,
            index: Mutex::new(index),
            write_failed: AtomicBool::new(false),
            _lock: lock,
        });
        // A bound that has become smaller holds from now on.
        shared.evict(0);
        let (write_queue, to_write) = sync_channel(8.max(WRITE_QUEUE_BYTES / page_bytes.max(1)));
        let (read_queue, to_read) = sync_channel(1024);
        let (writer, reader) = (shared.clone(), shared.clone());
        let threads = vec![
            Builder::new().name("cache-write".into()).spawn(move || writer.run_writer(&to_write))?,
            Builder::new().name("cache-read".into()).spawn(move || reader.run_reader(&to_read))?,
        ];
        let read_ahead = (READ_AHEAD_BYTES / page_bytes.max(1)).clamp(2, 256);
        Ok(Self {
            shared,
            fingerprint: options.fingerprint,
            write_queue: Some(write_queue),
            read_queue: Some(read_queue),
            threads,
            read_ahead,
        })
    }

    /// The key every chain of a caller begins with. No page has it.
    pub(crate) fn root_key(&self, cache_scope: &CacheScope) -> PageKey {
        let mut hash = Sha256::new();
        hash.update(self.fingerprint);
        hash.update([u8::from(cache_scope.is_some())]);
        hash.update(cache_scope.as_deref().unwrap_or_default());
        hash.finalize().into()
    }

    /// Hands a page to be written. When the disk is too slow for that, the page is dropped,
    /// and nobody waits.
    pub(crate) fn store(&self, key: PageKey, parent: PageKey, rows: impl FnOnce() -> Vec<u8>) {
        if self.shared.write_failed.load(Ordering::Relaxed) || self.shared.index().contains(&key) {
            return;
        }
        let Some(writes) = &self.write_queue else { return };
        if let Err(TrySendError::Full(_)) = writes.try_send(PageWrite { key, parent, rows: rows() }) {
            counter!("cachalot_disk_cache_dropped_pages_total").increment(1);
        }
    }

    /// Begins to read the pages of `keys`, as far as there are any; `None` when not even
    /// the first is there.
    pub(crate) fn fetch(&self, keys: Vec<PageKey>) -> Option<Receiver<Vec<u8>>> {
        let keys = self.shared.index().longest_prefix(keys);
        if keys.is_empty() {
            return None;
        }
        let (reply, pages) = sync_channel(self.read_ahead);
        // More readers than that at once wait for nothing: they compute.
        self.read_queue.as_ref()?.try_send(PageRead { keys, reply }).ok()?;
        Some(pages)
    }
}

impl Drop for DiskCache {
    /// What waits to be written is written: a restart finds it.
    fn drop(&mut self) {
        self.write_queue = None;
        self.read_queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the disk cache panicked");
            }
        }
    }
}

/// The keys of one sequence's pages, as far as anybody has asked for them.
pub(crate) struct PageKeyChain {
    root: PageKey,
    keys: Vec<PageKey>,
}

impl PageKeyChain {
    pub(crate) fn new(root: PageKey) -> Self {
        Self { root, keys: Vec::new() }
    }

    /// The key of the page `index`, and that of the page before it. `tokens` are those of the
    /// sequence from its beginning.
    pub(crate) fn key(&mut self, index: usize, tokens: &[u32]) -> (PageKey, PageKey) {
        while self.keys.len() <= index {
            let mut hash = Sha256::new();
            hash.update(self.keys.last().unwrap_or(&self.root));
            for token in &tokens[self.keys.len() * PAGE_ROWS..][..PAGE_ROWS] {
                hash.update(token.to_le_bytes());
            }
            self.keys.push(hash.finalize().into());
        }
        (self.keys[index], index.checked_sub(1).map_or(self.root, |before| self.keys[before]))
    }
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, PageIndex> {
        // A half-done change leaves a page too many or too few: files are checked before
        // they are believed.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &PageKey) -> PathBuf {
        self.folder.join(page_file::file_name(key))
    }

    fn run_writer(&self, pages: &Receiver<PageWrite>) {
        while let Ok(page) = pages.recv() {
            if self.write_failed.load(Ordering::Relaxed) || self.index().contains(&page.key) {
                continue;
            }
            if let Err(error) = self.write_page(&page) {
                self.write_failed.store(true, Ordering::Relaxed);
                tracing::warn!(folder = %self.folder.display(), %error, "no more prompts are written to the disk cache");
            }
        }
    }

    fn write_page(&self, page: &PageWrite) -> io::Result<()> {
        let bytes = page_file::encode(&page.key, &page.parent, &page.rows);
        let size = bytes.len() as u64;
        if !self.evict(size) {
            return Ok(());
        }
        let temporary = self.folder.join(page_file::temporary_name(&page.key));
        let open = || files::private_options().create(true).truncate(true).write(true).open(&temporary);
        let written = open().and_then(|mut file| {
            io::Write::write_all(&mut file, &bytes)?;
            fs::rename(&temporary, self.path(&page.key))
        });
        if let Err(error) = written {
            // Nobody finds it by this name; at the next start it is swept.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        let mut index = self.index();
        index.insert(page.key, page.parent, size);
        index.record_gauges();
        counter!("cachalot_disk_cache_written_pages_total").increment(1);
        Ok(())
    }

    /// Removes the least recently used pages until there is room for `size` bytes; false when
    /// there never will be.
    fn evict(&self, size: u64) -> bool {
        loop {
            let key = match self.index().evict_one_if_full(size) {
                Ok(None) => return true,
                Ok(Some(key)) => key,
                Err(()) => return false,
            };
            if let Err(error) = fs::remove_file(self.path(&key)) {
                tracing::debug!(%error, "a page of the disk cache could not be removed");
            }
        }
    }

    fn run_reader(&self, reads: &Receiver<PageRead>) {
        while let Ok(PageRead { keys, reply: back }) = reads.recv() {
            for key in keys {
                let Some(rows) = self.read_page(&key) else { break };
                // Whoever asked may have left.
                if back.send(rows).is_err() {
                    break;
                }
            }
        }
    }

    /// The rows of a page; a file that does not hold what its name says is removed.
    fn read_page(&self, key: &PageKey) -> Option<Vec<u8>> {
        let path = self.path(key);
        let bytes = match files::read(&path, MAX_PAGE_BYTES) {
            Ok(bytes) => bytes,
            // It has been evicted since it was found.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a page of the disk cache could not be read");
                return None;
            }
        };
        let rows = page_file::decode(bytes, key, self.page_bytes);
        if rows.is_none() {
            counter!("cachalot_disk_cache_bad_files_total").increment(1);
            tracing::warn!(file = %path.display(), "a page of the disk cache was damaged, and is removed");
            let _ = fs::remove_file(&path);
            let mut index = self.index();
            index.remove(key);
            index.record_gauges();
            return None;
        }
        page_file::touch_modified_time(&path);
        rows
    }
}

/// Takes the folder for this program. One that is just stopping is waited for.
fn lock_folder(lock: &File) -> io::Result<()> {
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

/// Learns what pages there are, oldest first, and sweeps what is no page any more. Strangers'
/// files are left alone.
fn load_index(folder: &Path, index: &mut PageIndex) -> io::Result<()> {
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
                    counter!("cachalot_disk_cache_bad_files_total").increment(1);
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

fn describe_metrics() {
    use metrics::{describe_counter, describe_gauge};
    describe_gauge!("cachalot_disk_cache_bytes", "Bytes of the prefix cache on disk");
    describe_gauge!("cachalot_disk_cache_pages", "Pages of the prefix cache on disk");
    describe_counter!("cachalot_disk_cache_hit_tokens_total", "Tokens of prompts found on disk");
    describe_counter!("cachalot_disk_cache_written_pages_total", "Pages written to disk");
    describe_counter!("cachalot_disk_cache_dropped_pages_total", "Pages not written because the disk was too slow");
    describe_counter!("cachalot_disk_cache_bad_files_total", "Damaged files of the prefix cache that were removed");
    for name in ["hit_tokens", "written_pages", "dropped_pages", "bad_files"] {
        counter!(format!("cachalot_disk_cache_{name}_total")).increment(0);
    }
    gauge!("cachalot_disk_cache_bytes").set(0.0);
}
