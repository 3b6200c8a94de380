//! Packing: rounds rows of f32 to the formats of [`Packing`]. The result depends only on the row.

use half::f16;

use crate::packing::{FACTORS, PACKED_GROUP, PackError, Packed, Packing, check_width};

/// The largest quant of int4.
const INT4_MAX: usize = 15;

/// The largest magnitude of a quant of int8.
const INT8_MAX: f32 = 127.0;

/// Parts of a group's range that are cut off at either end before scale and offset are fitted.
const CUTS: [f32; 3] = [0.0, 0.04, 0.09];

/// Fits of scale and offset from each start.
const FITS: usize = 3;

/// Scales that are tried for a group of quantized weights.
const EXACT_SCALES: u16 = 64;

/// The weights of a group, divided by the factor of their row.
type Group = [f32; PACKED_GROUP];

/// Rounds `row` to `packing` and appends it to `out`.
///
/// A group of int4 that already has the form `scale * q + offset` keeps its values, such as a
/// Q4_1 block of a GGUF file; for others, the squared error is minimised. int8 scales its largest
/// magnitude to 127.
///
/// # Errors
/// A row whose length is not a multiple of 32, or more than 65,536; a weight that is not finite, or
/// 2^100 or more. `out` is unchanged then.
pub fn pack_row(packing: Packing, row: &[f32], out: &mut Packed<Vec<u8>>) -> Result<(), PackError> {
    check_width(row.len())?;
    if let Some(column) = row.iter().position(|v| v.is_nan() || v.abs() >= FACTORS.1) {
        return Err(PackError::Weight { column, value: row[column] });
    }
    let factor = row_factor(row);
    for group in row.as_chunks::<PACKED_GROUP>().0 {
        let group = group.map(|v| v / factor);
        match packing {
            Packing::Int4 => {
                let Int4Group { scale, offset, quants } = pack_int4(&group);
                let (low, high) = quants.split_at(PACKED_GROUP / 2);
                out.quants.extend(low.iter().zip(high).map(|(low, high)| *low as u8 | (*high as u8) << 4));
                out.scales.extend(scale.to_le_bytes());
                out.offsets.extend(offset.to_le_bytes());
            }
            Packing::Int8 => {
                let amax = group.iter().fold(0.0f32, |amax, v| amax.max(v.abs()));
                let scale = f16::from_f32(amax / INT8_MAX);
                let quant = |v: f32| (v / scale.to_f32()).round().clamp(-INT8_MAX, INT8_MAX);
                // A scale of 0 makes weights of 0: NaN becomes 0 as an integer.
                out.quants.extend(group.map(|v| (quant(v) as i8).cast_unsigned()));
                out.scales.extend(scale.to_le_bytes());
            }
        }
    }
    out.factors.extend(factor.to_le_bytes());
    Ok(())
}

/// The power of two that brings the largest magnitude of a row below 2^10, where f16 is precise:
/// scales and offsets may be 2^24 times smaller before they lose bits. Rows of larger weights are
/// divided only as far as f16 requires, because that is what could cost an exact group bits.
fn row_factor(row: &[f32]) -> f32 {
    let amax = row.iter().fold(0.0f32, |amax, v| amax.max(v.abs()));
    if amax == 0.0 {
        return 1.0;
    }
    let exponent = (amax.to_bits() >> 23) as i32 - 127;
    let factor = (exponent - 9).min(0).max(exponent - 14).max(-100);
    f32::from_bits(((factor + 127) as u32) << 23)
}

/// A group of int4 weights: `scale * quant + offset`, `quant` an integer in 0..=15.
struct Int4Group {
    scale: f16,
    offset: f16,
    quants: Group,
}

impl Int4Group {
    /// The nearest quants for `scale` and `offset`, and the sum of squared errors.
    fn nearest(x: &Group, scale: f16, offset: f16) -> (Self, f32) {
        // Adding and removing 2^23 rounds to integers.
        const ROUND: f32 = 8_388_608.0;
        let (s, o) = (scale.to_f32(), offset.to_f32());
        let inverse = if s == 0.0 { 0.0 } else { s.recip() };
        let quants = x.map(|x| ((x - o) * inverse).clamp(0.0, INT4_MAX as f32) + ROUND - ROUND);
        // Sixteen sums that do not wait for each other.
        let mut errors = [0.0f32; 16];
        for i in 0..PACKED_GROUP {
            let error = x[i] - (s * quants[i] + o);
            errors[i % 16] += error * error;
        }
        (Self { scale, offset, quants }, errors.iter().sum())
    }

    /// Scale and offset that minimise the squared error of these quants, rounded to f16; `None` if
    /// all quants are equal.
    fn fit(&self, x: &Group) -> Option<(f16, f16)> {
        let n = PACKED_GROUP as f32;
        let (mut q1, mut q2, mut x1, mut qx) = ([0.0f32; 8], [0.0f32; 8], [0.0f32; 8], [0.0f32; 8]);
        for i in 0..PACKED_GROUP {
            let (q, x) = (self.quants[i], x[i]);
            q1[i % 8] += q;
            q2[i % 8] += q * q;
            x1[i % 8] += x;
            qx[i % 8] += q * x;
        }
        let [q1, q2, x1, qx] = [q1, q2, x1, qx].map(|sums| sums.iter().sum::<f32>());
        let spread = n * q2 - q1 * q1;
        if spread <= 0.0 {
            return None;
        }
        let scale = f16::from_f32((n * qx - q1 * x1) / spread);
        Some((scale, f16::from_f32((x1 - scale.to_f32() * q1) / n)))
    }
}

/// Chooses scale, offset and quants of a group.
fn pack_int4(x: &Group) -> Int4Group {
    if let Some(exact) = exact_int4(x) {
        return exact;
    }
    let (low, high) = x.iter().fold((x[0], x[0]), |(low, high), v| (low.min(*v), high.max(*v)));
    let range = high - low;
    let (mut best, mut least) = (None, f32::INFINITY);
    for below in CUTS {
        for above in CUTS {
            let offset = low + below * range;
            let scale = (high - above * range - offset) / INT4_MAX as f32;
            let mut candidate = (f16::from_f32(scale), f16::from_f32(offset));
            for _ in 0..=FITS {
                let (group, error) = Int4Group::nearest(x, candidate.0, candidate.1);
                let fit = group.fit(x);
                if error < least {
                    (best, least) = (Some(group), error);
                }
                match fit {
                    Some(fit) if fit != candidate => candidate = fit,
                    _ => break,
                }
            }
        }
    }
    best.expect("scale and offset of the whole range are finite, and so is their error")
}

/// The scale and offset with which every weight of the group is exact, if there are any.
fn exact_int4(x: &Group) -> Option<Int4Group> {
    let mut values = *x;
    values.sort_unstable_by(f32::total_cmp);
    let (low, high) = (values[0], values[PACKED_GROUP - 1]);
    if low == high {
        let offset = f16::from_f32(low);
        return (offset.to_f32() == low).then_some(Int4Group { scale: f16::ZERO, offset, quants: [0.0; PACKED_GROUP] });
    }
    let distinct = 1 + values.windows(2).filter(|pair| pair[0] != pair[1]).count();
    for span in (distinct - 1..=INT4_MAX).rev() {
        // The weights were rounded to f32 when they were unpacked.
        let (range, rounding) =
            (f64::from(high) - f64::from(low), (f64::from(low).abs() + f64::from(high).abs()) / 1e7);
        let scales = [range - rounding, range + rounding].map(|range| f16::from_f64(range / span as f64).to_bits());
        for scale in (scales[0]..=scales[1]).take(EXACT_SCALES.into()).map(f16::from_bits) {
            for first in 0..=INT4_MAX - span {
                let offset = f16::from_f32(low - scale.to_f32() * first as f32);
                let (group, error) = Int4Group::nearest(x, scale, offset);
                if error == 0.0 {
                    return Some(group);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mat::Mat;

    fn packed(packing: Packing, cols: usize, rows: &[f32]) -> Packed<Vec<u8>> {
        let mut parts = Packed::default();
        rows.chunks(cols).for_each(|row| pack_row(packing, row, &mut parts).expect("finite rows of whole groups"));
        parts
    }

    fn round_trip(packing: Packing, cols: usize, rows: &[f32]) -> Vec<f32> {
        let parts = packed(packing, cols, rows);
        Mat::packed(rows.len() / cols, cols, packing, parts.into()).expect("what was packed").to_f32()
    }

    /// About normally distributed values.
    fn weights(n: usize) -> Vec<f32> {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5
        };
        (0..n).map(|_| (0..6).map(|_| uniform()).sum::<f32>() * 0.05).collect()
    }

    /// `|a - b| / |b|` in the Euclidean norm.
    fn relative_error(a: &[f32], b: &[f32]) -> f32 {
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
        norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
    }

    #[test]
    fn packed_weights_are_as_close_as_their_bits_allow() {
        let row = weights(64 * 576);
        for (packing, bound) in [(Packing::Int4, 0.074), (Packing::Int8, 0.0055)] {
            let error = relative_error(&round_trip(packing, 576, &row), &row);
            assert!(error < bound && error > 0.9 * bound, "{packing:?}: {error}");
        }
    }

    #[test]
    fn a_row_of_tiny_weights_loses_as_much_as_any_other() {
        let row = weights(576);
        for packing in [Packing::Int4, Packing::Int8] {
            let packed = round_trip(packing, 576, &row);
            for exponent in [-100, -60, -17, -1, 1, 12, 60] {
                let factor = 2.0f32.powi(exponent);
                let scaled: Vec<f32> = row.iter().map(|v| v * factor).collect();
                let want: Vec<f32> = packed.iter().map(|v| v * factor).collect();
                assert_eq!(round_trip(packing, 576, &scaled), want, "{packing:?} times 2^{exponent}");
            }
        }
    }

    #[test]
    fn rows_of_very_different_groups_keep_the_small_ones() {
        let mut row = weights(64);
        row[..32].iter_mut().for_each(|v| *v *= 1000.0);
        row[32..].iter_mut().for_each(|v| *v *= 0.01);
        for (packing, bound) in [(Packing::Int4, 0.1), (Packing::Int8, 0.01)] {
            let error = relative_error(&round_trip(packing, 64, &row)[32..], &row[32..]);
            assert!(error < bound, "{packing:?}: {error}");
        }
    }

    #[test]
    fn zeros_and_constants_are_exact() {
        for value in [0.0, 1.0, -0.375, 2.0f32.powi(-20)] {
            assert_eq!(round_trip(Packing::Int4, 64, &[value; 64]), [value; 64]);
        }
        assert_eq!(round_trip(Packing::Int8, 64, &[0.0; 64]), [0.0; 64]);
    }

    #[test]
    fn a_byte_holds_weight_i_low_and_weight_i_plus_16_high() {
        // Weight `i` is `i / 2`, so quants 0 to 15 come in pairs.
        let row: Vec<f32> = (0..32).map(|i| (i / 2) as f32).collect();
        let parts = packed(Packing::Int4, 32, &row);
        assert_eq!(
            parts.quants,
            [0x80, 0x80, 0x91, 0x91, 0xa2, 0xa2, 0xb3, 0xb3, 0xc4, 0xc4, 0xd5, 0xd5, 0xe6, 0xe6, 0xf7, 0xf7]
        );
        // 15 is raised to 960 by a factor of 2^-6.
        assert_eq!(parts.factors, 0.015_625f32.to_le_bytes());
        assert_eq!((parts.scales, parts.offsets), (f16::from_f32(64.0).to_le_bytes().into(), vec![0, 0]));
        assert_eq!(Packing::Int4.row_bytes(32), 16 + 2 + 2 + 4);
    }

    #[test]
    fn what_cannot_be_packed_is_refused_and_leaves_nothing() {
        for packing in [Packing::Int4, Packing::Int8] {
            let mut parts = Packed::default();
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0f32.powi(100), -f32::MAX] {
                let mut row = vec![1.0; 64];
                row[40] = value;
                let error = pack_row(packing, &row, &mut parts).unwrap_err();
                assert!(matches!(error, PackError::Weight { column: 40, .. }), "{error}");
            }
            let error = pack_row(packing, &[1.0; 48], &mut parts).unwrap_err();
            assert_eq!(error, PackError::Width { cols: 48 });
            assert_eq!(parts, Packed::default());
        }
    }

    proptest! {
        #[test]
        fn q4_1_blocks_come_back_bit_for_bit(
            blocks in prop::collection::vec((0.0001f32..0.2, -2.0f32..2.0, prop::array::uniform32(0u8..16)), 1..8),
            exponent in -20i32..5,
        ) {
            // `d * q + m` as llama.cpp computes it, with all quants that a block may have.
            let factor = 2.0f32.powi(exponent);
            let row: Vec<f32> = blocks.iter().flat_map(|(d, m, quants)| {
                let [d, m] = [d, m].map(|v| f16::from_f32(*v).to_f32() * factor);
                quants.map(|q| d * f32::from(q) + m)
            }).collect();
            prop_assert_eq!(round_trip(Packing::Int4, row.len(), &row), row);
        }

        #[test]
        fn packing_what_was_unpacked_changes_nothing(seed in 0usize..1000, exponent in -30i32..30) {
            let row: Vec<f32> = weights(1000 + 576)[seed..][..576].iter().map(|v| v * 2.0f32.powi(exponent)).collect();
            for packing in [Packing::Int4, Packing::Int8] {
                let once = round_trip(packing, 576, &row);
                prop_assert_eq!(round_trip(packing, 576, &once), once);
            }
        }
    }
}
