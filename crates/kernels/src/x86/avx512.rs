//! AVX-512 with BF16 and VBMI: 512-bit vectors, bf16 products by the dot-product unit, fp8 by table lookup in registers.

use std::arch::x86_64::*;
use std::ops::Range;

use super::nn::{self, Wide};
use super::nt::{self, Decode, Lanes, Operands};
use super::{Weights, scale_parts, widened};
use crate::cpu::Isa;
use crate::dtype::{DType, FP8_VALUES, fp8_values};
use crate::mat::SCALE_BLOCK;
use crate::product::{Left, Nn, Nt};
use crate::scratch;

pub(super) static ISA: Isa = Isa {
    name: "avx512",
    // SAFETY: `supported` hands this table out only where the processor has the features.
    nt: |task, columns| unsafe { product_nt(task, columns) },
    // SAFETY: as above.
    nn: |task, out| unsafe { product_nn(task, out) },
};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx2,fma,f16c")]
unsafe fn product_nt(task: &Nt<'_>, columns: Range<usize>) {
    let Weights { bytes: w, dtype, row_bytes } = Weights::of(task);
    // SAFETY: the features are the caller's promise; fp8 decoders get the scales of every block their columns cross.
    unsafe {
        match (task.x, dtype) {
            (Left::F32(x), DType::F32) => {
                nt::nt(&Operands::<F32, _> { task, x, w, row_bytes, decode: FromF32 }, columns);
            }
            (Left::F32(x), DType::F16) => {
                nt::nt(&Operands::<F32, _> { task, x, w, row_bytes, decode: FromF16 }, columns);
            }
            (Left::F32(x), DType::Bf16) => {
                nt::nt(&Operands::<F32, _> { task, x, w, row_bytes, decode: FromBf16 }, columns);
            }
            (Left::F32(x), DType::Fp8) => {
                for (columns, scales) in scale_parts(task, columns) {
                    let decode = FromFp8 { scales: scales.as_ptr() };
                    nt::nt(&Operands::<F32, _> { task, x, w, row_bytes, decode }, columns);
                }
            }
            (Left::Bf16(x), DType::Bf16) => {
                nt::nt(&Operands::<Bf16, _> { task, x, w, row_bytes, decode: Bits }, columns);
            }
            (Left::Bf16(x), DType::Fp8) => {
                for (columns, scales) in scale_parts(task, columns) {
                    let mut tables = scratch::lend(scales.len() * (size_of::<Table>() / 4) + 16);
                    let aligned = tables.as_ptr().align_offset(64);
                    let tables = tables[aligned..].as_mut_ptr().cast::<Table>();
                    for (block, scale) in scales.iter().enumerate() {
                        scaled_table(*scale, &mut *tables.add(block));
                    }
                    let decode = Lookup { tables };
                    nt::nt(&Operands::<Bf16, _> { task, x, w, row_bytes, decode }, columns);
                }
            }
            (Left::Bf16(x), DType::F32 | DType::F16) => widened(x, task, |task| product_nt(task, columns)),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx2,fma,f16c")]
unsafe fn product_nn(task: &Nn<'_>, out: &mut [f32]) {
    // SAFETY: the features are the caller's promise.
    unsafe { nn::nn::<F32>(task, out) }
}

/// f32 products in 16 lanes.
struct F32;

impl Lanes for F32 {
    type X = f32;
    type V = __m512;
    type Sum = __m512;
    const STEP: usize = 16;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn x(x: *const f32) -> __m512 {
        // SAFETY: 16 numbers by the caller's promise.
        unsafe { _mm512_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn x_part(x: *const f32, n: usize) -> __m512 {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm512_maskz_loadu_ps(first_of_16(n), x) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn mul_add(x: __m512, w: __m512, sum: __m512) -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_fmadd_ps(x, w, sum) }
    }

    #[inline(always)]
    unsafe fn totals(sums: [__m512; 4]) -> [f32; 4] {
        // SAFETY: needs nothing but the features.
        unsafe { totals(sums) }
    }
}

impl Wide for F32 {
    type V = __m512;
    const WIDTH: usize = 16;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn load(p: *const f32, n: usize) -> __m512 {
        // SAFETY: only the first `n` numbers are read.
        unsafe { if n == 16 { _mm512_loadu_ps(p) } else { _mm512_maskz_loadu_ps(first_of_16(n), p) } }
    }

    #[inline(always)]
    unsafe fn store(p: *mut f32, n: usize, v: __m512) {
        // SAFETY: only the first `n` numbers are written.
        unsafe { if n == 16 { _mm512_storeu_ps(p, v) } else { _mm512_mask_storeu_ps(p, first_of_16(n), v) } }
    }

    #[inline(always)]
    unsafe fn splat(v: f32) -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_set1_ps(v) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }
}

/// bf16 products of 32 numbers, neighbouring pairs summed into 16 f32 lanes.
struct Bf16;

impl Lanes for Bf16 {
    type X = u16;
    type V = __m512i;
    type Sum = __m512;
    const STEP: usize = 32;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn x(x: *const u16) -> __m512i {
        // SAFETY: 32 numbers by the caller's promise.
        unsafe { _mm512_loadu_epi16(x.cast()) }
    }

    #[inline(always)]
    unsafe fn x_part(x: *const u16, n: usize) -> __m512i {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm512_maskz_loadu_epi16(first_of_32(n), x.cast()) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn mul_add(x: __m512i, w: __m512i, sum: __m512) -> __m512 {
        // SAFETY: vectors of 32 bf16 and of 32 words have the same bits.
        unsafe { _mm512_dpbf16_ps(sum, std::mem::transmute::<__m512i, __m512bh>(x), std::mem::transmute(w)) }
    }

    #[inline(always)]
    unsafe fn totals(sums: [__m512; 4]) -> [f32; 4] {
        // SAFETY: needs nothing but the features.
        unsafe { totals(sums) }
    }
}

struct FromF32;

impl Decode<F32> for FromF32 {
    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512 {
        // SAFETY: 16 numbers of 4 bytes by the caller's promise.
        unsafe { _mm512_loadu_ps(row.add(4 * k).cast()) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512 {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm512_maskz_loadu_ps(first_of_16(n), row.add(4 * k).cast()) }
    }
}

struct FromF16;

impl Decode<F32> for FromF16 {
    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512 {
        // SAFETY: 16 numbers of 2 bytes by the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_epi16(row.add(2 * k).cast())) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512 {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_of_16(n), row.add(2 * k).cast())) }
    }
}

struct FromBf16;

impl FromBf16 {
    #[inline(always)]
    unsafe fn widen(bits: __m256i) -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits))) }
    }
}

impl Decode<F32> for FromBf16 {
    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512 {
        // SAFETY: 16 numbers of 2 bytes by the caller's promise.
        unsafe { Self::widen(_mm256_loadu_epi16(row.add(2 * k).cast())) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512 {
        // SAFETY: only the first `n` numbers are read.
        unsafe { Self::widen(_mm256_maskz_loadu_epi16(first_of_16(n), row.add(2 * k).cast())) }
    }
}

/// e4m3 times the scale of its block, in f32.
struct FromFp8 {
    scales: *const f32,
}

impl FromFp8 {
    /// Bytes become the upper half of f32 numbers by lookup, then meet their scale.
    #[inline(always)]
    unsafe fn widen(&self, bytes: __m128i, k: usize) -> __m512 {
        const SPREAD: [u8; 64] = spread(4);
        const THIRD: u64 = 0x4444_4444_4444_4444;
        // SAFETY: the caller's row has a scale for every block.
        unsafe {
            let spread = _mm512_maskz_permutexvar_epi8(
                THIRD | THIRD << 1,
                _mm512_loadu_epi8(SPREAD.as_ptr().cast()),
                _mm512_castsi128_si512(bytes),
            );
            let bits = look_up::<THIRD>(&UNSCALED, spread, i32::MIN);
            _mm512_mul_ps(_mm512_castsi512_ps(bits), _mm512_set1_ps(*self.scales.add(k / SCALE_BLOCK)))
        }
    }
}

impl Decode<F32> for FromFp8 {
    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512 {
        // SAFETY: 16 bytes by the caller's promise.
        unsafe { self.widen(_mm_loadu_epi8(row.add(k).cast()), k) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512 {
        // SAFETY: only the first `n` bytes are read.
        unsafe { self.widen(_mm_maskz_loadu_epi8(first_of_16(n), row.add(k).cast()), k) }
    }
}

/// bf16 as stored.
struct Bits;

impl Decode<Bf16> for Bits {
    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512i {
        // SAFETY: 32 numbers of 2 bytes by the caller's promise.
        unsafe { _mm512_loadu_epi16(row.add(2 * k).cast()) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512i {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm512_maskz_loadu_epi16(first_of_32(n), row.add(2 * k).cast()) }
    }
}

/// e4m3 as bf16, through tables that hold the scale of their block.
struct Lookup {
    tables: *const Table,
}

impl Lookup {
    #[inline(always)]
    unsafe fn widen(&self, bytes: __m256i, k: usize) -> __m512i {
        const SPREAD: [u8; 64] = spread(2);
        const LOW: u64 = 0x5555_5555_5555_5555;
        // SAFETY: the caller's row has a table for every block.
        unsafe {
            let spread =
                _mm512_permutexvar_epi8(_mm512_loadu_epi8(SPREAD.as_ptr().cast()), _mm512_castsi256_si512(bytes));
            look_up::<LOW>(&*self.tables.add(k / SCALE_BLOCK), spread, 0x8000_8000u32 as i32)
        }
    }
}

impl Decode<Bf16> for Lookup {
    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512i {
        // SAFETY: 32 bytes by the caller's promise.
        unsafe { self.widen(_mm256_loadu_epi8(row.add(k).cast()), k) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512i {
        // SAFETY: only the first `n` bytes are read.
        unsafe { self.widen(_mm256_maskz_loadu_epi8(first_of_32(n), row.add(k).cast()), k) }
    }
}

/// The 128 e4m3 magnitudes as bf16: all low bytes, then all high bytes.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Table([u8; 256]);

/// Every e4m3 number is a bf16 number.
static UNSCALED: Table = {
    let mut table = [0; 256];
    let mut magnitude = 0;
    while magnitude < 128 {
        let [_, _, low, high] = fp8_values()[magnitude].to_bits().to_le_bytes();
        (table[magnitude], table[128 + magnitude]) = (low, high);
        magnitude += 1;
    }
    Table(table)
};

/// Byte `i` of the source at every byte of element `i` of `size` bytes.
const fn spread(size: usize) -> [u8; 64] {
    let mut indices = [0; 64];
    let mut i = 0;
    while i < 64 {
        indices[i] = (i / size) as u8;
        i += 1;
    }
    indices
}

/// Replaces the bytes at `LOW` and the bytes after them by the halves of their table entry, and flips the sign (the bits of
/// `sign`) where the byte's own is set.
#[inline(always)]
unsafe fn look_up<const LOW: u64>(table: &Table, bytes: __m512i, sign: i32) -> __m512i {
    let part = |i: usize| table.0[64 * i..].as_ptr().cast();
    // SAFETY: the table has four vectors.
    unsafe {
        let [a, b, c, d] = [part(0), part(1), part(2), part(3)];
        let low = _mm512_mask2_permutex2var_epi8(_mm512_load_si512(a), bytes, LOW, _mm512_load_si512(b));
        let both = _mm512_mask2_permutex2var_epi8(_mm512_load_si512(c), low, LOW << 1, _mm512_load_si512(d));
        // 0x78: a ^ (b & c)
        _mm512_ternarylogic_epi32::<0x78>(both, bytes, _mm512_set1_epi32(sign))
    }
}

/// The table of `bf16(value * scale)`.
#[inline(always)]
unsafe fn scaled_table(scale: f32, table: &mut Table) {
    // SAFETY: `FP8_VALUES` has 128 magnitudes before its negative half, the table two halves of 128 bytes.
    unsafe {
        let scale = _mm512_set1_ps(scale);
        for first in (0..128).step_by(32) {
            let values = FP8_VALUES.as_ptr().add(first);
            let a = _mm512_mul_ps(_mm512_loadu_ps(values), scale);
            let b = _mm512_mul_ps(_mm512_loadu_ps(values.add(16)), scale);
            let words = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(b, a));
            let out = table.0.as_mut_ptr().add(first);
            _mm256_storeu_epi8(out.cast(), _mm512_cvtepi16_epi8(words));
            _mm256_storeu_epi8(out.add(128).cast(), _mm512_cvtepi16_epi8(_mm512_srli_epi16::<8>(words)));
        }
    }
}

#[inline(always)]
fn first_of_16(n: usize) -> __mmask16 {
    !(u16::MAX.unbounded_shl(n as u32))
}

#[inline(always)]
fn first_of_32(n: usize) -> __mmask32 {
    !(u32::MAX.unbounded_shl(n as u32))
}

/// The sums of four vectors: of every 128-bit quarter `(l0 + l2) + (l1 + l3)`, of the quarters `(q0 + q2) + (q1 + q3)`.
#[inline(always)]
unsafe fn totals([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
    // SAFETY: needs nothing but the features; four floats are a vector of 128 bits.
    unsafe {
        let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
        let low = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
        let quarters = _mm512_add_ps(low, _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
        let halves = _mm256_add_ps(_mm512_castps512_ps256(quarters), _mm512_extractf32x8_ps::<1>(quarters));
        let sums = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
        std::mem::transmute(sums)
    }
}
