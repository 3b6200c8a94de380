//! The processor that a model runs on: its threads, the number format of products, and the kernels
//! of its instruction set.

use std::ops::Range;

use crate::dtype::{DType, bf16_bits};
use crate::indexer::IndexScores;
use crate::mat::Mat;
use crate::partial_softmax::AttentionPart;
use crate::pool::Pool;
use crate::product::{self, Left, Nn, Nt};

/// The number format of products in linear layers, attention and index scores. Sums, norms,
/// softmax, the gate and the output head are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    F32,
    /// Activations are rounded to bf16 before products with weights of 16 or 8 bits; sums stay f32.
    Bf16,
}

/// Threads and kernels. The operations of a model are its methods, one family per file.
pub struct Cpu {
    pub(crate) pool: Pool,
    pub(crate) compute: Compute,
    pub(crate) isa: &'static Isa,
}

/// The inner loops of one instruction set, chosen once.
pub(crate) struct Isa {
    pub(crate) name: &'static str,
    pub(crate) nt: fn(&Nt<'_>, Range<usize>),
    pub(crate) nn: fn(&Nn<'_>, &mut [f32]),
    /// `(part, rounded, out)`: attention without gathering. `None`: by the products above.
    pub(crate) partial: Option<fn(&AttentionPart<'_>, bool, &mut [f32])>,
    /// `(scores, rounded, out)`: index scores without sums across lanes. `None`: by
    /// the products above.
    pub(crate) index_scores: Option<fn(&IndexScores<'_>, bool, &mut [f32])>,
    /// Rounds to bf16.
    pub(crate) round: fn(&[f32], &mut [u16]),
}

static PLAIN: Isa =
    Isa { name: "plain", nt: product::nt, nn: product::nn, partial: None, index_scores: None, round: round_all };

/// Rounds to bf16.
pub(crate) fn round_all(values: &[f32], out: &mut [u16]) {
    out.iter_mut().zip(values).for_each(|(out, v)| *out = bf16_bits(*v));
}

impl Cpu {
    /// A processor of `threads` threads (the caller is one of them) with the fastest kernels that
    /// this machine supports.
    pub fn new(threads: usize, compute: Compute) -> Self {
        Self { pool: Pool::new(threads), compute, isa: fastest() }
    }

    /// A processor with the plain kernels, the specification of the fast ones.
    pub fn plain(threads: usize, compute: Compute) -> Self {
        Self { isa: &PLAIN, ..Self::new(threads, compute) }
    }

    /// A processor with the kernels named `isa`; `None` if this machine does not support them.
    pub fn with_isa(threads: usize, compute: Compute, isa: &str) -> Option<Self> {
        let isa = supported().into_iter().find(|supported| supported.name == isa)?;
        Some(Self { isa, ..Self::new(threads, compute) })
    }

    /// Names of all kernels that this machine supports, fastest first.
    pub fn supported_isas() -> Vec<&'static str> {
        supported().into_iter().map(|isa| isa.name).collect()
    }

    /// Number of threads, including the caller.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The instruction set in use, for logs.
    pub fn isa(&self) -> &'static str {
        self.isa.name
    }

    /// The number format of products.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    pub(crate) fn nt(&self, task: &Nt<'_>, columns: Range<usize>) {
        (self.isa.nt)(task, columns);
    }

    pub(crate) fn nn(&self, task: &Nn<'_>, out: &mut [f32]) {
        (self.isa.nn)(task, out);
    }

    /// Calls `body` with `x` as the left side of products, rounded to bf16 if the processor
    /// computes in bf16.
    pub(crate) fn with_activations<R>(&self, x: &[f32], body: impl FnOnce(Activations<'_>) -> R) -> R {
        match self.compute {
            Compute::F32 => body(Activations { exact: x, rounded: None }),
            Compute::Bf16 => {
                let mut rounded = vec![0; x.len()];
                (self.isa.round)(x, &mut rounded);
                body(Activations { exact: x, rounded: Some(&rounded) })
            }
        }
    }
}

/// The left side of products, in each format that a weight may require.
#[derive(Clone, Copy)]
pub(crate) struct Activations<'a> {
    pub(crate) exact: &'a [f32],
    pub(crate) rounded: Option<&'a [u16]>,
}

impl<'a> Activations<'a> {
    /// bf16 if the processor computes in it and the weight has at most 8 bits of
    /// mantissa, else f32.
    pub(crate) fn for_weight(&self, w: &Mat) -> Left<'a> {
        match (self.rounded, w.dtype()) {
            (Some(rounded), DType::Bf16 | DType::Fp8) => Left::Bf16(rounded),
            _ => Left::F32(self.exact),
        }
    }
}

/// All kernels that this machine supports, fastest first.
pub(crate) fn supported() -> Vec<&'static Isa> {
    #[cfg(target_arch = "x86_64")]
    let mut all = crate::x86::supported();
    #[cfg(not(target_arch = "x86_64"))]
    let mut all = Vec::new();
    all.push(&PLAIN);
    all
}

fn fastest() -> &'static Isa {
    supported()[0]
}
