//! The rate at which this machine reads memory, which bounds the rate of generated tokens.

use std::hint::black_box;
use std::time::Instant;

/// Bytes that each thread reads in one pass: more than the caches of its core.
const BYTES_PER_THREAD: usize = 64 << 20;
/// Bytes that all threads read at most.
const MAX_BYTES: usize = 1 << 30;
/// Passes, of which the fastest counts.
const PASSES: usize = 4;

/// Measures the bytes a second that `threads` threads together read from memory. Takes about a
/// tenth of a second, and 64 MiB for each thread, but at most 1 GiB.
pub fn measure(threads: usize) -> f64 {
    let bytes = BYTES_PER_THREAD.min(MAX_BYTES / threads.max(1));
    let buffers: Vec<Vec<u64>> = (0..threads).map(|thread| vec![thread as u64 + 1; bytes / 8]).collect();
    let fastest = (0..PASSES).map(|_| read_once(&buffers)).fold(f64::INFINITY, f64::min);
    (threads * bytes) as f64 / fastest
}

/// Reads each buffer on a thread of its own. Returns seconds.
fn read_once(buffers: &[Vec<u64>]) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for buffer in buffers {
            scope.spawn(|| black_box(buffer.iter().fold(0u64, |sum, value| sum.wrapping_add(*value))));
        }
    });
    start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_measured() {
        let rate = measure(1);
        assert!((1e8..1e13).contains(&rate), "{rate}");
    }
}
