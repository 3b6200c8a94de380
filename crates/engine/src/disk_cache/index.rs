//! The index of pages on disk, with their eviction order: the least recently used page without
//! successors goes first, so that a chain is evicted from its end.

use std::collections::{BTreeMap, HashMap};

use metrics::gauge;

use super::page_keys::PageKey;

/// The pages of the folder, by key.
pub(super) struct PageIndex {
    entries: HashMap<PageKey, Entry>,
    /// Entries without children, least recently used first.
    leaves: BTreeMap<u64, PageKey>,
    /// Number of pages that follow a key, whether or not the page of that key exists.
    children: HashMap<PageKey, usize>,
    bytes: u64,
    max_bytes: u64,
    clock: u64,
}

struct Entry {
    parent: PageKey,
    size: u64,
    /// Time stamp of the last use; the key in `leaves` while it has no children.
    last_used: u64,
}

impl PageIndex {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            entries: HashMap::new(),
            leaves: BTreeMap::new(),
            children: HashMap::new(),
            bytes: 0,
            max_bytes,
            clock: 0,
        }
    }

    pub(super) fn contains(&self, key: &PageKey) -> bool {
        self.entries.contains_key(key)
    }

    /// The longest prefix of `keys` whose pages exist; marks them as used.
    pub(super) fn longest_prefix(&mut self, mut keys: Vec<PageKey>) -> Vec<PageKey> {
        let n = keys.iter().take_while(|key| self.contains(key)).count();
        keys.truncate(n);
        for key in keys.iter().rev() {
            self.mark_used(key);
        }
        keys
    }

    pub(super) fn insert(&mut self, key: PageKey, parent: PageKey, size: u64) {
        if self.contains(&key) {
            return;
        }
        self.bytes += size;
        self.entries.insert(key, Entry { parent, size, last_used: 0 });
        *self.children.entry(parent).or_default() += 1;
        if let Some(parent) = self.entries.get(&parent) {
            self.leaves.remove(&parent.last_used);
        }
        self.mark_used(&key);
    }

    pub(super) fn remove(&mut self, key: &PageKey) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.bytes -= entry.size;
        self.leaves.remove(&entry.last_used);
        let Some(children) = self.children.get_mut(&entry.parent) else { return };
        *children -= 1;
        if *children == 0 {
            self.children.remove(&entry.parent);
            if let Some(parent) = self.entries.get(&entry.parent) {
                self.leaves.insert(parent.last_used, entry.parent);
            }
        }
    }

    /// Removes one page if there is no room for `size` more bytes, and returns its key.
    ///
    /// # Errors
    /// `size` exceeds the whole cache.
    pub(super) fn evict_one_if_full(&mut self, size: u64) -> Result<Option<PageKey>, ()> {
        if size > self.max_bytes {
            return Err(());
        }
        if self.bytes + size <= self.max_bytes {
            return Ok(None);
        }
        // Only forged headers can form a cycle, in which every page has a successor.
        let key = self.leaves.values().next().or_else(|| self.entries.keys().next()).copied();
        if let Some(key) = &key {
            self.remove(key);
        }
        Ok(key)
    }

    pub(super) fn record_gauges(&self) {
        gauge!("cachalot_disk_cache_bytes").set(self.bytes as f64);
        gauge!("cachalot_disk_cache_pages").set(self.entries.len() as f64);
    }

    fn mark_used(&mut self, key: &PageKey) {
        self.clock += 1;
        let leaf = !self.children.contains_key(key);
        let entry = self.entries.get_mut(key).expect("only pages that are there are used");
        self.leaves.remove(&entry.last_used);
        entry.last_used = self.clock;
        if leaf {
            self.leaves.insert(self.clock, *key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: u8) -> PageKey {
        [name; 32]
    }

    /// Room for three pages: a chain 1-2 and a page 3 alone.
    fn full_index() -> PageIndex {
        let mut index = PageIndex::new(30);
        for (name, parent) in [(1, 0), (2, 1), (3, 0)] {
            index.insert(key(name), key(parent), 10);
        }
        index
    }

    fn eviction_order(index: &mut PageIndex) -> Vec<u8> {
        let mut names = Vec::new();
        while let Ok(Some(key)) = index.evict_one_if_full(30) {
            names.push(key[0]);
        }
        names
    }

    #[test]
    fn a_chain_is_forgotten_from_its_end() {
        assert_eq!(eviction_order(&mut full_index()), [2, 1, 3]);
    }

    #[test]
    fn what_was_used_last_stays_longest() {
        let mut index = full_index();
        assert_eq!(index.longest_prefix(vec![key(1), key(2), key(9), key(3)]).len(), 2);
        assert_eq!(eviction_order(&mut index), [3, 2, 1]);
    }

    #[test]
    fn a_page_larger_than_the_store_never_fits() {
        assert_eq!(full_index().evict_one_if_full(31), Err(()));
        assert_eq!(PageIndex::new(30).evict_one_if_full(30), Ok(None));
    }

    #[test]
    fn an_orphan_is_a_chain_of_its_own() {
        let mut index = full_index();
        index.remove(&key(1));
        assert_eq!(eviction_order(&mut index), [2, 3]);
    }
}
