//! The keys of pages: a hash chain over the tokens of a sequence.

use sha2::{Digest, Sha256};

use crate::page_allocator::PAGE_ROWS;

/// The name of a page: a hash of everything that its rows depend on.
pub(crate) type PageKey = [u8; 32];

/// The keys of one sequence's pages, computed on demand.
pub(crate) struct PageKeyChain {
    root: PageKey,
    keys: Vec<PageKey>,
}

impl PageKeyChain {
    pub(crate) fn new(root: PageKey) -> Self {
        Self { root, keys: Vec::new() }
    }

    /// The key of the page `index` and the key of the page before it. `tokens` are all tokens
    /// of the sequence.
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
