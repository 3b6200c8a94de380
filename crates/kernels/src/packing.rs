//! Packed weights: 4 or 8 bits a weight, in groups of 32 along a row, with f16 scales. The plain
//! conversions here are the specification.
//!
//! * int4: `weight = factor * (scale * q + offset)`, `q` in 0..=15. A group is 16 bytes: byte `i`
//!   holds weight `i` in its low four bits and weight `i + 16` in its high ones, which is the order
//!   of GGUF's Q4_1 blocks.
//! * int8: `weight = factor * scale * q`, `q` in -127..=127, one byte a weight.
//!
//! A scale (and an offset) belongs to a group, a factor to a row. Factors are powers of two, so
//! that rows of very small weights do not underflow in f16.

use half::f16;

use crate::bytes::Bytes;
use crate::dtype::DType;

/// Weights that share a scale and an offset.
pub const PACKED_GROUP: usize = 32;

/// The widest packed matrix.
pub const MAX_PACKED_COLS: usize = 65_536;

/// Smallest and largest factor of a row.
pub(crate) const FACTORS: (f32, f32) = (f32::from_bits((127 - 100) << 23), f32::from_bits((127 + 100) << 23));

/// A format of packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    Int4,
    Int8,
}

impl Packing {
    /// The number format of the quants.
    pub const fn dtype(self) -> DType {
        match self {
            Self::Int4 => DType::Int4,
            Self::Int8 => DType::Int8,
        }
    }

    /// Whether groups have offsets.
    pub const fn has_offsets(self) -> bool {
        matches!(self, Self::Int4)
    }

    /// Quant `k` of a row.
    pub(crate) fn quant(self, row: &[u8], k: usize) -> i32 {
        match self {
            Self::Int4 => {
                let byte = row[k / PACKED_GROUP * 16 + k % 16];
                (if k % PACKED_GROUP < 16 { byte & 15 } else { byte >> 4 }).into()
            }
            Self::Int8 => row[k].cast_signed().into(),
        }
    }

    /// Bytes of `cols` weights with their scales, offsets and factor.
    pub const fn row_bytes(self, cols: usize) -> usize {
        let scales = 2 * (cols / PACKED_GROUP);
        self.dtype().row_bytes(cols) + if self.has_offsets() { 2 * scales } else { scales } + 4
    }
}

/// The parts of a packed matrix `[rows, cols]`, each row-major and little-endian: tensors of a
/// safetensors file (`B` is [`Bytes`]), or rows that are being packed (`B` is `Vec<u8>`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed<B> {
    /// int4: `[rows, cols / 2]` bytes; int8: `[rows, cols]` signed bytes.
    pub quants: B,
    /// `[rows, cols / 32]` f16.
    pub scales: B,
    /// `[rows, cols / 32]` f16; empty for int8.
    pub offsets: B,
    /// `[rows]` f32, powers of two from 2^-100 to 2^100.
    pub factors: B,
}

impl From<Packed<Vec<u8>>> for Packed<Bytes> {
    fn from(parts: Packed<Vec<u8>>) -> Self {
        let Packed { quants, scales, offsets, factors } = parts;
        Self { quants: quants.into(), scales: scales.into(), offsets: offsets.into(), factors: factors.into() }
    }
}

/// Why a matrix cannot be packed, or packed parts are not a matrix.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PackError {
    #[error("{cols} columns: packed rows are groups of 32 weights, at most 65,536; keep this matrix in bf16")]
    Width { cols: usize },
    #[error("`{part}` has {found} bytes, a packed matrix of this shape has {expected}")]
    Length { part: &'static str, found: usize, expected: usize },
    #[error("the factor of row {row} is {factor}, not a power of two from 2^-100 to 2^100")]
    Factor { row: usize, factor: f32 },
    #[error("the weight in column {column} is {value}; packed weights are finite and below 2^100")]
    Weight { column: usize, value: f32 },
}

/// Checks that rows of `cols` weights can be packed.
pub(crate) fn check_width(cols: usize) -> Result<(), PackError> {
    let fits = cols.is_multiple_of(PACKED_GROUP) && cols <= MAX_PACKED_COLS;
    if fits { Ok(()) } else { Err(PackError::Width { cols }) }
}

/// Checks that `parts` are a matrix `[rows, cols]`.
///
/// # Errors
/// A width that is not a multiple of 32 or too large, a part of another length, a factor that is
/// not a power of two.
pub(crate) fn check(rows: usize, cols: usize, packing: Packing, parts: &Packed<Bytes>) -> Result<(), PackError> {
    check_width(cols)?;
    let scales = 2 * rows * (cols / PACKED_GROUP);
    for (part, bytes, expected) in [
        ("quants", &parts.quants, rows * packing.dtype().row_bytes(cols)),
        ("scales", &parts.scales, scales),
        ("offsets", &parts.offsets, if packing.has_offsets() { scales } else { 0 }),
        ("factors", &parts.factors, 4 * rows),
    ] {
        if bytes.len() != expected {
            return Err(PackError::Length { part, found: bytes.len(), expected });
        }
    }
    for (row, factor) in parts.factors.as_chunks::<4>().0.iter().enumerate() {
        let factor = f32::from_le_bytes(*factor);
        let power_of_two = factor.to_bits() & 0x807f_ffff == 0;
        if !(power_of_two && (FACTORS.0..=FACTORS.1).contains(&factor)) {
            return Err(PackError::Factor { row, factor });
        }
    }
    Ok(())
}

/// Scales and offsets of a matrix of checked parts.
#[derive(Clone, Debug)]
pub(crate) struct PackedScales {
    scales: Bytes,
    offsets: Bytes,
    factors: Bytes,
}

impl PackedScales {
    /// The scales of `parts`, and their quants.
    pub(crate) fn new(parts: Packed<Bytes>) -> (Self, Bytes) {
        let Packed { quants, scales, offsets, factors } = parts;
        (Self { scales, offsets, factors }, quants)
    }

    /// All scales, offsets and factors as they are stored.
    pub(crate) fn parts(&self) -> ScaleParts<'_> {
        ScaleParts {
            scales: self.scales.as_chunks().0,
            offsets: self.offsets.as_chunks().0,
            factors: self.factors.as_chunks().0,
        }
    }

    /// Scales and offsets of row `row` as f16, and its factor; offsets are empty for int8. A row
    /// has `groups` groups.
    pub(crate) fn row(&self, row: usize, groups: usize) -> RowScales<'_> {
        let ScaleParts { scales, offsets, factors } = self.parts();
        let offsets = if offsets.is_empty() { offsets } else { &offsets[row * groups..][..groups] };
        RowScales { scales: &scales[row * groups..][..groups], offsets, factor: f32::from_le_bytes(factors[row]) }
    }
}

/// Scales and offsets of a matrix in f16, `[rows, groups]`, and the factors of its rows in f32,
/// little-endian.
#[derive(Clone, Copy)]
pub(crate) struct ScaleParts<'a> {
    pub(crate) scales: &'a [[u8; 2]],
    /// Empty for int8.
    pub(crate) offsets: &'a [[u8; 2]],
    pub(crate) factors: &'a [[u8; 4]],
}

/// Scales and offsets of one row in f16, little-endian, and its factor.
#[derive(Clone, Copy)]
pub(crate) struct RowScales<'a> {
    pub(crate) scales: &'a [[u8; 2]],
    /// Empty for int8.
    pub(crate) offsets: &'a [[u8; 2]],
    pub(crate) factor: f32,
}

impl RowScales<'_> {
    /// The scale and the offset of group `group`, times the factor; the product is exact.
    pub(crate) fn group(&self, group: usize) -> (f32, f32) {
        let value = |bits: &[u8; 2]| f16::from_le_bytes(*bits).to_f32() * self.factor;
        (value(&self.scales[group]), self.offsets.get(group).map_or(0.0, value))
    }
}

/// Writes a row of packed weights to `out` in f32.
///
/// `scale * q` is exact, so a weight is rounded once, when the offset is added.
pub(crate) fn unpack(packing: Packing, quants: &[u8], scales: RowScales<'_>, out: &mut [f32]) {
    let groups = out.as_chunks_mut::<PACKED_GROUP>().0;
    match packing {
        Packing::Int4 => {
            for (group, (out, quants)) in groups.iter_mut().zip(quants.as_chunks::<16>().0).enumerate() {
                let (scale, offset) = scales.group(group);
                for (i, byte) in quants.iter().enumerate() {
                    out[i] = scale * (byte & 15) as f32 + offset;
                    out[i + 16] = scale * (byte >> 4) as f32 + offset;
                }
            }
        }
        Packing::Int8 => {
            for (group, (out, quants)) in groups.iter_mut().zip(quants.as_chunks::<32>().0).enumerate() {
                let (scale, _) = scales.group(group);
                for (out, q) in out.iter_mut().zip(quants) {
                    *out = scale * f32::from(q.cast_signed());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mat::Mat;

    /// A row of one group.
    fn parts(packing: Packing, quants: Vec<u8>) -> Packed<Bytes> {
        let half = |v: f32| f16::from_f32(v).to_le_bytes().to_vec();
        let offsets = if packing.has_offsets() { half(-2.0) } else { Vec::new() };
        Packed { quants, scales: half(0.5), offsets, factors: 4.0f32.to_le_bytes().to_vec() }.into()
    }

    #[test]
    fn a_weight_is_its_quant_times_scale_plus_offset_times_factor() {
        let quants = (0..16).map(|i| i | (15 - i) << 4).collect();
        let int4 = Mat::packed(1, 32, Packing::Int4, parts(Packing::Int4, quants)).unwrap();
        let values = int4.to_f32();
        assert_eq!((values[0], values[15], values[16], values[31]), (-8.0, 22.0, 22.0, -8.0));

        let quants = (0..32).map(|i: i8| (i - 16).cast_unsigned()).collect();
        let int8 = Mat::packed(1, 32, Packing::Int8, parts(Packing::Int8, quants)).unwrap();
        let values = int8.to_f32();
        assert_eq!((values[0], values[16], values[31]), (-32.0, 0.0, 30.0));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused_by_name() {
        let good = || parts(Packing::Int4, vec![0; 16]);
        let refused = |cols, packing, parts| Mat::packed(1, cols, packing, parts).unwrap_err().to_string();
        assert!(refused(48, Packing::Int4, good()).contains("48 columns"));
        assert!(refused(64, Packing::Int4, good()).contains("`quants` has 16 bytes"));
        assert!(refused(32, Packing::Int4, Packed { scales: vec![0; 4].into(), ..good() }).contains("`scales`"));
        assert!(refused(32, Packing::Int4, Packed { offsets: vec![].into(), ..good() }).contains("`offsets`"));
        assert!(refused(32, Packing::Int8, Packed { quants: vec![0; 32].into(), ..good() }).contains("`offsets`"));
        assert!(refused(32, Packing::Int4, Packed { factors: vec![].into(), ..good() }).contains("`factors`"));
        for factor in [0.0, -1.0, 1.5, 2.0f32.powi(101), 2.0f32.powi(-101), f32::NAN, f32::INFINITY] {
            let parts = Packed { factors: factor.to_le_bytes().to_vec().into(), ..good() };
            assert!(refused(32, Packing::Int4, parts).contains("row 0"), "{factor}");
        }
    }
}
