//! The allocator of cache pages, with prefix caching: pages belong to sequences, or are kept for
//! later prompts with the same prefix.
//!
//! A full page whose tokens are final is *published* under its tokens and its predecessor; a
//! chain of published pages is a prefix. Chains are compared token by token, so a hash collision
//! cannot cause a hit. Each chain begins with a cache scope, so that only requests of the same
//! scope share pages.
//! The content of rows is up to the model.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub(crate) use model::PAGE_ROWS;

/// All pages of a cache: allocated to sequences, cached for later, or free.
pub(crate) struct PageAllocator {
    pages: Vec<Page>,
    free: Vec<u32>,
    /// Published pages by their content.
    index: HashMap<Prefix, u32>,
    /// Published pages without a holder, least recently used first.
    evictable: BTreeMap<u64, u32>,
    /// Source of time stamps and of published ids; never repeats.
    clock: u64,
}

#[derive(Clone, Default)]
struct Page {
    /// Number of sequences that hold the page.
    ref_count: u32,
    /// The content of a published page.
    prefix: Option<Prefix>,
    /// The id by which successors of a published page refer to it. A page that is reused gets a new
    /// id, so that old successors do not match.
    published_id: u64,
    /// Key in `evictable`.
    last_used: u64,
}

/// The content of a published page: its predecessor and its tokens.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Prefix {
    predecessor: Predecessor,
    tokens: Arc<[u32]>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Predecessor {
    Start(CacheScope),
    Page(u64),
}

/// The scope of cached prefixes, such as one user: only equal scopes share pages.
pub(crate) type CacheScope = Option<Arc<str>>;

/// The pages of one sequence, in order. The first `published` of them may be shared.
#[derive(Default)]
pub(crate) struct PageTable {
    pages: Vec<u32>,
    published: usize,
    cache_scope: CacheScope,
}

impl PageTable {
    pub(crate) fn new(cache_scope: CacheScope) -> Self {
        Self { pages: Vec::new(), published: 0, cache_scope }
    }

    pub(crate) fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// Number of positions that fit.
    pub(crate) fn capacity(&self) -> usize {
        self.pages.len() * PAGE_ROWS
    }
}

impl PageAllocator {
    pub(crate) fn new(total: usize) -> Self {
        let free = (0..total as u32).rev().collect();
        Self { pages: vec![Page::default(); total], free, index: HashMap::new(), evictable: BTreeMap::new(), clock: 0 }
    }

    pub(crate) fn total(&self) -> usize {
        self.pages.len()
    }

    /// Number of published pages without a holder.
    pub(crate) fn cached(&self) -> usize {
        self.evictable.len()
    }

    /// Number of pages held by sequences.
    pub(crate) fn used(&self) -> usize {
        self.total() - self.available()
    }

    /// Number of pages that can be allocated: free ones, and cached ones by eviction.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.evictable.len()
    }

    /// Adds published pages for the next tokens of a sequence and returns the number of
    /// positions that are computed now. The last token is left out: at least one must be
    /// computed to get an output.
    pub(crate) fn match_prefix(&mut self, table: &mut PageTable, tokens: &[u32], computed: usize) -> usize {
        let mut computed = computed;
        while (table.published + 1) * PAGE_ROWS < tokens.len() {
            let Some(&page) = self.index.get(&self.next_prefix(table, tokens)) else { break };
            self.share(table, page);
            computed = table.published * PAGE_ROWS;
        }
        computed
    }

    /// Allocates pages until there is room for `positions`. Returns false when there are not
    /// enough; the table keeps the pages that were allocated.
    pub(crate) fn ensure_capacity(&mut self, table: &mut PageTable, positions: usize) -> bool {
        while table.capacity() < positions {
            let Some(page) = self.alloc() else { return false };
            table.pages.push(page);
        }
        true
    }

    /// Publishes the pages that `computed` positions have filled; `tokens` are all tokens of the
    /// sequence. Returns the indices of pages that were not published before.
    ///
    /// If another sequence published the same page first, that page replaces this sequence's own:
    /// equal tokens have equal rows, bit for bit.
    pub(crate) fn publish(&mut self, table: &mut PageTable, tokens: &[u32], computed: usize) -> Vec<usize> {
        let mut newly_published = Vec::new();
        while (table.published + 1) * PAGE_ROWS <= computed {
            let prefix = self.next_prefix(table, tokens);
            if let Some(&page) = self.index.get(&prefix) {
                self.share(table, page);
                continue;
            }
            let own = table.pages[table.published];
            self.clock += 1;
            self.pages[own as usize].published_id = self.clock;
            self.pages[own as usize].prefix = Some(prefix.clone());
            self.index.insert(prefix, own);
            newly_published.push(table.published);
            table.published += 1;
        }
        newly_published
    }

    /// Frees all pages. Published ones stay cached until they are evicted, the end of a prefix
    /// before its beginning.
    pub(crate) fn release(&mut self, table: &mut PageTable) {
        for page in std::mem::take(&mut table.pages).into_iter().rev() {
            self.drop_ref(page);
        }
        table.published = 0;
    }

    /// The content of the first unpublished page of `table`, once it is full.
    fn next_prefix(&self, table: &PageTable, tokens: &[u32]) -> Prefix {
        let predecessor = match table.published.checked_sub(1) {
            None => Predecessor::Start(table.cache_scope.clone()),
            Some(before) => Predecessor::Page(self.pages[table.pages[before] as usize].published_id),
        };
        Prefix { predecessor, tokens: tokens[table.published * PAGE_ROWS..][..PAGE_ROWS].into() }
    }

    /// Makes `page` the next published page of `table`.
    fn share(&mut self, table: &mut PageTable, page: u32) {
        self.add_ref(page);
        match table.pages.get_mut(table.published) {
            Some(own) => {
                let own = std::mem::replace(own, page);
                self.drop_ref(own);
            }
            None => table.pages.push(page),
        }
        table.published += 1;
    }

    fn alloc(&mut self) -> Option<u32> {
        let page = match self.free.pop() {
            Some(page) => page,
            None => self.evict_lru()?,
        };
        self.pages[page as usize].ref_count = 1;
        Some(page)
    }

    /// Empties the least recently used cached page.
    fn evict_lru(&mut self) -> Option<u32> {
        let (_, page) = self.evictable.pop_first()?;
        let prefix = self.pages[page as usize].prefix.take().expect("a cached page was published");
        self.index.remove(&prefix);
        Some(page)
    }

    fn add_ref(&mut self, page: u32) {
        let shared = &mut self.pages[page as usize];
        if shared.ref_count == 0 {
            self.evictable.remove(&shared.last_used);
        }
        shared.ref_count += 1;
    }

    fn drop_ref(&mut self, page: u32) {
        self.clock += 1;
        let released = &mut self.pages[page as usize];
        released.ref_count -= 1;
        if released.ref_count > 0 {
            return;
        }
        if released.prefix.is_some() {
            released.last_used = self.clock;
            self.evictable.insert(self.clock, page);
        } else {
            self.free.push(page);
        }
    }
}

#[cfg(test)]
mod tests;
