//! Histograms of times. Their counts can be added, unlike percentiles, which are estimated from
//! the sum.

/// The number of buckets of a histogram.
pub(crate) const TIME_BUCKETS: usize = 24;

/// The upper bounds of all buckets but the last, in milliseconds. Neighbours differ by a factor of
/// 2.5 at most, so an estimated percentile is in the right order even where one bucket has all.
const BOUNDS_MS: [i64; TIME_BUCKETS - 1] = [
    10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 7500, 10_000, 15_000, 30_000,
    60_000, 120_000, 300_000,
];

/// The upper bound of the last bucket for estimates, in milliseconds.
const LAST_BOUND_MS: i64 = 600_000;

/// The number of requests by the bucket of their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeHistogram(pub [i64; TIME_BUCKETS]);

impl TimeHistogram {
    /// Counts a time in microseconds.
    pub(crate) fn record(&mut self, micros: i64) {
        self.0[BOUNDS_MS.partition_point(|bound| bound * 1000 <= micros)] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// The time in milliseconds of the request that `share` (0 to 1) of the requests do not exceed.
    /// The requests of a bucket are taken for evenly spread over it, so that one request has the
    /// same time at every share. `None` without requests.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let total: i64 = self.0.iter().sum();
        let mut rank = (share * total as f64).ceil().max(1.0);
        for (bucket, &count) in self.0.iter().enumerate() {
            if rank <= count as f64 {
                let (low, high) = bounds_ms(bucket);
                return Some(low as f64 + (high - low) as f64 * (rank - 0.5) / count as f64);
            }
            rank -= count as f64;
        }
        None
    }
}

/// The lower and the upper bound of a bucket, in milliseconds.
fn bounds_ms(bucket: usize) -> (i64, i64) {
    let low = bucket.checked_sub(1).map_or(0, |before| BOUNDS_MS[before]);
    (low, BOUNDS_MS.get(bucket).copied().unwrap_or(LAST_BOUND_MS))
}

/// The SQL condition that the time in a column is in a bucket.
pub(crate) fn bucket_sql(column: &str, bucket: usize) -> String {
    let (low, high) = bounds_ms(bucket);
    let above = format!("{column} >= {}", low * 1000);
    if bucket == TIME_BUCKETS - 1 { above } else { format!("{above} and {column} < {}", high * 1000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_estimated_within_their_bucket() {
        let mut histogram = TimeHistogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        (0..100).for_each(|_| histogram.record(150_000));
        assert_eq!(histogram.percentile(0.0), Some(150.25));
        assert_eq!(histogram.percentile(0.5), Some(174.75));
        assert_eq!(histogram.percentile(1.0), Some(199.75));
        (0..100).for_each(|_| histogram.record(4_000_000));
        assert_eq!(histogram.percentile(0.5), Some(199.75));
        assert_eq!(histogram.percentile(0.95), Some(4790.0));
        histogram.record(i64::MAX);
        assert_eq!(histogram.percentile(1.0), Some(450_000.0));
    }

    #[test]
    fn one_request_has_one_time() {
        let mut histogram = TimeHistogram::default();
        histogram.record(260_000);
        assert_eq!([0.5, 0.95, 0.99].map(|share| histogram.percentile(share)), [Some(250.0); 3]);
    }

    #[test]
    fn the_buckets_cover_all_times() {
        for (micros, bucket) in [(0, 0), (9_999, 0), (10_000, 1), (299_999_999, 22), (300_000_000, 23)] {
            let mut histogram = TimeHistogram::default();
            histogram.record(micros);
            assert_eq!(histogram.0[bucket], 1, "{micros}");
        }
        assert!(BOUNDS_MS.is_sorted());
        assert_eq!(bucket_sql("x", 0), "x >= 0 and x < 10000");
        assert_eq!(bucket_sql("x", 23), "x >= 300000000");
    }
}
