//! Shared by the fuzz targets: a time bound for every input, and bytes cut at any places.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time that an input of any length may take: a hundred times the time of a short one.
const FLOOR: Duration = Duration::from_millis(20);
/// And for every byte. Instrumented parsers of a whole target take at most a fifth of it; one that
/// compares every byte of 64 KiB with every other takes thirty times as long.
const PER_BYTE: Duration = Duration::from_micros(2);

/// The CPU time that an input of so many bytes may take.
fn bound(bytes: usize) -> Duration {
    FLOOR + PER_BYTE * u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Does `work` on an input of so many bytes.
///
/// # Panics
/// When it takes more CPU time of this thread than such an input may take, twice:
/// once could be noise.
pub fn bounded(bytes: usize, mut work: impl FnMut()) {
    let mut taken = timed(&mut work);
    if taken > bound(bytes) {
        taken = taken.min(timed(&mut work));
    }
    assert!(taken <= bound(bytes), "an input of {bytes} bytes takes {taken:?}, more than {:?}", bound(bytes));
    note(bytes, taken);
}

fn timed(work: &mut impl FnMut()) -> Duration {
    let began = cpu_time();
    work();
    cpu_time() - began
}

/// The CPU time of this thread so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Says which input came nearest to its bound so far.
fn note(bytes: usize, taken: Duration) {
    static NEAREST: AtomicU64 = AtomicU64::new(0);
    let share = (taken.as_nanos() * 1_000_000 / bound(bytes).as_nanos()) as u64;
    if share > NEAREST.fetch_max(share, Ordering::Relaxed) * 11 / 10 {
        eprintln!("nearest to its bound: {bytes} bytes, {taken:?}, {:.2} %", share as f64 / 10_000.0);
    }
}

/// Takes `N` bytes off the end of an input, which steer the target: what is before them is
/// as it would come.
pub fn steered<const N: usize>(input: &[u8]) -> Option<(&[u8], [u8; N])> {
    let (bytes, steer) = input.split_last_chunk()?;
    Some((bytes, *steer))
}

/// The same bytes in pieces, whose lengths a seed decides: from 1 byte to all of them.
pub fn pieces(mut bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed).wrapping_mul(0x9e37_79b9) | 1;
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        // xorshift32
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        // Short ones mostly; some of a few hundred bytes.
        let longest = if state & 7 == 0 { 600 } else { 1 + (seed as usize & 31) };
        let (piece, rest) = bytes.split_at((1 + (state >> 8) as usize % longest).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// The same bytes without every `drop`.
pub fn without(bytes: &[u8], drop: u8) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| *byte != drop).collect()
}
