//! Rotary position embedding on parts of rows. The model computes the angles.

use crate::rows::Rows;

/// The pairs of elements of a vector of `2n` that rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// `(x[2i], x[2i+1])`, in the main attention.
    Interleaved,
    /// `(x[i], x[i+n])`, in the lightning indexer.
    HalfSplit,
}

/// Cosines and sines, one row of `n` per position of the batch.
#[derive(Clone, Debug)]
pub struct Angles {
    pub cos: Rows,
    pub sin: Rows,
}

/// Rotates, in every row, the `2n` values at `offset`, `offset + stride`, ... (`heads` times).
pub fn rope(rows: &mut Rows, heads: usize, stride: usize, offset: usize, angles: &Angles, pairing: Pairing) {
    let n = angles.cos.width();
    for i in 0..rows.len() {
        let (cos, sin) = (angles.cos.row(i), angles.sin.row(i));
        let row = rows.row_mut(i);
        for head in 0..heads {
            let x = &mut row[head * stride + offset..][..2 * n];
            for j in 0..n {
                let (a, b) = match pairing {
                    Pairing::Interleaved => (2 * j, 2 * j + 1),
                    Pairing::HalfSplit => (j, j + n),
                };
                (x[a], x[b]) = (x[a] * cos[j] - x[b] * sin[j], x[a] * sin[j] + x[b] * cos[j]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_pairings_rotate_different_elements() {
        let quarter = Angles { cos: Rows::from_vec(2, vec![0.0, 1.0]), sin: Rows::from_vec(2, vec![1.0, 0.0]) };
        let mut rows = Rows::from_vec(5, vec![9.0, 1.0, 2.0, 3.0, 4.0]);
        rope(&mut rows, 1, 5, 1, &quarter, Pairing::Interleaved);
        assert_eq!(rows.row(0), [9.0, -2.0, 1.0, 3.0, 4.0]);
        let mut rows = Rows::from_vec(4, vec![1.0, 2.0, 3.0, 4.0]);
        rope(&mut rows, 1, 4, 0, &quarter, Pairing::HalfSplit);
        assert_eq!(rows.row(0), [-3.0, 2.0, 1.0, 4.0]);
    }
}
