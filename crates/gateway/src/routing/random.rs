//! Random numbers for routing.

use std::sync::atomic::{AtomicU64, Ordering};

/// A random number above 0 and at most 1: SplitMix64 of a counter, which is good enough for load
/// balancing.
pub(crate) fn random_unit() -> f64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut z = COUNTER.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    to_unit_interval(z)
}

/// Maps random bits to a number above 0 and at most 1.
pub(crate) fn to_unit_interval(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}
