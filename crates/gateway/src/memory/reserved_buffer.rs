//! A buffer for bytes that arrive in chunks. It reserves memory before it grows.

use bytes::Bytes;
use chat::Error;

use crate::memory::inflight_budget::{MemoryReservation, RequestMemory};

/// Up to this many bytes a buffer doubles; a larger one grows by a quarter.
const DOUBLING_LIMIT: usize = 1 << 20;

/// The bytes that have arrived. The capacity stays close to their number.
#[derive(Debug)]
pub struct ReservedBuffer {
    bytes: Vec<u8>,
    reservation: MemoryReservation,
}

impl ReservedBuffer {
    /// An empty buffer, whose memory is charged to `memory`.
    pub fn new(memory: &RequestMemory) -> Self {
        Self { bytes: Vec::new(), reservation: memory.empty_reservation() }
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends `data`. At most `max_len` bytes can arrive in total, so the buffer reserves no
    /// more in advance.
    ///
    /// # Errors
    /// As [`RequestMemory::reserve`].
    pub fn push(&mut self, data: &[u8], max_len: usize) -> Result<(), Error> {
        let needed = self.bytes.len() + data.len();
        if needed > self.bytes.capacity() {
            let more = needed.min(DOUBLING_LIMIT).max(needed / 4);
            let capacity = (needed + more).min(max_len).max(needed);
            self.reservation.resize(capacity)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Returns all bytes. Their reservation is released with the last clone or slice of them.
    ///
    /// # Errors
    /// As [`RequestMemory::reserve`].
    pub fn finish(mut self) -> Result<Bytes, Error> {
        self.bytes.shrink_to_fit();
        self.reservation.resize(self.bytes.len())?;
        Ok(self.reservation.attach_to(self.bytes))
    }
}
