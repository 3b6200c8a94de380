//! The disk cache: prefix pages that survive a restart. Each page is one file, written once and
//! protected by a checksum.
//!
//! The key of a page is a hash of everything its rows depend on: the fingerprint of weights, build
//! and number formats, the cache scope, and all tokens up to its end. A sequence therefore finds
//! only pages of its own model, scope and prefix; conversations with a common prefix share its
//! pages. The text of a prompt is not stored. One thread reads files and another one writes them;
//! the engine's thread only copies bytes.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};

use metrics::{counter, gauge};
use parking_lot::{Mutex, MutexGuard};
use sha2::{Digest, Sha256};

use crate::page_allocator::CacheScope;
use folder::{load_index_and_clean, lock_folder};
use index::PageIndex;
pub(crate) use page_keys::{PageKey, PageKeyChain};

mod folder;
mod index;
mod page_file;
mod page_keys;
#[cfg(test)]
mod tests;

/// Maximum bytes of pages that wait to be written; 8 pages may always wait.
const WRITE_QUEUE_BYTES: usize = 256 << 20;
/// Maximum bytes of pages that are read ahead of the engine for one fetch; at least 2 and at most
/// 256 pages.
const READ_AHEAD_BYTES: usize = 64 << 20;
/// Maximum size of a page file that is read. The pages of all models are far smaller.
const MAX_PAGE_BYTES: u64 = 1 << 30;

/// The folder and the size of a disk cache.
#[derive(Clone, Debug)]
pub struct DiskCacheOptions {
    /// Created if it is missing, and locked by one process. Files with foreign names are left
    /// alone.
    pub folder: PathBuf,
    /// Maximum size of all page files together, in bytes.
    pub max_bytes: u64,
    /// A hash of everything that rows depend on besides tokens: weights, build, number formats,
    /// instruction set.
    pub fingerprint: [u8; 32],
}

/// The disk cache of one engine.
pub(crate) struct DiskCache {
    shared: Arc<Shared>,
    fingerprint: [u8; 32],
    /// `None` only while the cache is dropped, as `read_queue`.
    write_queue: Option<SyncSender<PageWrite>>,
    read_queue: Option<SyncSender<PageRead>>,
    threads: Vec<JoinHandle<()>>,
    /// Maximum number of pages of one fetch that the engine has not received yet. The reader then
    /// waits, and all other fetches with it.
    read_ahead: usize,
}

/// The state that the reader and the writer thread share.
struct Shared {
    folder: PathBuf,
    /// Bytes of the rows of a page.
    page_bytes: usize,
    index: Mutex<PageIndex>,
    /// Whether a write failed; nothing is written afterwards.
    write_failed: AtomicBool,
    /// Locks the folder: two processes cannot share it.
    _lock: File,
}

/// A page that waits to be written.
struct PageWrite {
    key: PageKey,
    /// The key of the page before it.
    parent: PageKey,
    rows: Vec<u8>,
}

/// Keys of pages to read, in order. The reader sends the rows of one page after the other, and
/// closes `reply` at the first page that cannot be read.
struct PageRead {
    keys: Vec<PageKey>,
    reply: SyncSender<Vec<u8>>,
}

impl DiskCache {
    /// Opens the folder, indexes its pages and starts the threads. `page_bytes` is the size of the
    /// rows of a page. Logs a warning and returns `None` on failure, as when another process has
    /// locked the folder; the engine then runs without a disk cache.
    pub(crate) fn open(options: &DiskCacheOptions, page_bytes: usize) -> Option<Self> {
        match Self::try_open(options, page_bytes) {
            Ok(disk) => Some(disk),
            Err(error) => {
                tracing::warn!(folder = %options.folder.display(), %error, "disk cache disabled");
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
        load_index_and_clean(&options.folder, &mut index)?;
        index.record_gauges();
        let shared = Arc::new(Shared {
            folder: options.folder.clone(),
            page_bytes,
            index: Mutex::new(index),
            write_failed: AtomicBool::new(false),
            _lock: lock,
        });
        // `max_bytes` may be smaller than at the last start.
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

    /// The parent key of the first page of every prompt in `cache_scope`. It is not itself a page.
    pub(crate) fn root_key(&self, cache_scope: &CacheScope) -> PageKey {
        let mut hash = Sha256::new();
        hash.update(self.fingerprint);
        hash.update([u8::from(cache_scope.is_some())]);
        hash.update(cache_scope.as_deref().unwrap_or_default());
        hash.finalize().into()
    }

    /// Queues a page to be written. `parent` is the key of the page before it. `rows` copies the
    /// rows; it is not called when the page is on disk or a write has failed before. When the queue
    /// is full because the disk is too slow, the page is dropped.
    pub(crate) fn store(&self, key: PageKey, parent: PageKey, rows: impl FnOnce() -> Vec<u8>) {
        if self.shared.write_failed.load(Ordering::Relaxed) || self.shared.index().contains(&key) {
            return;
        }
        let Some(writes) = &self.write_queue else { return };
        if let Err(TrySendError::Full(_)) = writes.try_send(PageWrite { key, parent, rows: rows() }) {
            counter!("cachalot_disk_cache_dropped_pages_total").increment(1);
        }
    }

    /// Starts to read the longest prefix of `keys` that is cached. The receiver yields the rows of
    /// each page in order, and closes early if a page cannot be read. `None` when the first page is
    /// missing or the reader has too many fetches. The receiver must be dropped before the cache:
    /// the reader may wait for it.
    pub(crate) fn fetch(&self, keys: Vec<PageKey>) -> Option<Receiver<Vec<u8>>> {
        let keys = self.shared.index().longest_prefix(keys);
        if keys.is_empty() {
            return None;
        }
        let (reply, pages) = sync_channel(self.read_ahead);
        // If the queue is full, the sequence computes the pages instead.
        self.read_queue.as_ref()?.try_send(PageRead { keys, reply }).ok()?;
        Some(pages)
    }
}

impl Drop for DiskCache {
    /// Waits until the queued pages are written, so that a restart finds them, and the reader has
    /// ended.
    fn drop(&mut self) {
        self.write_queue = None;
        self.read_queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("disk cache thread panicked");
            }
        }
    }
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, PageIndex> {
        self.index.lock()
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
                tracing::warn!(folder = %self.folder.display(), %error, "disk cache write failed, writing disabled");
            }
        }
    }

    /// Writes a page and adds it to the index; skips one that is larger than the whole cache. The
    /// file is not flushed to disk (fsync): the checksum detects what a crash leaves.
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
            // A reader never opens this name; the next start removes such files.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        let mut index = self.index();
        index.insert(page.key, page.parent, size);
        index.record_gauges();
        counter!("cachalot_disk_cache_written_pages_total").increment(1);
        Ok(())
    }

    /// Removes the least recently used pages that have no successor until there is room for `size`
    /// bytes. Returns false, and removes nothing, when `size` exceeds the whole cache.
    fn evict(&self, size: u64) -> bool {
        loop {
            let key = match self.index().evict_one_if_full(size) {
                Ok(None) => return true,
                Ok(Some(key)) => key,
                Err(()) => return false,
            };
            if let Err(error) = fs::remove_file(self.path(&key)) {
                tracing::debug!(%error, "failed to remove disk cache page");
            }
        }
    }

    fn run_reader(&self, reads: &Receiver<PageRead>) {
        while let Ok(PageRead { keys, reply }) = reads.recv() {
            for key in keys {
                let Some(rows) = self.read_page(&key) else { break };
                // The sequence may have ended.
                if reply.send(rows).is_err() {
                    break;
                }
            }
        }
    }

    /// The rows of a page; `None` when the file is missing, unreadable or corrupt. A file of
    /// another length, key or checksum is corrupt, and removed.
    fn read_page(&self, key: &PageKey) -> Option<Vec<u8>> {
        let path = self.path(key);
        let bytes = match files::read(&path, MAX_PAGE_BYTES) {
            Ok(bytes) => bytes,
            // The page was evicted after the lookup.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "failed to read disk cache page");
                return None;
            }
        };
        let rows = page_file::decode(bytes, key, self.page_bytes);
        if rows.is_none() {
            counter!("cachalot_disk_cache_corrupt_files_total").increment(1);
            tracing::warn!(file = %path.display(), "removed corrupt disk cache page");
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

fn describe_metrics() {
    use metrics::{describe_counter, describe_gauge};
    describe_gauge!("cachalot_disk_cache_bytes", "Bytes of the prefix cache on disk");
    describe_gauge!("cachalot_disk_cache_pages", "Pages of the prefix cache on disk");
    describe_counter!("cachalot_disk_cache_hit_tokens_total", "Tokens of prompts found on disk");
    describe_counter!("cachalot_disk_cache_written_pages_total", "Pages written to disk");
    describe_counter!("cachalot_disk_cache_dropped_pages_total", "Pages not written because the disk was too slow");
    describe_counter!("cachalot_disk_cache_corrupt_files_total", "Corrupt files of the prefix cache that were removed");
    counter!("cachalot_disk_cache_hit_tokens_total").increment(0);
    counter!("cachalot_disk_cache_written_pages_total").increment(0);
    counter!("cachalot_disk_cache_dropped_pages_total").increment(0);
    counter!("cachalot_disk_cache_corrupt_files_total").increment(0);
    gauge!("cachalot_disk_cache_bytes").set(0.0);
}
