//! Whether the output head is stored as a matrix of its own or as the embedding.

use kernels::Mat;
use weights::Checkpoint;

use super::error::Error;
use super::format::PackFormats;
use crate::config::Config;
use crate::tensors::{EMBEDDING, HEAD, HEAD_ROW_IDS, HEAD_ROWS};

/// One row of this many may differ for a head to be stored as the embedding.
const MAX_OWN_ROWS: usize = 8;
/// Rows that are compared before their memory is returned.
const FORGET_ROWS: usize = 4096;

/// The storage of the output head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadPlan {
    /// A matrix of its own.
    Own,
    /// The embedding, and the rows of these tokens in bf16.
    Tied { own_rows: Vec<u32> },
}

impl HeadPlan {
    /// The plan as far as the config decides it, without reading weights: a head that has a format
    /// of its own is a matrix, and so is one that is not tied.
    ///
    /// # Errors
    /// Ids of a tied head's own rows that are not valid.
    pub fn from_config(checkpoint: &Checkpoint, config: &Config, formats: &PackFormats) -> Result<Self, Error> {
        if formats.head.is_some() || !config.tie_word_embeddings {
            return Ok(Self::Own);
        }
        let own_rows = match checkpoint.contains(HEAD_ROW_IDS) {
            true => checkpoint.row_ids(HEAD_ROW_IDS, config.vocab_size)?,
            false => Vec::new(),
        };
        Ok(Self::Tied { own_rows })
    }

    /// The plan after a comparison of embedding and head: if they are equal up to one row of 8,
    /// the head is stored as the embedding. `progress` is called after each row.
    ///
    /// # Errors
    /// As [`HeadPlan::from_config`]; a tensor that is missing or misshapen.
    pub fn compare(
        checkpoint: &Checkpoint,
        config: &Config,
        formats: &PackFormats,
        progress: &mut dyn FnMut(),
    ) -> Result<Self, Error> {
        let plan = Self::from_config(checkpoint, config, formats)?;
        if formats.head.is_some() || config.tie_word_embeddings {
            return Ok(plan);
        }
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let [embedding, head] = [EMBEDDING, HEAD].map(|name| checkpoint.mat(name, vocab, hidden));
        let (embedding, head) = (embedding?, head?);
        let mut rows = [vec![0.0; hidden], vec![0.0; hidden]];
        let mut own_rows = Vec::new();
        let forget = || [EMBEDDING, HEAD].iter().for_each(|name| checkpoint.forget(name));
        for id in 0..vocab {
            if id.is_multiple_of(FORGET_ROWS) {
                forget();
            }
            embedding.row(id, &mut rows[0]);
            head.row(id, &mut rows[1]);
            if rows[0] != rows[1] {
                own_rows.push(id as u32);
            }
            if own_rows.len() > vocab / MAX_OWN_ROWS {
                forget();
                return Ok(Self::Own);
            }
            progress();
        }
        forget();
        Ok(Self::Tied { own_rows })
    }
}

/// The rows of the output head, as the model uses them.
pub(crate) struct HeadSource {
    weight: Mat,
    own: Option<(Vec<u32>, Mat)>,
}

impl HeadSource {
    pub(crate) fn open(checkpoint: &Checkpoint, config: &Config) -> Result<Self, weights::Error> {
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        if !config.tie_word_embeddings {
            return Ok(Self { weight: checkpoint.mat(HEAD, vocab, hidden)?, own: None });
        }
        let own = match checkpoint.contains(HEAD_ROW_IDS) {
            true => {
                let ids = checkpoint.row_ids(HEAD_ROW_IDS, vocab)?;
                let rows = checkpoint.mat(HEAD_ROWS, ids.len(), hidden)?;
                Some((ids, rows))
            }
            false => None,
        };
        Ok(Self { weight: checkpoint.mat(EMBEDDING, vocab, hidden)?, own })
    }

    /// Writes the row of token `id` to `out` in f32.
    pub(crate) fn row(&self, id: usize, out: &mut [f32]) {
        let own = self.own.as_ref().and_then(|(ids, rows)| Some((ids.binary_search(&(id as u32)).ok()?, rows)));
        match own {
            Some((row, rows)) => rows.row(row, out),
            None => self.weight.row(id, out),
        }
    }

    /// Returns the memory of what was read.
    pub(crate) fn forget(checkpoint: &Checkpoint, config: &Config) {
        checkpoint.forget(if config.tie_word_embeddings { EMBEDDING } else { HEAD });
    }
}
