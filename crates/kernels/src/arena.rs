//! Cache rows of one layer and kind: rows of fixed width, stored in one number format.

use crate::dtype::{DType, bf16_bits, bf16_value, widen};
use crate::quant::{GROUP, quantize_group};

/// The storage format of a cache row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    F32,
    Bf16,
    /// e4m3 in groups of 128 (the last may be shorter); the f32 scales of all groups
    /// follow the values.
    Fp8 {
        /// Scales are powers of two.
        ue8m0: bool,
    },
}

impl RowFormat {
    /// Bytes of one row of `width` values.
    pub const fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::F32 => 4 * width,
            Self::Bf16 => 2 * width,
            Self::Fp8 { .. } => width + 4 * width.div_ceil(GROUP),
        }
    }
}

/// `[slots, width]` values. The system allocates memory only for rows that are written.
pub struct Arena {
    data: Vec<u8>,
    format: RowFormat,
    width: usize,
}

impl Arena {
    /// An arena of zeros.
    pub fn new(slots: usize, width: usize, format: RowFormat) -> Self {
        // The system backs zeroed memory only when it is written.
        Self { data: vec![0; slots * format.row_bytes(width)], format, width }
    }

    /// Values per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The storage format of the rows.
    pub fn format(&self) -> RowFormat {
        self.format
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.format.row_bytes(self.width)
    }

    /// Replaces the bytes of consecutive rows by those that [`Arena::rows`] returned.
    pub fn write_rows(&mut self, slot: usize, bytes: &[u8]) {
        let start = slot * self.row_bytes();
        self.data[start..][..bytes.len()].copy_from_slice(bytes);
    }

    /// The bytes of `n` consecutive rows.
    pub fn rows(&self, slot: usize, n: usize) -> &[u8] {
        let bytes = self.format.row_bytes(self.width);
        &self.data[slot * bytes..][..n * bytes]
    }

    /// Stores `values` (`width` of them) at `slot`, rounded to the format.
    pub fn write(&mut self, slot: usize, values: &[f32]) {
        assert_eq!(values.len(), self.width, "a whole row");
        let (format, width) = (self.format, self.width);
        let bytes = format.row_bytes(width);
        let row = &mut self.data[slot * bytes..][..bytes];
        match format {
            RowFormat::F32 => {
                row.as_chunks_mut::<4>().0.iter_mut().zip(values).for_each(|(out, v)| *out = v.to_le_bytes());
            }
            RowFormat::Bf16 => {
                let out = row.as_chunks_mut::<2>().0;
                out.iter_mut().zip(values).for_each(|(out, v)| *out = bf16_bits(*v).to_le_bytes());
            }
            RowFormat::Fp8 { ue8m0 } => {
                let (numbers, scales) = row.split_at_mut(width);
                let groups = numbers.chunks_mut(GROUP).zip(values.chunks(GROUP));
                for ((out, group), scale) in groups.zip(scales.as_chunks_mut::<4>().0) {
                    *scale = quantize_group(group, ue8m0, out).to_le_bytes();
                }
            }
        }
    }

    /// Reads the row at `slot` into `out` (`width` values).
    pub fn read(&self, slot: usize, out: &mut [f32]) {
        let row = self.rows(slot, 1);
        match self.format {
            RowFormat::F32 => widen(DType::F32, row, out),
            RowFormat::Bf16 => {
                let bits = row.as_chunks::<2>().0;
                out.iter_mut().zip(bits).for_each(|(out, b)| *out = bf16_value(u16::from_le_bytes(*b)));
            }
            RowFormat::Fp8 { .. } => {
                let (numbers, scales) = row.split_at(self.width);
                widen(DType::Fp8, numbers, out);
                for (group, scale) in out.chunks_mut(GROUP).zip(scales.as_chunks::<4>().0) {
                    let scale = f32::from_le_bytes(*scale);
                    group.iter_mut().for_each(|v| *v *= scale);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_rounded_by_their_format() {
        let values: Vec<f32> = (0..160).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        for (format, bytes, bound) in
            [(RowFormat::F32, 640, 0.0), (RowFormat::Bf16, 320, 0.004), (RowFormat::Fp8 { ue8m0: true }, 168, 0.07)]
        {
            assert_eq!(format.row_bytes(160), bytes);
            let mut arena = Arena::new(3, 160, format);
            arena.write(1, &values);
            let mut out = vec![0.0; 160];
            arena.read(1, &mut out);
            let worst = out.iter().zip(&values).map(|(a, b)| (a - b).abs() / (b.abs() + 0.1)).fold(0.0, f32::max);
            assert!(worst <= bound, "{format:?}: {worst}");
            arena.read(2, &mut out);
            assert!(out.iter().all(|v| *v == 0.0), "neighbours are untouched");
        }
    }
}
