//! AMX beside AVX-512: attention in bf16, and products of many rows with int4 weights, by tiles.

use std::ops::Range;

use super::{attention_amx, avx512, int4_amx};
use crate::cpu::Isa;
use crate::fixed::FixedRows;
use crate::packing::Packing;
use crate::product::{Left, Nt, Right};

pub(super) static ISA: Isa = Isa {
    name: "amx",
    nt: product_nt,
    // SAFETY: `supported` hands this table out only where the processor has the features, and the
    // system has permitted tiles.
    partial: Some(|part, rounded, out| unsafe { attention_amx::partial(part, rounded, out) }),
    fixed: fixed_rows,
    ..avx512::ISA
};

fn fixed_rows(x: &[f32], k: usize, packing: Packing) -> FixedRows {
    let mut rows = (avx512::ISA.fixed)(x, k, packing);
    if packing == Packing::Int4 && x.len() >= int4_amx::MIN_ROWS * k {
        // SAFETY: as above.
        unsafe { int4_amx::split(&mut rows) };
    }
    rows
}

fn product_nt(task: &Nt<'_>, columns: Range<usize>) {
    match (task.x, task.w) {
        // SAFETY: as above.
        (Left::Fixed(x), Right::Mat(w)) if int4_amx::takes(task, x, w) => unsafe {
            int4_amx::nt(task, x, w, columns);
        },
        _ => (avx512::ISA.nt)(task, columns),
    }
}
