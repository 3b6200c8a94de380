//! The processor that a model runs on: its threads, the number format of products, and the kernels
//! of its instruction set.

use std::ops::Range;

use crate::dtype::{DType, bf16_bits};
use crate::fixed::{FixedOrder, FixedRows};
use crate::indexer::IndexScores;
use crate::mat::Mat;
use crate::packing::Packing;
use crate::partial_softmax::AttentionPart;
use crate::pool::Pool;
use crate::product::{self, Left, Nn, Nt};

/// The number format of products in linear layers, attention and index scores. Sums, norms,
/// softmax, the gate and the output head are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    F32,
    /// Activations are rounded before products: to bf16 for weights in bf16 and fp8, to 16-bit
    /// fixed point for packed ones. Sums stay f32.
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
    /// `(x, k, packing)`: rounds rows of `k` values to fixed point, for weights of this packing.
    pub(crate) fixed: fn(&[f32], usize, Packing) -> FixedRows,
}

static PLAIN: Isa = Isa {
    name: "plain",
    nt: product::nt,
    nn: product::nn,
    partial: None,
    index_scores: None,
    round: round_all,
    fixed: |x, k, _| FixedRows::new(x, k, &PLAIN_ORDER),
};

static PLAIN_ORDER: FixedOrder = FixedOrder::new(Packing::Int8, 32);

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

    /// Rows `x` of `k` values as the left side of products with `weights`.
    pub(crate) fn activations<'a, 'w>(
        &self,
        x: &'a [f32],
        k: usize,
        weights: impl IntoIterator<Item = &'w Mat>,
    ) -> Activations<'a> {
        let mut activations = self.exact_activations(x, k, []);
        for w in weights {
            activations.add_packed(self, k, w);
            if self.compute == Compute::Bf16 && matches!(w.dtype(), DType::Bf16 | DType::Fp8) {
                activations.bf16.get_or_insert_with(|| {
                    let mut rounded = vec![0; x.len()];
                    (self.isa.round)(x, &mut rounded);
                    rounded
                });
            }
        }
        activations
    }

    /// [`Cpu::activations`], which stay f32 for weights that are not packed.
    pub(crate) fn exact_activations<'a, 'w>(
        &self,
        x: &'a [f32],
        k: usize,
        weights: impl IntoIterator<Item = &'w Mat>,
    ) -> Activations<'a> {
        let mut activations = Activations { exact: x, bf16: None, int4: None, int8: None };
        weights.into_iter().for_each(|w| activations.add_packed(self, k, w));
        activations
    }
}

/// The left side of products, in each format that a weight may require.
pub(crate) struct Activations<'a> {
    exact: &'a [f32],
    bf16: Option<Vec<u16>>,
    int4: Option<FixedRows>,
    int8: Option<FixedRows>,
}

impl Activations<'_> {
    /// Adds fixed point if the processor computes in it and `w` is packed.
    fn add_packed(&mut self, cpu: &Cpu, k: usize, w: &Mat) {
        let (packing, fixed) = match (cpu.compute, w.dtype()) {
            (Compute::Bf16, DType::Int4) => (Packing::Int4, &mut self.int4),
            (Compute::Bf16, DType::Int8) => (Packing::Int8, &mut self.int8),
            _ => return,
        };
        fixed.get_or_insert_with(|| (cpu.isa.fixed)(self.exact, k, packing));
    }

    /// The left side for `w`, one of the weights these were made for.
    pub(crate) fn for_weight(&self, w: &Mat) -> Left<'_> {
        let rounded = match w.dtype() {
            DType::Bf16 | DType::Fp8 => self.bf16.as_deref().map(Left::Bf16),
            DType::Int4 => self.int4.as_ref().map(Left::Fixed),
            DType::Int8 => self.int8.as_ref().map(Left::Fixed),
            DType::F32 | DType::F16 => None,
        };
        rounded.unwrap_or(Left::F32(self.exact))
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
