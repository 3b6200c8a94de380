//! The memory that requests in flight may hold: `inflight_bytes` and `inflight_share` of `[server]`
//! and their defaults.

use anyhow::{Result, anyhow, ensure};
use gateway::InflightLimits;

use crate::byte_size::parse_bytes;
use crate::config::Server;
use crate::system_memory;

/// By default requests may hold a quarter of the machine's memory, within these bounds.
const DEFAULT_MEMORY_DIVISOR: u64 = 4;
const MIN_DEFAULT_BYTES: u64 = 64 << 20;
const MAX_DEFAULT_BYTES: u64 = 1 << 30;
/// The share of it that the requests of one key may hold by default.
const DEFAULT_SHARE: f64 = 0.25;
/// Copies of its body that the largest plain prompt holds at once: the body, and the chat or the
/// provider's body made from it.
const COPIES_PER_REQUEST: usize = 2;
/// Further bytes that the request of such a prompt holds.
const OVERHEAD_PER_REQUEST: usize = 1 << 20;

/// The limits of a server whose bodies have at most `body_limit` bytes.
///
/// # Errors
/// Settings that are not a size or not a share of one.
pub fn limits(settings: &Server, body_limit: usize) -> Result<InflightLimits> {
    limits_for_memory(settings, body_limit, system_memory::total())
}

fn limits_for_memory(settings: &Server, body_limit: usize, total: u64) -> Result<InflightLimits> {
    let bytes = match &settings.inflight_bytes {
        Some(text) => parse_bytes(text).map_err(|error| anyhow!("`inflight_bytes`: {error}"))?,
        None => (total / DEFAULT_MEMORY_DIVISOR).clamp(MIN_DEFAULT_BYTES, MAX_DEFAULT_BYTES),
    };
    ensure!(bytes >= 1 << 20, "`inflight_bytes` is {bytes} bytes, too few for a request: it takes at least 1MiB");
    let share = settings.inflight_share.unwrap_or(DEFAULT_SHARE);
    ensure!(share > 0.0 && share <= 1.0, "`inflight_share` takes a share of the whole, such as 0.25, not {share}");
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut share = (bytes as f64 * share) as usize;
    // The largest plain prompt must be accepted on a small machine, too.
    if settings.inflight_bytes.is_none() && settings.inflight_share.is_none() {
        share = share.max(COPIES_PER_REQUEST * body_limit + OVERHEAD_PER_REQUEST).min(bytes);
    }
    Ok(InflightLimits { bytes, share })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn limits(bytes: Option<&str>, share: Option<f64>, total_mib: u64) -> Result<(usize, usize)> {
        let settings = Server { inflight_bytes: bytes.map(Into::into), inflight_share: share, ..Server::default() };
        let InflightLimits { bytes, share } = limits_for_memory(&settings, 32 << 20, total_mib << 20)?;
        Ok((bytes / MIB, share / MIB))
    }

    #[test]
    fn a_quarter_of_the_memory_is_for_requests_and_a_quarter_of_that_for_one_key() {
        assert_eq!(limits(None, None, 2048).unwrap(), (512, 128));
        assert_eq!(limits(None, None, 64 << 10).unwrap(), (1024, 256));
        assert_eq!(limits(Some("200MiB"), None, 64 << 10).unwrap(), (200, 50));
        assert_eq!(limits(None, Some(0.5), 1024).unwrap(), (256, 128));
    }

    #[test]
    fn the_largest_plain_prompt_fits_on_a_small_machine_unless_the_operator_says_otherwise() {
        assert_eq!(limits(None, None, 1024).unwrap(), (256, 65));
        assert_eq!(limits(None, None, 128).unwrap(), (64, 64));
        assert_eq!(limits(Some("64MiB"), None, 128).unwrap(), (64, 16));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_by_name() {
        let error = |bytes, share| limits(bytes, share, 1024).unwrap_err().to_string();
        assert!(error(Some("many"), None).contains("`inflight_bytes`"));
        assert!(error(Some("10"), None).contains("`inflight_bytes`"));
        for share in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(error(None, Some(share)).contains("`inflight_share`"));
        }
    }
}
