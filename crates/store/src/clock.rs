//! The clock of all times in the store.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 (UTC).
pub fn now_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
