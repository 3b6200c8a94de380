//! Attention over cached rows, AMX: 16 rows are multiplied with 16 heads at once.
//!
//! The sums of an element are those of the tile instructions, in the order of its numbers, whatever
//! else a tile holds.

use std::arch::x86_64::*;

use super::attention_avx512::{self, softmax_step};
use super::avx512::first_of_16;
use super::heads_avx512::{Bf16, pack};
use super::tiles::{ROW_BYTES, TILE, Tiles, tile_dot, tile_load, tile_store, tile_zero};
use crate::arena::Arena;
use crate::partial_softmax::{AttentionPart, BLOCK_ROWS};
use crate::scratch;

/// Numbers of a row of a tile.
const NUMBERS: usize = ROW_BYTES / 2;

/// Attention over one part; `rounded`: with bf16 products.
///
/// # Safety
/// The features are there, and tiles are available.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx2,fma,f16c")]
pub(super) unsafe fn partial(part: &AttentionPart<'_>, rounded: bool, out: &mut [f32]) {
    if !rounded {
        // SAFETY: the features are the caller's promise.
        return unsafe { attention_avx512::partial(part, rounded, out) };
    }
    let (latent, width) = (part.latents.width(), part.latents.width() + part.rope_keys.width());
    let heads = part.heads;
    assert!(
        part.queries.len() == heads * width && out.len() == heads * (latent + 2) && !part.slots.is_empty(),
        "a query and sums for every head"
    );
    let (sums, rest) = out.split_at_mut(heads * latent);
    let (maxima, totals) = rest.split_at_mut(heads);
    let mut buffers = Buffers::new(latent, width);
    for first in (0..heads).step_by(TILE) {
        let n = TILE.min(heads - first);
        let queries = &part.queries[first * width..][..n * width];
        // SAFETY: the features are the caller's promise, and the buffers those of this width.
        unsafe { buffers.some_heads(part, queries, n) };
        // SAFETY: as above.
        unsafe { buffers.write_sums(&mut sums[first * latent..][..n * latent], latent) };
        maxima[first..][..n].copy_from_slice(&buffers.maxima.0[..n]);
        totals[first..][..n].copy_from_slice(&buffers.totals.0[..n]);
    }
}

/// A number for each head of a tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct PerHead([f32; TILE]);

/// The rows of a block, as tiles read them.
#[derive(Clone, Copy)]
struct TileRows {
    /// The first row, and bytes from row to row: of the numbers in whole tiles of the latent, and
    /// of those that follow.
    latent: (*const u8, usize),
    rest: (*const u8, usize),
}

/// Working memory. Sums have the columns of each 32 in the order in which two rows are interleaved.
struct Buffers {
    memory: scratch::ScratchBuffer,
    /// Numbers of a row in whole tiles, and of a latent.
    width: usize,
    latent: usize,
    maxima: PerHead,
    totals: PerHead,
    factors: PerHead,
}

/// The parts of [`Buffers::memory`], each at the start of a cache line.
struct Parts {
    /// `[width / 2, 16]`: pairs of numbers of 16 queries.
    queries: *mut f32,
    /// `[64, 16]` scores, then pairs of weights.
    scores: *mut f32,
    /// `[16, 32]`: pairs of weights of each head.
    weights: *mut f32,
    /// `[32, 32]`: 32 columns of 32 pairs of rows.
    pairs: *mut f32,
    /// `[16, latent]`
    sums: *mut f32,
    /// `[64, width]` in bf16.
    rows: *mut u8,
}

impl Buffers {
    fn new(latent: usize, width: usize) -> Self {
        let (latent, width) = (latent.next_multiple_of(NUMBERS), width.next_multiple_of(NUMBERS));
        let units = BLOCK_ROWS * width / 2;
        let len = width / 2 * TILE + BLOCK_ROWS * TILE + TILE * 32 + 32 * 32 + TILE * latent + units + TILE;
        let none = PerHead([0.0; TILE]);
        Self { memory: scratch::borrow(len), width, latent, maxima: none, totals: none, factors: none }
    }

    fn parts(&mut self) -> Parts {
        let start = self.memory.as_mut_ptr();
        let queries = start.wrapping_add(start.align_offset(ROW_BYTES));
        let scores = queries.wrapping_add(self.width / 2 * TILE);
        let weights = scores.wrapping_add(BLOCK_ROWS * TILE);
        let pairs = weights.wrapping_add(TILE * 32);
        let sums = pairs.wrapping_add(32 * 32);
        let rows = sums.wrapping_add(TILE * self.latent).cast();
        Parts { queries, scores, weights, pairs, sums, rows }
    }

    /// Attention of `heads` heads over all rows of the part.
    #[inline(always)]
    unsafe fn some_heads(&mut self, part: &AttentionPart<'_>, queries: &[f32], heads: usize) {
        let width = part.latents.width() + part.rope_keys.width();
        let to = self.parts();
        self.maxima = PerHead([f32::NEG_INFINITY; TILE]);
        self.totals = PerHead([0.0; TILE]);
        // SAFETY: the parts are as large as their shapes say; features and tiles are the caller's
        // promise.
        unsafe {
            to.queries.write_bytes(0, self.width / 2 * TILE);
            to.sums.write_bytes(0, TILE * self.latent);
            pack::<Bf16>(queries, width, to.queries.cast(), TILE);
            let (whole, of_heads) = ((16, 64), (heads as u8, 64));
            let _tiles = Tiles::new([whole, whole, whole, whole, whole, whole, of_heads, of_heads]);
            for slots in part.slots.chunks(BLOCK_ROWS) {
                let mut rows = [TileRows { latent: (to.rows, 0), rest: (to.rows, 0) }; BLOCK_ROWS / TILE];
                for (group, slots) in slots.chunks(TILE).enumerate() {
                    let buffer = to.rows.add(group * TILE * 2 * self.width);
                    rows[group] = self.tile_rows(part, slots, buffer);
                }
                let groups = slots.len().div_ceil(TILE);
                self.scores(&to, &rows, groups, part.latents.width() / NUMBERS);
                let scale = _mm512_set1_ps(part.scale);
                for j in 0..slots.len() {
                    let scores = to.scores.add(j * TILE);
                    _mm512_store_ps(scores, _mm512_mul_ps(_mm512_load_ps(scores), scale));
                }
                let state = [&mut self.maxima, &mut self.totals, &mut self.factors].map(|v| v.0.as_mut_ptr());
                softmax_step::<Bf16>(to.scores, TILE, slots.len(), state);
                self.add_values(&to, &rows, slots.len(), heads, part.latents);
            }
        }
    }

    /// Rows of up to 16 slots: in place if they follow each other and fill their tiles, else copied
    /// to `buffer`.
    #[inline(always)]
    unsafe fn tile_rows(&self, part: &AttentionPart<'_>, slots: &[usize], buffer: *mut u8) -> TileRows {
        let (latents, rope_keys) = (part.latents, part.rope_keys);
        let (latent, rope) = (latents.row_bytes(), rope_keys.row_bytes());
        let whole = latent.is_multiple_of(ROW_BYTES) && rope.is_multiple_of(ROW_BYTES) && slots.len() == TILE;
        if whole && slots.windows(2).all(|pair| pair[0] + 1 == pair[1]) {
            let (latents, rope_keys) = (latents.rows(slots[0], TILE), rope_keys.rows(slots[0], TILE));
            return TileRows { latent: (latents.as_ptr(), latent), rest: (rope_keys.as_ptr(), rope) };
        }
        let stride = 2 * self.width;
        for j in 0..TILE {
            let slot = slots[j.min(slots.len() - 1)];
            // SAFETY: the buffer has room for 16 rows of whole tiles.
            unsafe {
                let to = buffer.add(j * stride);
                copy(latents.rows(slot, 1), to);
                copy(rope_keys.rows(slot, 1), to.add(latent));
                to.add(latent + rope).write_bytes(0, stride - latent - rope);
            }
        }
        let rest = buffer.wrapping_add(latent / ROW_BYTES * ROW_BYTES);
        TileRows { latent: (buffer, stride), rest: (rest, stride) }
    }

    /// Products of the queries with the rows of `groups` tiles, to `scores`; the latent has `whole`
    /// whole tiles.
    #[inline(always)]
    unsafe fn scores(&self, to: &Parts, rows: &[TileRows; BLOCK_ROWS / TILE], groups: usize, whole: usize) {
        macro_rules! multiply {
            ($group:tt, $chunk:expr) => {
                if $group < groups {
                    let TileRows { latent, rest } = rows[$group];
                    let (from, stride) = if $chunk < whole {
                        (latent.0.wrapping_add($chunk * ROW_BYTES), latent.1)
                    } else {
                        (rest.0.wrapping_add(($chunk - whole) * ROW_BYTES), rest.1)
                    };
                    tile_load!(4, from, stride);
                    tile_dot!("tdpbf16ps", $group, 4, 5);
                }
            };
        }
        macro_rules! store {
            ($group:tt) => {
                if $group < groups {
                    tile_store!($group, to.scores.add($group * TILE * TILE), ROW_BYTES);
                }
            };
        }
        // SAFETY: the rows have `width` numbers, and so have the queries.
        unsafe {
            tile_zero!(0);
            tile_zero!(1);
            tile_zero!(2);
            tile_zero!(3);
            for chunk in 0..self.width / NUMBERS {
                tile_load!(5, to.queries.add(chunk * TILE * TILE), ROW_BYTES);
                multiply!(0, chunk);
                multiply!(1, chunk);
                multiply!(2, chunk);
                multiply!(3, chunk);
            }
            store!(0);
            store!(1);
            store!(2);
            store!(3);
        }
    }

    /// `sums = sums * factor + weights * latents` for `n` rows.
    #[inline(always)]
    unsafe fn add_values(
        &self,
        to: &Parts,
        rows: &[TileRows; BLOCK_ROWS / TILE],
        n: usize,
        heads: usize,
        latents: &Arena,
    ) {
        const STRIDE: usize = 2 * ROW_BYTES;
        let (latent, stride) = (self.latent, self.latent * 4);
        let halves = n.div_ceil(NUMBERS);
        // SAFETY: the parts are as large as their shapes say.
        unsafe {
            let steps = _mm512_mullo_epi32(
                _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                _mm512_set1_epi32(TILE as i32),
            );
            for head in 0..heads {
                for half in 0..halves {
                    let used = first_of_16((n.div_ceil(2) - half * TILE).min(TILE));
                    let pairs = to.scores.add(half * TILE * TILE + head).cast();
                    let pairs = _mm512_mask_i32gather_epi32::<4>(_mm512_setzero_si512(), used, steps, pairs);
                    _mm512_store_epi32(to.weights.add(head * 32 + half * TILE).cast(), pairs);
                }
                let factor = _mm512_set1_ps(self.factors.0[head]);
                for column in (0..latent).step_by(TILE) {
                    let sums = to.sums.add(head * latent + column);
                    _mm512_store_ps(sums, _mm512_mul_ps(_mm512_load_ps(sums), factor));
                }
            }
            for column in (0..latent).step_by(NUMBERS) {
                let used = !u32::MAX.unbounded_shl((latents.width() - column).min(NUMBERS) as u32);
                let row = |j: usize| {
                    let (first, stride) = rows[j / TILE].latent;
                    first.wrapping_add(j % TILE * stride + column * 2).cast()
                };
                for pair in 0..halves * TILE {
                    let a = _mm512_maskz_loadu_epi16(used, row((2 * pair).min(n - 1)));
                    let b = _mm512_maskz_loadu_epi16(used, row((2 * pair + 1).min(n - 1)));
                    let at = to.pairs.add(pair * 2 * TILE);
                    _mm512_store_epi32(at.cast(), _mm512_unpacklo_epi16(a, b));
                    _mm512_store_epi32(at.add(TILE).cast(), _mm512_unpackhi_epi16(a, b));
                }
                for part in [0, TILE] {
                    let (sums, pairs) = (to.sums.add(column + part), to.pairs.add(part));
                    tile_load!(6, sums, stride);
                    tile_load!(7, to.weights, STRIDE);
                    tile_load!(0, pairs, STRIDE);
                    tile_dot!("tdpbf16ps", 6, 7, 0);
                    if halves == 2 {
                        tile_load!(7, to.weights.add(TILE), STRIDE);
                        tile_load!(1, pairs.add(TILE * 2 * TILE), STRIDE);
                        tile_dot!("tdpbf16ps", 6, 7, 1);
                    }
                    tile_store!(6, sums, stride);
                }
            }
        }
    }

    /// Writes the sums, rows of `latent` numbers, in the order of their columns.
    #[inline(always)]
    unsafe fn write_sums(&mut self, out: &mut [f32], latent: usize) {
        let from = self.parts().sums;
        for (head, out) in out.chunks_exact_mut(latent).enumerate() {
            for (block, out) in out.chunks_mut(NUMBERS).enumerate() {
                // SAFETY: the sums are whole blocks; only as many numbers are written as there are.
                unsafe {
                    let at = from.add(head * self.latent + block * NUMBERS);
                    let (low, high) = (_mm512_load_ps(at), _mm512_load_ps(at.add(TILE)));
                    let order = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
                    let next = _mm512_add_epi32(order, _mm512_set1_epi32(8));
                    let n = out.len();
                    let to = out.as_mut_ptr();
                    _mm512_mask_storeu_ps(to, first_of_16(n.min(16)), _mm512_permutex2var_ps(low, order, high));
                    let rest = first_of_16(n.saturating_sub(16));
                    _mm512_mask_storeu_ps(to.wrapping_add(16), rest, _mm512_permutex2var_ps(low, next, high));
                }
            }
        }
    }
}

/// Copies the numbers of a row.
#[inline(always)]
unsafe fn copy(row: &[u8], to: *mut u8) {
    let row = row.as_chunks::<2>().0;
    for (i, numbers) in row.chunks(NUMBERS).enumerate() {
        // SAFETY: only as many numbers are copied as there are, to where the caller has room.
        unsafe {
            let used = !u32::MAX.unbounded_shl(numbers.len() as u32);
            let v = _mm512_maskz_loadu_epi16(used, numbers.as_ptr().cast());
            _mm512_mask_storeu_epi16(to.add(i * ROW_BYTES).cast(), used, v);
        }
    }
}
