//! fp8 rounding of activations in groups, and the Hadamard rotation before it, which
//! spreads outliers.

use crate::dtype::{FP8_MAX, FP8_VALUES, fp8_from_f32};
use crate::rows::Rows;

/// Number of channels that share one scale.
pub(crate) const GROUP: usize = 128;

/// The scale of one group (`docs/model.md` 6.3): `amax / 448`, raised to the next power of
/// two for `ue8m0`.
pub(crate) fn group_scale(group: &[f32], ue8m0: bool) -> f32 {
    let amax = group.iter().fold(1e-4f32, |amax, v| amax.max(v.abs()));
    let scale = amax * (1.0 / FP8_MAX);
    if !ue8m0 {
        return scale;
    }
    let bits = scale.to_bits();
    let exponent = (bits >> 23) + u32::from(bits & 0x7f_ffff != 0);
    f32::from_bits(exponent << 23)
}

/// Writes the quantised group to `out` and returns its scale.
pub(crate) fn quantize_group(group: &[f32], ue8m0: bool, out: &mut [u8]) -> f32 {
    let scale = group_scale(group, ue8m0);
    for (out, value) in out.iter_mut().zip(group) {
        *out = fp8_from_f32(value / scale);
    }
    scale
}

/// Rounds every group of `width` values to fp8 and back, in place.
pub(crate) fn round_groups(values: &mut [f32], width: usize, ue8m0: bool) {
    for group in values.chunks_mut(width) {
        let scale = group_scale(group, ue8m0);
        group.iter_mut().for_each(|v| *v = FP8_VALUES[fp8_from_f32(*v / scale) as usize] * scale);
    }
}

/// Multiplies a vector by the normalised Hadamard matrix in natural (Sylvester) order:
/// `x @ H_n / sqrt(n)`.
pub(crate) fn hadamard(vector: &mut [f32]) {
    let n = vector.len();
    debug_assert!(n.is_power_of_two());
    let mut stride = 1;
    while stride < n {
        for block in vector.chunks_mut(2 * stride) {
            let (low, high) = block.split_at_mut(stride);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        stride *= 2;
    }
    let scale = (n as f32).sqrt().recip();
    vector.iter_mut().for_each(|v| *v *= scale);
}

/// Multiplies every `head_dim`-wide piece of every row by the Hadamard matrix.
pub fn hadamard_rows(rows: &mut Rows, head_dim: usize) {
    rows.all_mut().chunks_mut(head_dim).for_each(hadamard);
}

/// Rounds every `head_dim`-wide piece of every row to fp8 with one scale each (groups of 128
/// inside wider pieces).
pub fn round_fp8_rows(rows: &mut Rows, head_dim: usize, ue8m0: bool) {
    rows.all_mut().chunks_mut(head_dim).for_each(|piece| round_groups(piece, GROUP, ue8m0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::round_bf16;

    /// The vector of `docs/model.md` section 15.
    fn vector() -> Vec<f32> {
        (0..128).map(|i| ((37 * i) % 101 - 50) as f32 / 16.0).collect()
    }

    #[test]
    fn a_group_is_quantised_as_the_specification_says() {
        let mut bytes = [0; 128];
        assert_eq!(quantize_group(&vector(), false, &mut bytes), 0.006_975_447);
        assert_eq!(bytes[..12], [0xFE, 0xEF, 0x75, 0xFB, 0xDD, 0x7A, 0xF8, 0x68, 0x7C, 0xF3, 0x72, 0xFD]);
        assert_eq!(bytes.iter().map(|b| *b as u32).sum::<u32>(), 22707);
        assert_eq!(quantize_group(&vector(), true, &mut bytes), 0.007_812_5);
        assert_eq!(bytes[..12], [0xFC, 0xED, 0x74, 0xFA, 0xDC, 0x78, 0xF7, 0x66, 0x7B, 0xF2, 0x70, 0xFC]);
        assert_eq!(bytes.iter().map(|b| *b as u32).sum::<u32>(), 22545);
    }

    #[test]
    fn the_hadamard_rotation_matches_the_specification() {
        let mut v = vector();
        hadamard(&mut v);
        let rounded: Vec<f32> = v.iter().map(|v| round_bf16(*v)).collect();
        assert_eq!(rounded[..4], [-0.435_546_88, 0.867_187_5, 0.060_791_016, -0.558_593_75]);
        assert_eq!(rounded[64..68], [0.271_484_38, 0.558_593_75, -0.558_593_75, -0.558_593_75]);
        let mut unit = vec![0.0; 128];
        unit[1] = 1.0;
        hadamard(&mut unit);
        assert_eq!((round_bf16(unit[0]), round_bf16(unit[1])), (0.088_378_906, -0.088_378_906));
    }
}
