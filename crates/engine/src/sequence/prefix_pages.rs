//! The pages of a sequence's prefix that need not be computed: those of other sequences, and those
//! on disk.

use std::sync::mpsc::TryRecvError;

use model::LatentCache;

use super::{DiskFetch, Sequence};
use crate::disk_cache::DiskCache;
use crate::metrics;
use crate::page_allocator::{PAGE_ROWS, PageAllocator};

impl Sequence {
    /// Takes published pages for the next tokens. Returns the number of pages that are
    /// missing for all tokens.
    pub(crate) fn match_prefix(&mut self, pages: &mut PageAllocator) -> usize {
        if !self.needs_prompt_logits() {
            self.computed_tokens = pages.match_prefix(&mut self.table, &self.tokens, self.computed_tokens);
        }
        self.tokens.len().div_ceil(PAGE_ROWS).saturating_sub(self.table.pages().len())
    }

    /// Takes pages of its prompt that other sequences have published since the last step.
    pub(crate) fn adopt_shared_prefix(&mut self, pages: &mut PageAllocator) {
        let computed = self.computed_tokens;
        self.match_prefix(pages);
        self.record_cache_hit(self.computed_tokens - computed);
    }

    /// Requests the pages of the next tokens from disk, except for the last token.
    pub(crate) fn start_disk_fetch(&mut self, disk: &DiskCache) {
        if self.needs_prompt_logits() {
            return;
        }
        let Some(page_keys) = &mut self.page_keys else { return };
        let next = self.computed_tokens / PAGE_ROWS;
        let end = ((self.tokens.len() - 1) / PAGE_ROWS).min(self.table.pages().len());
        let keys = (next..end).map(|index| page_keys.key(index, &self.tokens).0).collect();
        self.disk_fetch = disk.fetch(keys).map(|receiver| DiskFetch { receiver, next_page: next });
    }

    /// Installs the pages that have arrived from disk. The tokens after them are computed.
    pub(crate) fn install_fetched_pages(&mut self, cache: &mut LatentCache, pages: &mut PageAllocator) {
        if self.disk_fetch.is_none() {
            return;
        }
        while let Some(fetch) = &mut self.disk_fetch {
            match fetch.receiver.try_recv() {
                Ok(rows) => {
                    let index = fetch.next_page;
                    fetch.next_page += 1;
                    // Another sequence may have published the page in the meantime.
                    if index * PAGE_ROWS == self.computed_tokens {
                        cache.write_page(self.table.pages()[index], &rows);
                        self.computed_tokens += PAGE_ROWS;
                        pages.publish(&mut self.table, &self.tokens, self.computed_tokens);
                        self.record_cache_hit(PAGE_ROWS);
                        metrics::record_disk_hit(PAGE_ROWS);
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.disk_fetch = None,
            }
        }
        self.report_progress();
    }

    /// Hands the newly computed pages to the disk cache.
    pub(crate) fn store_pages(&mut self, disk: &DiskCache, cache: &LatentCache) {
        let Some(page_keys) = &mut self.page_keys else { return };
        for index in self.unstored_pages.drain(..) {
            let (key, parent) = page_keys.key(index, &self.tokens);
            let page = self.table.pages()[index];
            disk.store(key, parent, || cache.read_page(page));
        }
    }

    pub(super) fn record_cache_hit(&mut self, tokens: usize) {
        if self.count_cache_hits {
            self.cached_tokens += tokens;
            metrics::record_prefix_hit(tokens);
        }
    }
}
