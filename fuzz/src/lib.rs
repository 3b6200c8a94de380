//! Helpers of the fuzz targets: a time limit for every input, and splitting of bytes into pieces.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time limit of an empty input: a hundred times the time of a short one.
const BASE_LIMIT: Duration = Duration::from_millis(20);
/// The additional limit for each byte. The instrumented parsers of a target take at most a fifth of
/// it; a parser that compares every byte of 64 KiB with every other takes thirty times as long.
const LIMIT_PER_BYTE: Duration = Duration::from_micros(2);

/// The limit on the CPU time of an input of this length.
fn time_limit(bytes: usize) -> Duration {
    BASE_LIMIT + LIMIT_PER_BYTE * u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Runs `work` on an input of this length.
///
/// # Panics
/// When it exceeds the limit on CPU time twice; once may be noise.
pub fn within_time_limit(bytes: usize, mut work: impl FnMut()) {
    let mut taken = timed(&mut work);
    if taken > time_limit(bytes) {
        taken = taken.min(timed(&mut work));
    }
    let limit = time_limit(bytes);
    assert!(taken <= limit, "an input of {bytes} bytes takes {taken:?}, more than {limit:?}");
    report_slowest(bytes, taken);
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

/// Reports the input that came closest to its limit so far.
fn report_slowest(bytes: usize, taken: Duration) {
    static LARGEST_SHARE: AtomicU64 = AtomicU64::new(0);
    let share = (taken.as_nanos() * 1_000_000 / time_limit(bytes).as_nanos()) as u64;
    if share > LARGEST_SHARE.fetch_max(share, Ordering::Relaxed) * 11 / 10 {
        eprintln!("closest to its limit: {bytes} bytes, {taken:?}, {:.2} %", share as f64 / 10_000.0);
    }
}

/// Splits an input into data and the last `N` bytes, which control the target.
pub fn split_control<const N: usize>(input: &[u8]) -> Option<(&[u8], [u8; N])> {
    let (data, control) = input.split_last_chunk()?;
    Some((data, *control))
}

/// Splits bytes into pieces whose lengths depend on a seed.
pub fn split(mut bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed).wrapping_mul(0x9e37_79b9) | 1;
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        // xorshift32
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        // Most pieces are short; some have a few hundred bytes.
        let longest = if state & 7 == 0 { 600 } else { 1 + (seed as usize & 31) };
        let (piece, rest) = bytes.split_at((1 + (state >> 8) as usize % longest).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// Returns the bytes without every `removed`.
pub fn without(bytes: &[u8], removed: u8) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| *byte != removed).collect()
}
