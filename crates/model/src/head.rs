//! The output head: a matrix of its own, or the embedding (`tie_word_embeddings`), of which some
//! rows may be replaced by rows of their own.

use kernels::{Cpu, Linear, Mat, Rows};
use weights::{Checkpoint, Error};

use crate::config::Config;
use crate::tensors::{HEAD, HEAD_ROW_IDS, HEAD_ROWS};

/// The output head.
pub(crate) struct Head {
    /// `[vocab_size, hidden_size]`
    weight: Mat,
    rows: Option<OwnRows>,
}

/// Rows of a tied head that differ from the embedding.
struct OwnRows {
    /// The token of each row, strictly ascending.
    ids: Vec<u32>,
    /// `[ids, hidden_size]`
    weight: Mat,
    /// Working memory, `[n, ids]`.
    logits: Rows,
}

impl Head {
    /// Loads the head. `embed_tokens` is the embedding, `[vocab_size, hidden_size]`.
    ///
    /// # Errors
    /// A tensor that is missing, or has another shape or number format than the config implies; ids
    /// of rows that are not strictly ascending tokens of the vocabulary.
    pub(crate) fn load(checkpoint: &Checkpoint, config: &Config, embed_tokens: &Mat) -> Result<Self, Error> {
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        if !config.tie_word_embeddings {
            return Ok(Self { weight: checkpoint.mat(HEAD, vocab, hidden)?, rows: None });
        }
        let weight = embed_tokens.clone();
        if !checkpoint.contains(HEAD_ROWS) && !checkpoint.contains(HEAD_ROW_IDS) {
            return Ok(Self { weight, rows: None });
        }
        let ids = checkpoint.row_ids(HEAD_ROW_IDS, vocab)?;
        let rows = checkpoint.mat(HEAD_ROWS, ids.len(), hidden)?;
        let own = OwnRows { logits: Rows::new(ids.len()), ids, weight: rows };
        Ok(Self { weight, rows: (!own.ids.is_empty()).then_some(own) })
    }

    /// `logits[i] = head @ hidden[i]`, with f32 products.
    pub(crate) fn logits(&mut self, cpu: &Cpu, hidden: &Rows, logits: &mut Rows) {
        let Some(own) = &mut self.rows else {
            return cpu.linear_f32(hidden, &mut [Linear { w: &self.weight, out: logits }]);
        };
        cpu.linear_f32(
            hidden,
            &mut [Linear { w: &self.weight, out: logits }, Linear { w: &own.weight, out: &mut own.logits }],
        );
        for i in 0..hidden.len() {
            for (id, logit) in own.ids.iter().zip(own.logits.row(i)) {
                logits.row_mut(i)[*id as usize] = *logit;
            }
        }
    }
}
