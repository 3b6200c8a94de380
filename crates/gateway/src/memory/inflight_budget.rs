//! One budget of memory for everything that requests hold while they are in flight: bodies, parsed
//! trees, prompts, bodies for providers and whole answers.
//!
//! Memory is reserved before it is used. A request that finds the budget full is refused instead of
//! waiting, because requests that wait while they hold memory could block each other.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chat::{Error, ErrorKind};
use metrics::counter;
use parking_lot::Mutex;

use crate::offload_limiter::OffloadLimiter;

/// The codes of requests that were refused for lack of memory.
const SHARE_EXCEEDED: &str = "memory_share_exceeded";
const MEMORY_FULL: &str = "memory_full";
/// The `retry-after` of a request that was refused for lack of memory.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// An owner that shares the budget with others fills it at most to this part, and never takes more
/// than it leaves.
const MAX_FILL: (usize, usize) = (15, 16);
/// Owners that together hold less than this part of the budget are ignored: an owner that is nearly
/// alone may use its whole share.
const NEGLIGIBLE_DIVISOR: usize = 16;
/// The budget is scarce when less than this part of it is left.
const SCARCE_DIVISOR: usize = 4;

/// The owner of a share of the budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MemoryOwner {
    Key(Arc<str>),
    /// The address of the client, on a server without keys.
    Peer(IpAddr),
}

/// Limits of the memory that requests hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflightLimits {
    /// Bytes of all requests together.
    pub bytes: usize,
    /// Bytes of one owner's requests, and so of one request.
    pub share: usize,
}

/// The budget of memory for requests in flight. Clones share it.
#[derive(Clone)]
pub struct InflightBudget(Arc<InflightBudgetInner>);

struct InflightBudgetInner {
    limits: InflightLimits,
    state: Mutex<InflightState>,
    offload_limiter: OffloadLimiter,
}

#[derive(Default)]
struct InflightState {
    used: usize,
    owners: HashMap<MemoryOwner, usize>,
}

impl InflightBudget {
    pub fn new(limits: InflightLimits) -> Self {
        Self(Arc::new(InflightBudgetInner {
            limits,
            state: Mutex::default(),
            offload_limiter: OffloadLimiter::new(limits.bytes / 2),
        }))
    }

    /// The account of a new request, which holds no memory yet.
    pub fn request(&self, owner: MemoryOwner) -> RequestMemory {
        RequestMemory(Some(Arc::new(RequestInner { budget: self.0.clone(), owner, held: AtomicUsize::new(0) })))
    }

    /// Reserved bytes of all requests.
    pub fn used(&self) -> usize {
        self.0.state.lock().used
    }
}

impl fmt::Debug for InflightBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InflightBudget").field("limits", &self.0.limits).field("used", &self.used()).finish()
    }
}

impl InflightBudgetInner {
    /// Whether an owner that holds `own` bytes may reserve `more` while all owners hold `used`.
    fn admits(&self, used: usize, own: usize, more: usize) -> bool {
        let InflightLimits { bytes, share } = self.limits;
        let (own, used) = (own.saturating_add(more), used.saturating_add(more));
        let left = bytes.saturating_sub(used);
        let others = used - own.min(used);
        let is_sole_owner = others <= bytes / NEGLIGIBLE_DIVISOR && used <= bytes / MAX_FILL.1 * MAX_FILL.0;
        own <= share && used <= bytes && (own <= left || is_sole_owner)
    }
}

/// The account of one request's memory. Clones share it. The default belongs to no budget, and all
/// its reservations succeed.
#[derive(Clone, Default)]
pub struct RequestMemory(Option<Arc<RequestInner>>);

struct RequestInner {
    budget: Arc<InflightBudgetInner>,
    owner: MemoryOwner,
    held: AtomicUsize,
}

impl RequestMemory {
    /// Reserves `bytes` until the reservation is dropped.
    ///
    /// # Errors
    /// `TooLarge` when the request alone needs more than its owner's share, `Overload` when the
    /// budget has no more memory for it now.
    pub fn reserve(&self, bytes: usize) -> Result<MemoryReservation, Error> {
        let mut reservation = self.empty_reservation();
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// A reservation of 0 bytes, which can grow.
    pub fn empty_reservation(&self) -> MemoryReservation {
        MemoryReservation { memory: self.clone(), bytes: 0 }
    }

    /// Checks that `bytes` could be reserved now, without reserving them.
    ///
    /// # Errors
    /// As [`RequestMemory::reserve`].
    pub fn check_available(&self, bytes: usize) -> Result<(), Error> {
        self.reserve(bytes).map(drop)
    }

    /// Whether little is left of the budget: then requests that hold memory should not wait
    /// for slow clients.
    pub fn is_scarce(&self) -> bool {
        let Some(request) = &self.0 else { return false };
        let InflightLimits { bytes, .. } = request.budget.limits;
        request.budget.state.lock().used > bytes - bytes / SCARCE_DIVISOR
    }

    fn charge(&self, bytes: usize) -> Result<(), Error> {
        let Some(request) = self.0.as_deref().filter(|_| bytes > 0) else { return Ok(()) };
        let share = request.budget.limits.share;
        if request.held.load(Ordering::Relaxed).saturating_add(bytes) > share {
            count_refusal("share");
            return Err(share_exceeded_error(share));
        }
        let mut state = request.budget.state.lock();
        let own = state.owners.get(&request.owner).copied().unwrap_or(0);
        if !request.budget.admits(state.used, own, bytes) {
            drop(state);
            count_refusal("budget");
            return Err(memory_full_error());
        }
        state.used += bytes;
        state.owners.insert(request.owner.clone(), own + bytes);
        request.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn release(&self, bytes: usize) {
        let Some(request) = self.0.as_deref().filter(|_| bytes > 0) else { return };
        request.held.fetch_sub(bytes, Ordering::Relaxed);
        let mut state = request.budget.state.lock();
        state.used -= bytes;
        if let Some(own) = state.owners.get_mut(&request.owner) {
            *own -= bytes;
            if *own == 0 {
                state.owners.remove(&request.owner);
            }
        }
    }

    /// The limiter of the request's off-thread work.
    pub(crate) fn offload_limiter(&self) -> Option<&OffloadLimiter> {
        self.0.as_ref().map(|request| &request.budget.offload_limiter)
    }
}

impl fmt::Debug for RequestMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.0.as_ref().map(|request| request.held.load(Ordering::Relaxed));
        f.debug_tuple("RequestMemory").field(&held).finish()
    }
}

fn count_refusal(limit: &'static str) {
    counter!("cachalot_inflight_rejections_total", "by" => limit).increment(1);
}

fn share_exceeded_error(share: usize) -> Error {
    let message = format!(
        "The request needs more memory than one caller may use: the limit is {share} bytes (`inflight_bytes` and `inflight_share`)"
    );
    Error { code: Some(SHARE_EXCEEDED), ..Error::new(ErrorKind::TooLarge, message) }
}

/// Whether an error is a shortage of this server's memory.
pub(crate) fn is_memory_error(error: &Error) -> bool {
    [Some(SHARE_EXCEEDED), Some(MEMORY_FULL)].contains(&error.code)
}

fn memory_full_error() -> Error {
    let message = "The server holds as much of requests in flight as its memory allows, please try again later";
    let error = Error::new(ErrorKind::Overloaded, message);
    Error { code: Some(MEMORY_FULL), retry_after: Some(RETRY_AFTER), ..error }
}

/// Reserved memory. Dropping the reservation releases it.
#[derive(Debug, Default)]
pub struct MemoryReservation {
    memory: RequestMemory,
    bytes: usize,
}

impl MemoryReservation {
    /// Reserves `bytes` more.
    ///
    /// # Errors
    /// As [`RequestMemory::reserve`]; the reservation stays as it was.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        self.memory.charge(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves or releases memory until exactly `bytes` are reserved.
    ///
    /// # Errors
    /// As [`RequestMemory::reserve`].
    pub fn resize(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes);
        }
        self.memory.release(self.bytes - bytes);
        self.bytes = bytes;
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The account that the reservation belongs to.
    pub fn memory(&self) -> &RequestMemory {
        &self.memory
    }

    /// Converts `bytes` into a buffer that holds the reservation until its last clone or slice is
    /// dropped.
    pub fn attach_to(self, bytes: Vec<u8>) -> Bytes {
        if self.memory.0.is_none() || bytes.is_empty() {
            bytes.into()
        } else {
            Bytes::from_owner(ReservedBytes { bytes, _reservation: self })
        }
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.memory.release(self.bytes);
    }
}

struct ReservedBytes {
    bytes: Vec<u8>,
    _reservation: MemoryReservation,
}

impl AsRef<[u8]> for ReservedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
