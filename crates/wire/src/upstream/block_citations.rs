//! The citations of a block of text, which belong to all of it.

use chat::{Citation, Delta};

/// The citations of the open block, whose text is known at its end.
#[derive(Debug, Default)]
pub(super) struct BlockCitations {
    /// The characters of the answer's text before the block, and with it.
    start: usize,
    end: usize,
    citations: Vec<Citation>,
}

impl BlockCitations {
    pub(super) fn add_text(&mut self, text: &str) {
        self.end += text.chars().count();
    }

    pub(super) fn add(&mut self, citation: Citation) {
        self.citations.push(citation);
    }

    /// Ends the block.
    pub(super) fn finish(&mut self, out: &mut Vec<Delta>) {
        let (start, end) = (self.start, self.end);
        out.extend(self.citations.drain(..).map(|citation| Delta::Citation(Citation { start, end, ..citation })));
        self.start = self.end;
    }
}
