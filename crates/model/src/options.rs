//! The arithmetic options of a model, which the subcommands share.

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
    /// Unquantised: keys are cached as f32 if the latents are f32, else as bf16.
    F32,
    /// As in the authors' code: queries and keys are rotated by a Hadamard matrix and
    /// rounded to e4m3.
    Fp8,
}

/// The positions that attention reads in a model with an indexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionPath {
    /// The `index_topk` positions that the indexer scores highest.
    Sparse,
    /// All positions, for comparison.
    Dense,
}

/// The options `--compute`, `--cache`, `--index`, `--attention` and `--threads`.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub compute: Compute,
    pub cache: CacheFormat,
    pub index: IndexFormat,
    pub attention: AttentionPath,
    pub threads: usize,
    /// The kernels to use, by name, for comparison; `None`: the fastest that this machine supports.
    pub isa: Option<&'static str>,
}

impl Options {
    /// f32 everywhere, as in the golden tests.
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
