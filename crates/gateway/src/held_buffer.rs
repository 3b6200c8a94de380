//! A buffer for bytes that arrive piece by piece, whose memory is reserved before it grows.

use bytes::Bytes;
use chat::Error;

use crate::inflight::{Hold, RequestMemory};

/// A buffer doubles up to this many bytes. A larger one grows by a quarter.
const DOUBLED: usize = 1 << 20;

/// Bytes that have arrived. The buffer never grows far beyond them.
#[derive(Debug)]
pub struct HeldBuffer {
    bytes: Vec<u8>,
    hold: Hold,
}

impl HeldBuffer {
    /// An empty buffer of this request.
    pub fn new(memory: &RequestMemory) -> Self {
        Self { bytes: Vec::new(), hold: memory.empty() }
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends `data`. `most` is the number of bytes that can arrive in all, beyond which no room is made in advance.
    ///
    /// # Errors
    /// As [`RequestMemory::hold`].
    pub fn push(&mut self, data: &[u8], most: usize) -> Result<(), Error> {
        let needed = self.bytes.len() + data.len();
        if needed > self.bytes.capacity() {
            let more = needed.min(DOUBLED).max(needed / 4);
            let capacity = (needed + more).min(most).max(needed);
            self.hold.set(capacity)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// All bytes, with their memory held until the last clone or slice of them is gone.
    ///
    /// # Errors
    /// As [`RequestMemory::hold`].
    pub fn finish(mut self) -> Result<Bytes, Error> {
        self.bytes.shrink_to_fit();
        self.hold.set(self.bytes.len())?;
        Ok(self.hold.over(self.bytes))
    }
}
