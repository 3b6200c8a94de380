//! Activations: one row of f32 a position.

/// `[len, width]` f32 values, row-major. Grows to the largest batch it has seen and
/// keeps that memory.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    data: Vec<f32>,
    width: usize,
    len: usize,
}

impl Rows {
    /// No rows yet, each `width` wide.
    pub fn new(width: usize) -> Self {
        Self { data: Vec::new(), width, len: 0 }
    }

    /// # Panics
    /// When `data` is not a whole number of rows.
    pub fn from_vec(width: usize, data: Vec<f32>) -> Self {
        assert!(width > 0 && data.len().is_multiple_of(width), "whole rows");
        let len = data.len() / width;
        Self { data, width, len }
    }

    /// Sets the number of rows; the contents are unspecified until written.
    pub fn resize(&mut self, len: usize) {
        if self.data.len() < len * self.width {
            self.data.resize(len * self.width, 0.0);
        }
        self.len = len;
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.all()[row * self.width..][..self.width]
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let width = self.width;
        &mut self.all_mut()[row * width..][..width]
    }

    /// All rows, one after the other.
    pub fn all(&self) -> &[f32] {
        &self.data[..self.len * self.width]
    }

    pub fn all_mut(&mut self) -> &mut [f32] {
        &mut self.data[..self.len * self.width]
    }
}
