//! The clock of all times in the store.

use std::time::{SystemTime, UNIX_EPOCH};

/// An hour in microseconds.
pub const HOUR_MICROS: i64 = 3_600 * 1_000_000;
/// A day in microseconds.
pub const DAY_MICROS: i64 = 24 * HOUR_MICROS;

/// Microseconds since 1970 (UTC).
pub fn now_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
