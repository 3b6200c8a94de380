//! Which sequence owns which pages of the cache, and which pages are kept for the next prompt that
//! begins the same.
//!
//! A full page whose tokens are final is *published* under its tokens and the page before it; a
//! chain of published pages is a prefix. Chains are compared token by token, so a hit is never a
//! coincidence of hashes, and each begins at the salt of its caller, so that callers who must not
//! share cannot. What is in the rows is the model's business.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub(crate) use model::PAGE_ROWS;

/// All pages of a cache: lent to sequences, cached for later, or free.
pub(crate) struct PageAllocator {
    pages: Vec<Page>,
    free: Vec<u32>,
    /// Published pages by what they hold.
    index: HashMap<Prefix, u32>,
    /// Published pages nobody holds, least recently used first.
    evictable: BTreeMap<u64, u32>,
    /// Source of stamps and of names; never repeats.
    clock: u64,
}

#[derive(Clone, Default)]
struct Page {
    ref_count: u32,
    /// Of a published page.
    prefix: Option<Prefix>,
    /// Of a published page: what its successors call it. A page that is reused gets another name,
    /// so nothing ever follows a ghost.
    published_id: u64,
    /// Place in `evictable`.
    last_used: u64,
}

/// What a published page holds: its tokens, after those of its predecessor.
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

/// Whose prefixes these are: only equal salts share.
pub(crate) type CacheScope = Option<Arc<str>>;

/// The pages of one sequence, in order. The first `published` of them may be held by others too.
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

    /// Positions there is room for.
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

    /// Kept for later, held by nobody.
    pub(crate) fn cached(&self) -> usize {
        self.evictable.len()
    }

    /// Held by some sequence.
    pub(crate) fn used(&self) -> usize {
        self.total() - self.available()
    }

    /// Could be lent now: free ones, and cached ones at the price of forgetting them.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.evictable.len()
    }

    /// Puts published pages in the place of what a sequence would compute next, as long as there
    /// are any, and returns the number of positions that are computed now. The last token is left
    /// out: at least one must be computed for there to be an output.
    pub(crate) fn match_prefix(&mut self, table: &mut PageTable, tokens: &[u32], computed: usize) -> usize {
        let mut computed = computed;
        while (table.published + 1) * PAGE_ROWS < tokens.len() {
            let Some(&page) = self.index.get(&self.next_prefix(table, tokens)) else { break };
            self.share(table, page);
            computed = table.published * PAGE_ROWS;
        }
        computed
    }

    /// Lends pages until there is room for `positions`. False when there are not enough; what was
    /// lent stays lent.
    pub(crate) fn ensure_capacity(&mut self, table: &mut PageTable, positions: usize) -> bool {
        while table.capacity() < positions {
            let Some(page) = self.alloc() else { return false };
            table.pages.push(page);
        }
        true
    }

    /// Publishes the pages that `computed` positions have filled; `tokens` are those of the
    /// sequence from its beginning. Returns which pages of the table nobody had published before.
    ///
    /// A page somebody else published first takes the place of ours: equal tokens have equal
    /// rows, bit for bit.
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

    /// Takes all pages back. Published ones stay cached until their room is needed, the end of a
    /// prefix forgotten before its beginning.
    pub(crate) fn release(&mut self, table: &mut PageTable) {
        for page in std::mem::take(&mut table.pages).into_iter().rev() {
            self.drop_ref(page);
        }
        table.published = 0;
    }

    /// What the first page of `table` that is not published holds, or will hold.
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
