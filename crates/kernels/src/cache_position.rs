//! Positions of a batch in the paged cache, and the positions that each of them attends to.

/// Rows of a cache page.
pub const PAGE_ROWS: usize = 64;

/// A position of the batch: its index in its sequence, and the pages of that sequence.
#[derive(Clone, Copy, Debug)]
pub struct CachePosition<'a> {
    /// Page ids of the sequence, in order; position `p` is row `p % 64` of page `pages[p / 64]`.
    pub pages: &'a [u32],
    /// Index in the sequence.
    pub position: usize,
}

impl CachePosition<'_> {
    /// The arena slot of position `position` of this sequence.
    pub fn slot(&self, position: usize) -> usize {
        self.pages[position / PAGE_ROWS] as usize * PAGE_ROWS + position % PAGE_ROWS
    }

    /// The arena slot of this position.
    pub fn own_slot(&self) -> usize {
        self.slot(self.position)
    }
}

/// The cached positions that each query attends to.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Per query: the selected positions, ascending; `None` means all visible ones.
    pub picked: Vec<Option<Vec<u32>>>,
}

impl Selection {
    /// Selects all visible positions for each of `queries` queries.
    pub fn dense(&mut self, queries: usize) {
        self.picked.clear();
        self.picked.resize(queries, None);
    }
}
