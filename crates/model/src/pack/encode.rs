//! Rounds rows of f32 to the formats of packed weights.

use kernels::{DType, Packed, Packing, SCALE_BLOCK, fp8_from_f32, pack_row, round_bf16};

/// The largest finite e4m3 number.
const FP8_MAX: f32 = 448.0;

/// The bytes of consecutive rows in each tensor of a format, in the order of
/// [`weights::matrix_tensors`].
pub(crate) type EncodedRows = Vec<Vec<u8>>;

/// A weight that cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RefusedWeight {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) value: f32,
}

/// Finds the first weight that is not a finite number. `cols` is the width of a row.
pub(crate) fn check_finite(values: &[f32], cols: usize) -> Result<(), RefusedWeight> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(RefusedWeight { row: at / cols, column: at % cols, value: values[at] }),
        None => Ok(()),
    }
}

/// Rounds rows of `cols` finite weights. For fp8, the first row must be the first of a block of
/// 128; `ue8m0` chooses scales that are powers of two.
///
/// # Errors
/// A weight that is too large for the format.
pub(crate) fn encode(dtype: DType, ue8m0: bool, cols: usize, values: &[f32]) -> Result<EncodedRows, RefusedWeight> {
    match dtype {
        DType::Fp8 => Ok(encode_fp8(ue8m0, cols, values)),
        DType::Int8 => encode_packed(Packing::Int8, cols, values),
        DType::Int4 => encode_packed(Packing::Int4, cols, values),
        DType::Bf16 | DType::F16 | DType::F32 => encode_bf16(cols, values),
    }
}

fn encode_bf16(cols: usize, values: &[f32]) -> Result<EncodedRows, RefusedWeight> {
    let mut bytes = Vec::with_capacity(2 * values.len());
    for (at, value) in values.iter().enumerate() {
        let rounded = round_bf16(*value);
        if rounded.is_infinite() {
            return Err(RefusedWeight { row: at / cols, column: at % cols, value: *value });
        }
        bytes.extend(((rounded.to_bits() >> 16) as u16).to_le_bytes());
    }
    Ok(vec![bytes])
}

fn encode_packed(packing: Packing, cols: usize, values: &[f32]) -> Result<EncodedRows, RefusedWeight> {
    let mut parts = Packed::default();
    for (row, values) in values.chunks(cols).enumerate() {
        pack_row(packing, values, &mut parts).map_err(|_| {
            // Widths and infinities are checked before: a weight is too large.
            let largest = |a: &usize, b: &usize| values[*a].abs().total_cmp(&values[*b].abs());
            let column = (0..cols).max_by(largest).unwrap_or_default();
            RefusedWeight { row, column, value: values[column] }
        })?;
    }
    let Packed { quants, scales, offsets, factors } = parts;
    Ok(if packing.has_offsets() { vec![quants, scales, offsets, factors] } else { vec![quants, scales, factors] })
}

/// fp8 with one scale for each block of 128 x 128.
fn encode_fp8(ue8m0: bool, cols: usize, values: &[f32]) -> EncodedRows {
    let blocks = cols.div_ceil(SCALE_BLOCK);
    let (mut bytes, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
    for band in values.chunks(SCALE_BLOCK * cols) {
        let mut amax = vec![0.0f32; blocks];
        for row in band.chunks(cols) {
            for (amax, block) in amax.iter_mut().zip(row.chunks(SCALE_BLOCK)) {
                *amax = block.iter().fold(*amax, |amax, value| amax.max(value.abs()));
            }
        }
        let block_scales: Vec<f32> = amax.iter().map(|amax| fp8_scale(*amax, ue8m0)).collect();
        for row in band.chunks(cols) {
            for (scale, block) in block_scales.iter().zip(row.chunks(SCALE_BLOCK)) {
                bytes.extend(block.iter().map(|value| fp8_from_f32(value / scale)));
            }
        }
        scales.extend(block_scales.iter().flat_map(|scale| scale.to_le_bytes()));
    }
    vec![bytes, scales]
}

/// The multiplier of a block whose largest magnitude is `amax`: `amax / 448`, or the next power of
/// two above it. Blocks of very small weights keep their precision: the scale is not bounded from
/// below, except by the smallest normal f32.
fn fp8_scale(amax: f32, ue8m0: bool) -> f32 {
    if amax == 0.0 {
        return 1.0;
    }
    let scale = (amax / FP8_MAX).max(f32::MIN_POSITIVE);
    if !ue8m0 || scale.to_bits() & 0x7f_ffff == 0 {
        return scale;
    }
    f32::from_bits(((scale.to_bits() >> 23) + 1) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fp8_scales_are_those_of_the_releases() {
        assert_eq!(fp8_scale(448.0, true), 1.0);
        assert_eq!(fp8_scale(449.0, true), 2.0);
        assert_eq!(fp8_scale(0.0, true), 1.0);
        assert_eq!(fp8_scale(896.0, false), 2.0);
        assert_eq!(fp8_scale(448.0 * 2.0f32.powi(-40), true), 2.0f32.powi(-40));
        assert_eq!(fp8_scale(1e-44, true), f32::MIN_POSITIVE);
    }

    #[test]
    fn fp8_blocks_have_a_scale_each() {
        let mut values = vec![1.0f32; 130 * 130];
        values[129 * 130 + 129] = 448.0 * 4.0;
        let parts = encode(DType::Fp8, true, 130, &values).unwrap();
        assert_eq!((parts[0].len(), parts[1].len()), (130 * 130, 4 * 4));
        assert_eq!(parts[1][12..], 4.0f32.to_le_bytes());
        assert_eq!(parts[1][..4], 2.0f32.powi(-8).to_le_bytes());
        assert_eq!(parts[0][0], fp8_from_f32(256.0));
    }

    #[test]
    fn weights_that_a_format_cannot_hold_are_found() {
        let mut values = vec![0.5f32; 64];
        values[40] = f32::NAN;
        let found = check_finite(&values, 32).unwrap_err();
        assert_eq!((found.row, found.column), (1, 8));
        values[40] = f32::MAX;
        check_finite(&values, 32).unwrap();
        let refused = RefusedWeight { row: 1, column: 8, value: f32::MAX };
        for dtype in [DType::Bf16, DType::Int8, DType::Int4] {
            assert_eq!(encode(dtype, true, 32, &values), Err(refused), "{dtype:?}");
        }
        assert!(encode(DType::Fp8, true, 32, &values).is_ok());
    }
}
