//! The interface between the engine and an architecture: batches in, logits out.

use std::iter::repeat_n;

use kernels::{CachePosition, Compute, Rows};

use crate::cache::LatentCache;
use crate::options::AttentionPath;
use crate::tap::Tap;

/// The tokens of one forward pass: positions of several sequences, for prefill and decode.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    /// One span per sequence.
    pub spans: Vec<Span<'a>>,
}

/// Consecutive positions of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    pub tokens: &'a [u32],
    /// The position of `tokens[0]`; all positions before it are in the cache.
    pub start: usize,
    /// The pages of the sequence, in order, with room for at least
    /// `start + tokens.len()` positions.
    pub pages: &'a [u32],
    pub logits: LogitsWanted,
    /// The positions that its attention reads; `None`: those of the model's options.
    pub attention: Option<AttentionPath>,
}

/// The outputs that are computed for a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitsWanted {
    /// None; the span only fills the cache.
    None,
    /// The output of the last position.
    Last,
    /// The output of every position.
    All,
}

impl Batch<'_> {
    /// Number of positions.
    pub fn len(&self) -> usize {
        self.spans.iter().map(|span| span.tokens.len()).sum()
    }

    /// Whether the batch has zero positions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn tokens(&self) -> Vec<u32> {
        self.spans.iter().flat_map(|span| span.tokens).copied().collect()
    }

    /// The attention path of every position, where `usual` is that of the model.
    pub(crate) fn paths(&self, usual: AttentionPath) -> impl Iterator<Item = AttentionPath> {
        self.spans.iter().flat_map(move |span| repeat_n(span.attention.unwrap_or(usual), span.tokens.len()))
    }

    pub(crate) fn positions(&self) -> Vec<CachePosition<'_>> {
        let mut positions = Vec::with_capacity(self.len());
        for Span { tokens, start, pages, .. } in &self.spans {
            positions.extend((*start..start + tokens.len()).map(|position| CachePosition { pages, position }));
        }
        positions
    }

    /// The batch rows whose output is wanted, in order.
    pub(crate) fn output_rows(&self) -> Vec<usize> {
        let mut rows = Vec::new();
        let mut first = 0;
        for span in &self.spans {
            let end = first + span.tokens.len();
            match span.logits {
                LogitsWanted::None => {}
                LogitsWanted::Last => rows.extend((first..end).last()),
                LogitsWanted::All => rows.extend(first..end),
            }
            first = end;
        }
        rows
    }
}

/// The outputs of a forward pass, one row for every wanted position, in the order of the batch.
#[derive(Clone, Debug)]
pub struct Output {
    /// `[wanted, hidden_size]`: after the final norm; the input of the output head and
    /// of the MTP module.
    pub hidden: Rows,
    /// `[wanted, vocab_size]`
    pub logits: Rows,
}

/// A loaded model.
pub trait Model: Send {
    /// Facts about the model.
    fn info(&self) -> &Info;

    /// An empty cache of `pages` pages of 64 positions.
    fn new_cache(&self, pages: usize) -> LatentCache;

    /// Runs the batch: fills the cache rows of its positions and returns the wanted outputs.
    ///
    /// The numbers of a position depend only on its token and the tokens before it, bit for bit.
    fn forward(&mut self, batch: &Batch<'_>, cache: &mut LatentCache, tap: &mut dyn Tap) -> &Output;

    /// Runs the multi-token-prediction module on tokens shifted by one: `batch.tokens[i]` is the
    /// token after the position whose final hidden state is `hidden[i]`, and the output predicts
    /// the token after that. `None` if the checkpoint lacks the module.
    fn draft(&mut self, batch: &Batch<'_>, hidden: &Rows, cache: &mut LatentCache) -> Option<&Output>;
}

/// Facts about a loaded model.
#[derive(Clone, Debug)]
pub struct Info {
    /// `deepseek_v3` or `deepseek_v32`.
    pub model_type: String,
    pub vocab_size: usize,
    /// Maximum number of positions of a sequence.
    pub context: usize,
    /// Bytes of one cache page (64 positions, all layers, the MTP module included).
    pub page_bytes: usize,
    /// The path of attention, for logs and metrics: `dense` or `sparse`.
    pub attention: &'static str,
    /// Whether it can attend to selected positions only.
    pub has_indexer: bool,
    /// The number format of products.
    pub compute: Compute,
    /// The instruction set of the kernels.
    pub isa: &'static str,
    pub threads: usize,
}
