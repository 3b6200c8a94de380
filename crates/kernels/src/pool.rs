//! The thread pool. A decode step is hundreds of parallel regions of 10-100 µs, so a region starts
//! with one atomic store and its items are taken from a counter. Waiting threads spin, then yield,
//! then park, because threads may outnumber cores.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// 2,000 spins are about 60 µs. Longer spinning slows down machines with as many threads as cores.
const SPINS: u32 = 2_000;
const YIELDS: u32 = 200;

/// Regions with fewer multiply-adds (about 20 µs of one core) run on the calling thread.
const MIN_PARALLEL_COST: usize = 200_000;

/// Held by the running region of the whole process: two pools that spin at the same time are slower
/// than one after the other.
static REGION: Mutex<()> = Mutex::new(());

type Body = dyn Fn(usize) + Sync;

/// The part of [`Shared::state`] that counts the workers inside.
const INSIDE: u64 = (1 << 31) - 1;
/// The bit of [`Shared::state`] that says whether more workers may enter.
const OPEN: u64 = 1 << 31;
/// The bits of [`Shared::state`] from here on are the number of the region.
const REGION_SHIFT: u32 = 32;

struct Shared {
    /// The number of the region, whether it is open, and the number of workers inside. The caller
    /// waits only for those: a worker that is scheduled after the last item finds
    /// the region closed.
    state: AtomicU64,
    /// The running region; set before it opens, cleared after it is closed and the last
    /// worker has left.
    job: Mutex<Option<Job>>,
    next: AtomicUsize,
    stop: AtomicBool,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Clone, Copy)]
struct Job {
    body: *const Body,
    items: usize,
}

// SAFETY: `body` points to a `Sync` closure that `Pool::run` keeps alive until every worker has
// left the region.
unsafe impl Send for Job {}

/// Worker threads that share loops with the calling thread.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool in which `threads` threads take part, the caller included.
    pub(crate) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: Mutex::new(None),
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
            panic: Mutex::new(None),
        });
        let spawn = |worker: usize| {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("kernel-{worker}")).spawn(move || run_worker(&shared))
        };
        // If the system refuses a thread, the pool has fewer.
        let workers = (1..threads.max(1)).map_while(|worker| spawn(worker).ok()).collect();
        Self { shared, workers }
    }

    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `body(item)` for every item below `items` on all threads, and returns
    /// when all are done.
    /// `cost` is the number of multiply-adds of the region; small regions run on
    /// the calling thread.
    ///
    /// # Panics
    /// With the first panic of `body`, after every thread has left the region.
    pub(crate) fn run(&self, items: usize, cost: usize, body: impl Fn(usize) + Sync) {
        if self.workers.is_empty() || items < 2 || cost < MIN_PARALLEL_COST {
            return (0..items).for_each(body);
        }
        let _one_at_a_time = lock_ignoring_poison(&REGION);
        let shared = &*self.shared;
        let body: &(dyn Fn(usize) + Sync) = &body;
        // SAFETY: only the lifetime changes; every worker has left the closure before this
        // function returns.
        let body = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static Body>(body) };
        let job = Job { body, items };
        *lock_ignoring_poison(&shared.job) = Some(job);
        shared.next.store(0, SeqCst);
        self.open_region(OPEN);
        let own = catch_unwind(AssertUnwindSafe(|| run_items(shared, job)));
        shared.state.fetch_and(!OPEN, SeqCst);
        let mut waited = 0u32;
        while shared.state.load(SeqCst) & INSIDE > 0 {
            pause(&mut waited);
        }
        *lock_ignoring_poison(&shared.job) = None;
        let theirs = lock_ignoring_poison(&shared.panic).take();
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    /// Starts the next region and wakes sleeping workers.
    fn open_region(&self, open: u64) {
        let region = (self.shared.state.load(SeqCst) >> REGION_SHIFT) + 1;
        self.shared.state.store(region << REGION_SHIFT | open, SeqCst);
        if self.shared.sleepers.load(SeqCst) > 0 {
            drop(lock_ignoring_poison(&self.shared.lock));
            self.shared.wake.notify_all();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.open_region(0);
        for worker in self.workers.drain(..) {
            // A worker catches every panic of a body, so it ends normally.
            let _ = worker.join();
        }
    }
}

fn run_worker(shared: &Shared) {
    let mut seen = 0;
    loop {
        seen = wait_for_region(shared, seen);
        if shared.stop.load(SeqCst) {
            return;
        }
        if !enter(shared, seen) {
            continue;
        }
        let job = *lock_ignoring_poison(&shared.job);
        if let Some(job) = job
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| run_items(shared, job)))
        {
            lock_ignoring_poison(&shared.panic).get_or_insert(panic);
        }
        shared.state.fetch_sub(1, SeqCst);
    }
}

/// Counts this worker in if `region` is still open.
fn enter(shared: &Shared, region: u64) -> bool {
    let open = |state: u64| (state >> REGION_SHIFT == region && state & OPEN > 0).then_some(state + 1);
    shared.state.fetch_update(SeqCst, SeqCst, open).is_ok()
}

fn run_items(shared: &Shared, job: Job) {
    // SAFETY: this thread is counted inside the region, and `Pool::run` waits for all such threads
    // before the closure goes out of scope.
    let body = unsafe { &*job.body };
    loop {
        let item = shared.next.fetch_add(1, SeqCst);
        if item >= job.items {
            return;
        }
        body(item);
    }
}

/// Waits until a region other than `seen` has started, and returns its number.
fn wait_for_region(shared: &Shared, seen: u64) -> u64 {
    let started = || Some(shared.state.load(SeqCst) >> REGION_SHIFT).filter(|region| *region != seen);
    let mut waited = 0;
    while waited < SPINS + YIELDS {
        if let Some(region) = started() {
            return region;
        }
        pause(&mut waited);
    }
    let mut guard = lock_ignoring_poison(&shared.lock);
    shared.sleepers.fetch_add(1, SeqCst);
    loop {
        if let Some(region) = started() {
            shared.sleepers.fetch_sub(1, SeqCst);
            return region;
        }
        guard = shared.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
}

fn pause(waited: &mut u32) {
    if *waited < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
    *waited = waited.saturating_add(1);
}

/// Locks a mutex whose data is consistent even after a panic.
fn lock_ignoring_poison<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A slice to which the items of a region write in disjoint pieces.
pub(crate) struct Disjoint<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: every use goes through `piece`, whose callers promise that pieces do not overlap.
unsafe impl<T: Send> Sync for Disjoint<T> {}

impl<T> Disjoint<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// The elements `start..start + len`.
    ///
    /// # Safety
    /// While the region runs, no other item may hold a piece that overlaps this one, and the
    /// slice outlives it.
    #[expect(clippy::mut_from_ref, reason = "the pieces are disjoint by the caller's promise")]
    pub(crate) unsafe fn piece(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start + len <= self.len, "a piece inside the slice");
        // SAFETY: in bounds by the assertion, unaliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_runs_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            for items in [0, 1, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                pool.run(items, usize::MAX, |item| {
                    counts[item].fetch_add(1, SeqCst);
                });
                assert!(counts.iter().all(|c| c.load(SeqCst) == 1));
            }
        }
    }

    #[test]
    fn a_panic_in_an_item_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(3);
        for _ in 0..20 {
            let result = catch_unwind(AssertUnwindSafe(|| pool.run(50, usize::MAX, |item| assert!(item != 17))));
            assert!(result.is_err());
        }
        let sum = AtomicUsize::new(0);
        pool.run(10, usize::MAX, |item| {
            sum.fetch_add(item, SeqCst);
        });
        assert_eq!(sum.load(SeqCst), 45);
    }

    #[test]
    fn sleeping_workers_wake_up() {
        let pool = Pool::new(2);
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let count = AtomicUsize::new(0);
            pool.run(100, usize::MAX, |_| {
                count.fetch_add(1, SeqCst);
            });
            assert_eq!(count.load(SeqCst), 100);
        }
    }
}
