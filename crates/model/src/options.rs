//! How a model is run: the arithmetic switches every subcommand shares.

use kernels::{Compute, RowFormat};

/// The number format of cached latents; rope keys stay bf16 beside fp8 latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheFormat {
    F32,
    Bf16,
    Fp8,
}

/// The number format of the indexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexFormat {
    /// Unquantised: keys are cached as f32 beside an f32 cache and as bf16 otherwise.
    F32,
    /// As the authors run it: queries and keys rotated by a Hadamard matrix and rounded to e4m3.
    Fp8,
}

/// Which positions attention reads in a model that has an indexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionPath {
    /// The indexer's best `index_topk`.
    Sparse,
    /// All of them, for comparison.
    Dense,
}

/// The switches `--compute`, `--cache`, `--index`, `--attention` and `--threads`.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub compute: Compute,
    pub cache: CacheFormat,
    pub index: IndexFormat,
    pub attention: AttentionPath,
    pub threads: usize,
    /// The kernels to use, by name, for comparison; `None`: the fastest this machine can run.
    pub isa: Option<&'static str>,
}

impl Options {
    /// f32 everywhere: what the golden logits are compared with.
    pub fn exact(threads: usize) -> Self {
        Self {
            compute: Compute::F32,
            cache: CacheFormat::F32,
            index: IndexFormat::F32,
            attention: AttentionPath::Sparse,
            threads,
            isa: None,
        }
    }

    pub(crate) fn latent_format(&self, ue8m0: bool) -> RowFormat {
        match self.cache {
            CacheFormat::F32 => RowFormat::F32,
            CacheFormat::Bf16 => RowFormat::Bf16,
            CacheFormat::Fp8 => RowFormat::Fp8 { ue8m0 },
        }
    }

    pub(crate) fn rope_key_format(&self) -> RowFormat {
        if self.cache == CacheFormat::F32 { RowFormat::F32 } else { RowFormat::Bf16 }
    }

    pub(crate) fn index_key_format(&self, ue8m0: bool) -> RowFormat {
        match self.index {
            IndexFormat::F32 => self.rope_key_format(),
            IndexFormat::Fp8 => RowFormat::Fp8 { ue8m0 },
        }
    }
}
