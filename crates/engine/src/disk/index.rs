//! Which pages are on disk, and which goes first when there is no room: the least recently used of those no other page follows, so
//! that a chain is forgotten from its end.

use std::collections::{BTreeMap, HashMap};

use metrics::gauge;

use super::Key;

pub(super) struct Index {
    entries: HashMap<Key, Entry>,
    /// Entries without children, least recently used first.
    leaves: BTreeMap<u64, Key>,
    /// How many pages follow a key, whether or not that key is there itself.
    children: HashMap<Key, usize>,
    bytes: u64,
    limit: u64,
    clock: u64,
}

struct Entry {
    parent: Key,
    size: u64,
    /// When it was used last; its place in `leaves` while it has no children.
    stamp: u64,
}

impl Index {
    pub(super) fn new(limit: u64) -> Self {
        Self { entries: HashMap::new(), leaves: BTreeMap::new(), children: HashMap::new(), bytes: 0, limit, clock: 0 }
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    /// Those at the beginning of `keys` that are there, marked as used.
    pub(super) fn found(&mut self, mut keys: Vec<Key>) -> Vec<Key> {
        let n = keys.iter().take_while(|key| self.contains(key)).count();
        keys.truncate(n);
        for key in keys.iter().rev() {
            self.stamp(key);
        }
        keys
    }

    pub(super) fn insert(&mut self, key: Key, parent: Key, size: u64) {
        if self.contains(&key) {
            return;
        }
        self.bytes += size;
        self.entries.insert(key, Entry { parent, size, stamp: 0 });
        *self.children.entry(parent).or_default() += 1;
        if let Some(parent) = self.entries.get(&parent) {
            self.leaves.remove(&parent.stamp);
        }
        self.stamp(&key);
    }

    pub(super) fn remove(&mut self, key: &Key) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.bytes -= entry.size;
        self.leaves.remove(&entry.stamp);
        let Some(children) = self.children.get_mut(&entry.parent) else { return };
        *children -= 1;
        if *children == 0 {
            self.children.remove(&entry.parent);
            if let Some(parent) = self.entries.get(&entry.parent) {
                self.leaves.insert(parent.stamp, entry.parent);
            }
        }
    }

    /// Forgets one page if there is no room for `size` more bytes, and names it; `Err` when there never will be room.
    pub(super) fn make_room(&mut self, size: u64) -> Result<Option<Key>, ()> {
        if size > self.limit {
            return Err(());
        }
        if self.bytes + size <= self.limit {
            return Ok(None);
        }
        // Only headers somebody has forged make a chain without an end.
        let key = self.leaves.values().next().or_else(|| self.entries.keys().next()).copied();
        if let Some(key) = &key {
            self.remove(key);
        }
        Ok(key)
    }

    pub(super) fn record(&self) {
        gauge!("cachalot_disk_cache_bytes").set(self.bytes as f64);
        gauge!("cachalot_disk_cache_pages").set(self.entries.len() as f64);
    }

    fn stamp(&mut self, key: &Key) {
        self.clock += 1;
        let leaf = !self.children.contains_key(key);
        let entry = self.entries.get_mut(key).expect("only pages that are there are used");
        self.leaves.remove(&entry.stamp);
        entry.stamp = self.clock;
        if leaf {
            self.leaves.insert(self.clock, *key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: u8) -> Key {
        [name; 32]
    }

    /// Room for three pages: a chain 1-2 and a page 3 alone.
    fn full() -> Index {
        let mut index = Index::new(30);
        for (name, parent) in [(1, 0), (2, 1), (3, 0)] {
            index.insert(key(name), key(parent), 10);
        }
        index
    }

    fn forgotten(index: &mut Index) -> Vec<u8> {
        let mut names = Vec::new();
        while let Ok(Some(key)) = index.make_room(30) {
            names.push(key[0]);
        }
        names
    }

    #[test]
    fn a_chain_is_forgotten_from_its_end() {
        assert_eq!(forgotten(&mut full()), [2, 1, 3]);
    }

    #[test]
    fn what_was_used_last_stays_longest() {
        let mut index = full();
        assert_eq!(index.found(vec![key(1), key(2), key(9), key(3)]).len(), 2);
        assert_eq!(forgotten(&mut index), [3, 2, 1]);
    }

    #[test]
    fn a_page_larger_than_the_store_never_fits() {
        assert_eq!(full().make_room(31), Err(()));
        assert_eq!(Index::new(30).make_room(30), Ok(None));
    }

    #[test]
    fn an_orphan_is_a_chain_of_its_own() {
        let mut index = full();
        index.remove(&key(1));
        assert_eq!(forgotten(&mut index), [2, 3]);
    }
}
