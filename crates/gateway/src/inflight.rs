//! One budget of memory for everything that requests hold while they are in flight: bodies, parsed trees, prompts, bodies for
//! providers and whole answers. Memory is reserved before it is used; nobody waits for it, so that a full budget cannot
//! block itself.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chat::{Error, ErrorKind};
use metrics::counter;

use crate::work::Workspace;

/// When a request that was refused for lack of memory should be sent again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// An owner that shares the budget with others never fills more than this part of it, and never more than is left.
const FULL: (usize, usize) = (15, 16);
/// Others that hold less than this part of the budget do not count: an owner that is alone may use its whole share.
const QUIET: usize = 16;
/// The budget is scarce when less than this part of it is left.
const SCARCE: usize = 4;

/// The owner of a share of the budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    Key(Arc<str>),
    /// On a server without keys.
    Peer(IpAddr),
}

/// How much memory requests may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflightLimits {
    /// Bytes of all requests together.
    pub bytes: usize,
    /// Bytes of one owner's requests, and so of one request.
    pub share: usize,
}

/// The memory that requests hold, counted. Clones are the same budget.
#[derive(Clone)]
pub struct InflightBudget(Arc<Budget>);

struct Budget {
    limits: InflightLimits,
    state: Mutex<State>,
    workspace: Workspace,
}

#[derive(Default)]
struct State {
    used: usize,
    owners: HashMap<Owner, usize>,
}

impl InflightBudget {
    pub fn new(limits: InflightLimits) -> Self {
        Self(Arc::new(Budget { limits, state: Mutex::default(), workspace: Workspace::new(limits.bytes / 2) }))
    }

    /// The memory of a new request, which holds none yet.
    pub fn request(&self, owner: Owner) -> RequestMemory {
        let (budget, held) = (self.0.clone(), AtomicUsize::new(0));
        RequestMemory(Some(Arc::new(Request { budget, owner, held })))
    }

    /// Bytes that are reserved.
    pub fn used(&self) -> usize {
        self.0.state().used
    }
}

impl fmt::Debug for InflightBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InflightBudget").field("limits", &self.0.limits).field("used", &self.used()).finish()
    }
}

impl Budget {
    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are whole even when a holder panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an owner that holds `own` bytes may hold `more` while all hold `used`.
    fn admits(&self, used: usize, own: usize, more: usize) -> bool {
        let InflightLimits { bytes, share } = self.limits;
        let (own, used) = (own.saturating_add(more), used.saturating_add(more));
        let left = bytes.saturating_sub(used);
        let others = used - own.min(used);
        let alone = others <= bytes / QUIET && used <= bytes / FULL.1 * FULL.0;
        own <= share && used <= bytes && (own <= left || alone)
    }
}

/// The memory of one request. Clones are the same request's. The default belongs to no budget and is never refused.
#[derive(Clone, Default)]
pub struct RequestMemory(Option<Arc<Request>>);

struct Request {
    budget: Arc<Budget>,
    owner: Owner,
    held: AtomicUsize,
}

impl RequestMemory {
    /// Reserves `bytes` until the hold is dropped.
    ///
    /// # Errors
    /// `TooLarge` when the request alone needs more than its owner's share, `Overload` when there is no more memory for it now.
    pub fn hold(&self, bytes: usize) -> Result<Hold, Error> {
        let mut hold = self.empty();
        hold.grow(bytes)?;
        Ok(hold)
    }

    /// A hold on nothing yet, which can grow.
    pub fn empty(&self) -> Hold {
        Hold { memory: self.clone(), bytes: 0 }
    }

    /// Whether so much could be reserved now. Nothing is.
    ///
    /// # Errors
    /// As [`RequestMemory::hold`].
    pub fn fits(&self, bytes: usize) -> Result<(), Error> {
        self.hold(bytes).map(drop)
    }

    /// Little is left of the budget: who holds some of it should not take his time.
    pub fn is_scarce(&self) -> bool {
        let Some(request) = &self.0 else { return false };
        let InflightLimits { bytes, .. } = request.budget.limits;
        request.budget.state().used > bytes - bytes / SCARCE
    }

    fn reserve(&self, bytes: usize) -> Result<(), Error> {
        let Some(request) = self.0.as_deref().filter(|_| bytes > 0) else { return Ok(()) };
        let share = request.budget.limits.share;
        if request.held.load(Ordering::Relaxed).saturating_add(bytes) > share {
            refused("share");
            return Err(too_large(share));
        }
        let mut state = request.budget.state();
        let own = state.owners.get(&request.owner).copied().unwrap_or(0);
        if !request.budget.admits(state.used, own, bytes) {
            drop(state);
            refused("budget");
            return Err(full());
        }
        state.used += bytes;
        state.owners.insert(request.owner.clone(), own + bytes);
        request.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn release(&self, bytes: usize) {
        let Some(request) = self.0.as_deref().filter(|_| bytes > 0) else { return };
        request.held.fetch_sub(bytes, Ordering::Relaxed);
        let mut state = request.budget.state();
        state.used -= bytes;
        if let Some(own) = state.owners.get_mut(&request.owner) {
            *own -= bytes;
            if *own == 0 {
                state.owners.remove(&request.owner);
            }
        }
    }

    /// Where its work waits for its turn.
    pub(crate) fn workspace(&self) -> Option<&Workspace> {
        self.0.as_ref().map(|request| &request.budget.workspace)
    }
}

impl fmt::Debug for RequestMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.0.as_ref().map(|request| request.held.load(Ordering::Relaxed));
        f.debug_tuple("RequestMemory").field(&held).finish()
    }
}

fn refused(by: &'static str) {
    counter!("cachalot_inflight_refused_total", "by" => by).increment(1);
}

fn too_large(share: usize) -> Error {
    let message = format!(
        "The request needs more memory than one caller may use: the limit is {share} bytes (`inflight_bytes` and `inflight_share`)"
    );
    Error { code: Some("memory_share_exceeded"), ..Error::new(ErrorKind::TooLarge, message) }
}

fn full() -> Error {
    let message = "The server holds as much of requests in flight as its memory allows, please try again later";
    let error = Error::new(ErrorKind::Overloaded, message);
    Error { code: Some("memory_full"), retry_after: Some(RETRY_AFTER), ..error }
}

/// Memory that is reserved for one thing. Dropping it gives the memory back.
#[derive(Debug, Default)]
pub struct Hold {
    memory: RequestMemory,
    bytes: usize,
}

impl Hold {
    /// Reserves more.
    ///
    /// # Errors
    /// As [`RequestMemory::hold`]; what is held stays held.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        self.memory.reserve(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves more, or gives back, until exactly `bytes` are held.
    ///
    /// # Errors
    /// As [`RequestMemory::hold`].
    pub fn set(&mut self, bytes: usize) -> Result<(), Error> {
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

    /// The memory of which it is a part.
    pub fn memory(&self) -> &RequestMemory {
        &self.memory
    }

    /// `bytes`, and the memory that is held for them until the last of their clones and slices is gone.
    pub fn over(self, bytes: Vec<u8>) -> Bytes {
        if self.memory.0.is_none() || bytes.is_empty() {
            bytes.into()
        } else {
            Bytes::from_owner(Owned { bytes, _hold: self })
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.memory.release(self.bytes);
    }
}

struct Owned {
    bytes: Vec<u8>,
    _hold: Hold,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
