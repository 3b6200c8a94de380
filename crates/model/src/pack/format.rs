//! The number formats that `cachalot pack` writes, and the choice of one for each kind of weights.

use std::collections::BTreeMap;

use kernels::{DType, PACKED_GROUP};

use crate::tensors::TensorKind;

/// The number format of a packed matrix (`docs/packed-weights.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackFormat {
    Bf16,
    /// e4m3 with a scale for each block of 128 x 128.
    Fp8,
    /// 8 bits with a scale for each 32 weights of a row.
    Int8,
    /// 4 bits with a scale and an offset for each 32 weights of a row.
    Int4,
}

impl PackFormat {
    /// The name on the command line and in `config.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// The format itself, or bf16 for a matrix whose rows are not whole groups of it.
    pub(crate) fn for_columns(self, cols: usize) -> Self {
        match self {
            Self::Int8 | Self::Int4 if !cols.is_multiple_of(PACKED_GROUP) => Self::Bf16,
            format => format,
        }
    }

    /// The number format of the stored numbers.
    pub(crate) const fn dtype(self) -> DType {
        match self {
            Self::Bf16 => DType::Bf16,
            Self::Fp8 => DType::Fp8,
            Self::Int8 => DType::Int8,
            Self::Int4 => DType::Int4,
        }
    }
}

/// The formats of a packing, by kind of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackFormats {
    pub embedding: PackFormat,
    /// `None`: that of the embedding, and its matrix where both are equal.
    pub head: Option<PackFormat>,
    pub attention: PackFormat,
    pub indexer: PackFormat,
    pub mlp: PackFormat,
    pub experts: PackFormat,
}

impl PackFormats {
    /// One format for all kinds.
    pub fn all(format: PackFormat) -> Self {
        Self { embedding: format, head: None, attention: format, indexer: format, mlp: format, experts: format }
    }

    /// The format of a kind; `None` for tensors that stay as they are.
    pub fn of(&self, kind: TensorKind) -> Option<PackFormat> {
        match kind {
            TensorKind::Embedding => Some(self.embedding),
            TensorKind::Head => Some(self.head.unwrap_or(self.embedding)),
            TensorKind::Attention => Some(self.attention),
            TensorKind::Indexer => Some(self.indexer),
            TensorKind::Mlp => Some(self.mlp),
            TensorKind::Experts => Some(self.experts),
            TensorKind::Kept => None,
        }
    }

    /// The names of the formats by kind, as `config.json` records them.
    pub(crate) fn names(&self) -> BTreeMap<String, String> {
        let kinds = TensorKind::ALL.into_iter();
        kinds.filter_map(|kind| Some((kind.name().to_owned(), self.of(kind)?.name().to_owned()))).collect()
    }
}
