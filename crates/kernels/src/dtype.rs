//! Number formats of weights and cache rows, and their conversions. The plain versions here are
//! the specification.

use half::{bf16, f16};

/// The number format of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    F32,
    F16,
    Bf16,
    /// e4m3 "fn": 4 exponent bits (bias 7), 3 mantissa bits, without infinities; NaN
    /// is 0x7F and 0xFF.
    Fp8,
    /// Quants of packed weights, -127 to 127; see [`crate::Packing`].
    Int8,
    /// Quants of packed weights, 0 to 15, two a byte; see [`crate::Packing`].
    Int4,
}

impl DType {
    /// Bytes of `n` numbers; `n` is even for [`DType::Int4`].
    pub const fn row_bytes(self, n: usize) -> usize {
        match self {
            Self::F32 => 4 * n,
            Self::F16 | Self::Bf16 => 2 * n,
            Self::Fp8 | Self::Int8 => n,
            Self::Int4 => n / 2,
        }
    }

    /// The name in safetensors headers; the quants of int4 are stored as bytes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Fp8 => "F8_E4M3",
            Self::Int8 => "I8",
            Self::Int4 => "U8",
        }
    }
}

/// The largest finite e4m3 number.
pub const FP8_MAX: f32 = 448.0;

/// The value of every e4m3 byte.
pub static FP8_VALUES: [f32; 256] = fp8_values();

pub(crate) const fn fp8_values() -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (exponent, mantissa) = ((byte >> 3) & 15, byte & 7);
        let magnitude = if byte & 0x7f == 0x7f {
            f32::NAN
        } else if exponent == 0 {
            mantissa as f32 / 512.0
        } else {
            // 2^(exponent - 7) by its bits.
            f32::from_bits(((exponent + 120) as u32) << 23) * (1.0 + mantissa as f32 / 8.0)
        };
        table[byte] = if byte & 0x80 != 0 { -magnitude } else { magnitude };
        byte += 1;
    }
    table
}

/// Rounds to e4m3: clamped to ±448, to nearest, ties to the even mantissa. NaN becomes 0x7F.
pub fn fp8_from_f32(value: f32) -> u8 {
    if value.is_nan() {
        return 0x7f;
    }
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    let magnitude = value.abs().min(FP8_MAX);
    // Below the smallest normal (2^-6) the steps are 2^-9; adding and removing 2^14 rounds to that
    // step, ties to even.
    if magnitude < 0.015_625 {
        return sign | (magnitude * 512.0).round_ties_even() as u8;
    }
    // Keep 3 of 23 mantissa bits: half of the dropped part is 2^19, minus one unless the
    // kept part is odd.
    let bits = magnitude.to_bits();
    let rounded = bits + 0x7_ffff + ((bits >> 20) & 1);
    sign | ((rounded >> 20) - (120 << 3)) as u8
}

/// Rounds to bf16 (to nearest, ties to even) and back.
#[inline]
pub fn round_bf16(value: f32) -> f32 {
    bf16::from_f32(value).to_f32()
}

#[inline]
pub(crate) fn bf16_bits(value: f32) -> u16 {
    bf16::from_f32(value).to_bits()
}

#[inline]
pub(crate) fn bf16_value(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// Widens `bytes` (little-endian numbers of `dtype`, unscaled) into `out`.
///
/// # Panics
/// When the lengths do not match, or `dtype` is one of packed weights, which mean nothing without
/// their scales.
pub fn widen(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(bytes.len(), dtype.row_bytes(out.len()), "a row of {dtype:?} has its width in bytes");
    match dtype {
        DType::F32 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = f32::from_le_bytes(*b);
            }
        }
        DType::F16 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = f16::from_le_bytes(*b).to_f32();
            }
        }
        DType::Bf16 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = bf16_value(u16::from_le_bytes(*b));
            }
        }
        DType::Fp8 => {
            for (out, b) in out.iter_mut().zip(bytes) {
                *out = FP8_VALUES[*b as usize];
            }
        }
        DType::Int8 | DType::Int4 => panic!("packed weights are unpacked with their scales"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fp8_rounds_as_the_specification_says() {
        for (value, byte) in [
            (448.0, 0x7e),
            (449.0, 0x7e),
            (17.0, 0x58),
            (18.0, 0x59),
            (19.0, 0x5a),
            (0.001_953_125, 0x01),
            (0.000_976_562_5, 0x00),
            (0.014_648_437_5, 0x08),
            (-448.0, 0xfe),
        ] {
            assert_eq!(fp8_from_f32(value), byte, "{value}");
        }
    }

    #[test]
    fn every_fp8_byte_survives_a_round_trip() {
        for byte in 0..=255u8 {
            let value = FP8_VALUES[byte as usize];
            if value.is_nan() {
                assert_eq!(byte & 0x7f, 0x7f);
            } else {
                assert_eq!(fp8_from_f32(value), byte, "{value}");
            }
        }
        assert_eq!(FP8_VALUES[0x7e], 448.0);
        assert_eq!(FP8_VALUES[0x08], 0.015_625);
    }
}
