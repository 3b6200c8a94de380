//! AMX beside AVX-512: attention in bf16 by products of tiles.

use super::{attention_amx, avx512};
use crate::cpu::Isa;

pub(super) static ISA: Isa = Isa {
    name: "amx",
    // SAFETY: `supported` hands this table out only where the processor has the features, and the
    // system has permitted tiles.
    partial: Some(|part, rounded, out| unsafe { attention_amx::partial(part, rounded, out) }),
    ..avx512::ISA
};
