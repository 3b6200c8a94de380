//! Activations in 16-bit fixed point, the left side of products with packed weights: a product is
//! then a sum of integers for each group of weights, and only the groups are added up in f32.
//!
//! 128 neighbours share a power of two, with which the largest of them has 15 bits, twice as many
//! as bf16 has.

use crate::mat::Mat;
use crate::packing::{PACKED_GROUP, Packing};

/// Values that share a scale.
pub(crate) const FIXED_BLOCK: usize = 128;

/// The least biased exponent of f32 for which both scale and inverse are normal numbers; smaller
/// values lose bits.
const LEAST_EXPONENT: u32 = 15;

/// Adding and removing it rounds a number below 2^22 to an integer, which the low bits of the sum
/// hold in between.
const ROUND: f32 = 12_582_912.0;

/// Values in the order of a [`FixedOrder`], at the start of a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct FixedBlock([i16; FIXED_BLOCK]);

#[cfg(target_arch = "x86_64")]
impl FixedBlock {
    pub(crate) const ZERO: Self = Self([0; FIXED_BLOCK]);

    pub(crate) fn as_ptr(&self) -> *const i16 {
        self.0.as_ptr()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut i16 {
        self.0.as_mut_ptr()
    }
}

/// Rows of activations in fixed point.
pub(crate) struct FixedRows {
    order: &'static FixedOrder,
    /// `[m, ceil(k / 128)]`; zeros follow the last value of a row.
    blocks: Vec<FixedBlock>,
    /// The same blocks as kernels split them into bytes; empty if they do not.
    bytes: Vec<FixedBlock>,
    /// `[m, ceil(k / 128)]` powers of two.
    scales: Vec<f32>,
    /// `[m, row_sums]`: the sum of each group of 32 values, then zeros.
    sums: Vec<f32>,
    /// Blocks of a row.
    width: usize,
}

/// One row of [`FixedRows`].
#[derive(Clone, Copy)]
pub(crate) struct FixedRow<'a> {
    pub(crate) blocks: &'a [FixedBlock],
    /// One for each block.
    pub(crate) scales: &'a [f32],
    /// Sums of groups, scaled; zeros follow them up to a multiple of 16.
    pub(crate) sums: &'a [f32],
}

/// The places of the values of a block: kernels unpack weights from their bytes in this order.
pub(crate) struct FixedOrder {
    /// The place of each value.
    places: [u8; FIXED_BLOCK],
}

impl FixedOrder {
    /// The order for vectors of `lanes` words.
    ///
    /// Bytes of weights are loaded as such words. Those of int4 come apart into four vectors: of
    /// the four bits of each word from the lowest on. Those of int8 make two: low bytes, high
    /// bytes.
    pub(crate) const fn new(packing: Packing, lanes: usize) -> Self {
        let mut places = [0; FIXED_BLOCK];
        let vectors = match packing {
            Packing::Int4 => 4,
            Packing::Int8 => 2,
        };
        let step = vectors * lanes;
        let mut i = 0;
        while i < FIXED_BLOCK {
            let (group, weight) = (i % step / PACKED_GROUP, i % PACKED_GROUP);
            let (vector, word) = match packing {
                Packing::Int4 => {
                    let (byte, high) = (weight % 16, weight / 16);
                    (byte % 2 * 2 + high, 8 * group + byte / 2)
                }
                Packing::Int8 => (weight % 2, 16 * group + weight / 2),
            };
            places[i] = (i / step * step + vector * lanes + word) as u8;
            i += 1;
        }
        Self { places }
    }

    /// The values of a block in this order.
    #[inline(always)]
    pub(crate) fn arrange(&self, block: &[i16; FIXED_BLOCK]) -> FixedBlock {
        let mut ordered = FixedBlock([0; FIXED_BLOCK]);
        for (value, place) in block.iter().zip(&self.places) {
            ordered.0[usize::from(*place)] = *value;
        }
        ordered
    }
}

impl FixedRows {
    /// Rounds rows of `k` values. A block with a value that is not finite has the scale NaN.
    pub(crate) fn new(x: &[f32], k: usize, order: &'static FixedOrder) -> Self {
        Self::arranged(x, k, order, |block| order.arrange(block))
    }

    /// [`FixedRows::new`], where `arrange` brings blocks to `order`.
    ///
    /// It is inlined into functions that enable the features of an instruction set.
    #[inline(always)]
    pub(crate) fn arranged(
        x: &[f32],
        k: usize,
        order: &'static FixedOrder,
        arrange: impl Fn(&[i16; FIXED_BLOCK]) -> FixedBlock,
    ) -> Self {
        let (rows, width) = (x.len().checked_div(k).unwrap_or(0), k.div_ceil(FIXED_BLOCK));
        let mut blocks = Vec::with_capacity(rows * width);
        let mut scales = Vec::with_capacity(rows * width);
        let mut sums = Vec::with_capacity(rows * row_sums(width));
        for (row, x) in x.chunks(k.max(1)).enumerate() {
            for values in x.chunks(FIXED_BLOCK) {
                let mut block = [0.0; FIXED_BLOCK];
                block[..values.len()].copy_from_slice(values);
                let (block, scale) = round(&block);
                blocks.push(arrange(&block));
                scales.push(scale);
                for group in block.as_chunks::<PACKED_GROUP>().0 {
                    sums.push(group.iter().map(|v| i32::from(*v)).sum::<i32>() as f32 * scale);
                }
            }
            sums.resize((row + 1) * row_sums(width), 0.0);
        }
        Self { order, blocks, bytes: Vec::new(), scales, sums, width }
    }

    /// Blocks of a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Keeps `split` of every block beside it.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn split_blocks(&mut self, split: impl FnMut(&FixedBlock) -> FixedBlock) {
        self.bytes = self.blocks.iter().map(split).collect();
    }

    /// Whether blocks were split.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn are_split(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The blocks of row `row` as they were split.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn bytes(&self, row: usize) -> &[FixedBlock] {
        &self.bytes[row * self.width..][..self.width]
    }

    /// Row `row`.
    ///
    /// It is inlined, because a result in memory is read before it has been written.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> FixedRow<'_> {
        let sums = row_sums(self.width);
        FixedRow {
            blocks: &self.blocks[row * self.width..][..self.width],
            scales: &self.scales[row * self.width..][..self.width],
            sums: &self.sums[row * sums..][..sums],
        }
    }

    /// The plain product of row `row` with row `n` of a packed matrix.
    pub(crate) fn dot(&self, row: usize, w: &Mat, n: usize) -> f32 {
        let (packing, scales) = w.packed_row(n).expect("fixed point is for packed weights");
        let (x, quants) = (self.row(row), w.row_bytes(n));
        let mut sum = 0.0;
        for group in 0..w.cols() / PACKED_GROUP {
            let mut dot = 0;
            for k in group * PACKED_GROUP..(group + 1) * PACKED_GROUP {
                dot += self.fixed(x, k) * packing.quant(quants, k);
            }
            let (scale, offset) = scales.group(group);
            let block = group * PACKED_GROUP / FIXED_BLOCK;
            sum += dot as f32 * scale * x.scales[block] + x.sums[group] * offset;
        }
        sum
    }

    /// Value `k` of a row, an integer.
    fn fixed(&self, row: FixedRow<'_>, k: usize) -> i32 {
        row.blocks[k / FIXED_BLOCK].0[usize::from(self.order.places[k % FIXED_BLOCK])].into()
    }

    /// Value `k` of row `row` and its scale.
    #[cfg(test)]
    pub(crate) fn value(&self, row: usize, k: usize) -> (f32, f32) {
        let row = self.row(row);
        let scale = row.scales[k / FIXED_BLOCK];
        (self.fixed(row, k) as f32 * scale, scale)
    }
}

/// Sums of a row of `width` blocks: of all their groups, in vectors of 16.
fn row_sums(width: usize) -> usize {
    (width * FIXED_BLOCK / PACKED_GROUP).next_multiple_of(16)
}

/// The integers of a block, to nearest, and their scale.
#[inline(always)]
fn round(values: &[f32; FIXED_BLOCK]) -> ([i16; FIXED_BLOCK], f32) {
    // Bits of magnitudes are ordered as these are, and NaN is the largest.
    let largest = values.iter().fold(0, |largest: u32, v| largest.max(v.abs().to_bits()));
    let exponent = (largest >> 23).max(LEAST_EXPONENT);
    let scale = if exponent == 255 { f32::NAN } else { f32::from_bits((exponent - 14) << 23) };
    let inverse = f32::from_bits((268 - exponent) << 23);
    (values.map(|v| ((v * inverse).min(f32::from(i16::MAX)) + ROUND).to_bits() as i16), scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    static ORDER: FixedOrder = FixedOrder::new(Packing::Int4, 32);

    fn rows(x: &[f32], k: usize) -> FixedRows {
        FixedRows::new(x, k, &ORDER)
    }

    #[test]
    fn values_are_rounded_to_sixteen_bits_of_the_largest() {
        let x: Vec<f32> = (0..300).map(|i| (i as f32 * 0.37).sin() * 2.0f32.powi(i / 100 * 20 - 30)).collect();
        let fixed = rows(&x, 150);
        for (i, x) in x.iter().enumerate() {
            let (value, scale) = fixed.value(i / 150, i % 150);
            // The largest integer also stands for what is up to a whole step larger.
            let bound = if value == 32_767.0 * scale { scale } else { scale / 2.0 };
            assert!((value - x).abs() <= bound, "{x} became {value} at a scale of {scale}");
        }
        let largest = x[..128].iter().fold(0.0f32, |a, v| a.max(v.abs()));
        assert!(fixed.value(0, 0).1 <= largest / 16_384.0);
    }

    #[test]
    fn integers_and_the_ends_of_the_range_come_back() {
        for x in [0.0, 1.0, -3.0, 12_345.0, -32_768.0, 1.5e38, -1e-37] {
            let (value, scale) = rows(&[x; 40], 40).value(0, 39);
            assert!((value - x).abs() <= scale, "{x} became {value}");
        }
        // Above the largest integer by less than one: the nearest integer is the next power of two.
        assert_eq!(rows(&[32_767.9], 1).value(0, 0), (32_767.0, 1.0));
        assert_eq!(rows(&[1e-44], 1).value(0, 0).0, 0.0);
    }

    #[test]
    fn what_is_not_finite_makes_its_block_nan_and_no_other() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 256];
            x[200] = bad;
            let fixed = rows(&x, 256);
            assert!(fixed.value(0, 130).0.is_nan());
            assert_eq!(fixed.value(0, 3).0, 1.0);
        }
    }

    #[test]
    fn every_order_has_a_place_for_every_value() {
        for packing in [Packing::Int4, Packing::Int8] {
            for lanes in [16, 32] {
                let mut places = FixedOrder::new(packing, lanes).places;
                places.sort_unstable();
                assert!(places.iter().enumerate().all(|(i, place)| usize::from(*place) == i));
            }
        }
    }
}
