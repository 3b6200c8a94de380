//! Concurrency slots: the requests of a key that run at the same time, on all replicas together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use tokio::sync::mpsc;

/// The slots that this replica holds.
#[derive(Debug)]
pub(crate) struct ConcurrencySlots {
    /// The Redis key of each slot, by the number of the slot.
    pub(crate) held: Mutex<HashMap<u64, String>>,
    pub(crate) next_number: AtomicU64,
    /// Numbers of slots that are no longer in use.
    pub(crate) released: mpsc::UnboundedSender<u64>,
}

/// A slot of a running request. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct ConcurrencySlot {
    pub(crate) number: u64,
    pub(crate) slots: Arc<ConcurrencySlots>,
}

impl Drop for ConcurrencySlot {
    fn drop(&mut self) {
        // Without a receiver the process is ending, and the slot expires in Redis.
        let _ = self.slots.released.send(self.number);
    }
}
