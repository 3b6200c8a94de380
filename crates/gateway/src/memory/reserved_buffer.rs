//! A buffer for bytes that arrive piece by piece, whose memory is reserved before it grows.

use bytes::Bytes;
use chat::Error;

use crate::memory::inflight_budget::{MemoryReservation, RequestMemory};

/// A buffer doubles up to this many bytes. A larger one grows by a quarter.
const DOUBLING_LIMIT: usize = 1 << 20;

/// Bytes that have arrived. The buffer never grows far beyond them.
#[derive(Debug)]
pub struct ReservedBuffer {
    bytes: Vec<u8>,
    reservation: MemoryReservation,
}

impl ReservedBuffer {
    /// An empty buffer of this request.
    pub fn new(memory: &RequestMemory) -> Self {
        Self { bytes: Vec::new(), reservation: memory.empty_reservation() }
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends `data`. `most` is the number of bytes that can arrive in all, beyond which no room
    /// is made in advance.
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

    /// All bytes, with their memory held until the last clone or slice of them is gone.
    ///
    /// # Errors
    /// As [`RequestMemory::reserve`].
    pub fn finish(mut self) -> Result<Bytes, Error> {
        self.bytes.shrink_to_fit();
        self.reservation.resize(self.bytes.len())?;
        Ok(self.reservation.attach_to(self.bytes))
    }
}
