//! Working memory per thread, reused between calls.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A borrowed buffer, which returns to its thread when it is dropped.
pub(crate) struct ScratchBuffer {
    buffer: Vec<f32>,
    len: usize,
}

/// Borrows `len` floats of unspecified contents. Several buffers may be borrowed at the same time.
pub(crate) fn borrow(len: usize) -> ScratchBuffer {
    let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    grow(&mut buffer, len);
    ScratchBuffer { buffer, len }
}

/// Makes `buffer` at least `len` floats long, of unspecified contents.
///
/// `Vec::resize` would double the capacity: one row more than the largest batch so far would hold
/// twice the memory.
pub(crate) fn grow(buffer: &mut Vec<f32>, len: usize) {
    if buffer.len() < len {
        *buffer = Vec::new();
        *buffer = vec![0.0; len];
    }
}

/// Calls `body` with `len` floats of unspecified contents.
pub(crate) fn with<R>(len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    body(&mut borrow(len))
}

impl Deref for ScratchBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for ScratchBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}

impl Drop for ScratchBuffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        FREE.with_borrow_mut(|free| free.push(buffer));
    }
}
