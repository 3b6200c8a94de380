//! Activations: one row of f32 per position.

use crate::scratch;

/// `[len, width]` f32 values, row-major. Grows to the largest batch and keeps that memory.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    data: Vec<f32>,
    width: usize,
    len: usize,
}

impl Rows {
    /// Zero rows of `width` values.
    pub fn new(width: usize) -> Self {
        Self { data: Vec::new(), width, len: 0 }
    }

    /// The rows of `data`.
    ///
    /// # Panics
    /// When `data` is not a whole number of rows.
    pub fn from_vec(width: usize, data: Vec<f32>) -> Self {
        assert!(width > 0 && data.len().is_multiple_of(width), "whole rows");
        let len = data.len() / width;
        Self { data, width, len }
    }

    /// Sets the number of rows. Their contents are unspecified until written.
    pub fn resize(&mut self, len: usize) {
        scratch::grow(&mut self.data, len * self.width);
        self.len = len;
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are zero rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Values per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `row`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.all()[row * self.width..][..self.width]
    }

    /// Row `row`, mutable.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let width = self.width;
        &mut self.all_mut()[row * width..][..width]
    }

    /// All rows, one after the other.
    pub fn all(&self) -> &[f32] {
        &self.data[..self.len * self.width]
    }

    /// All rows, mutable.
    pub fn all_mut(&mut self) -> &mut [f32] {
        &mut self.data[..self.len * self.width]
    }
}
