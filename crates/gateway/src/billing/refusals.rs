//! Records of refused requests, which cost nothing. A key that is refused often has one record for
//! many requests.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use chat::ErrorKind;
use parking_lot::Mutex;
use store::UsageRecord;

/// The most refused requests of a key in a second that have a record of their own.
const MAX_RECORDS_PER_SECOND: u32 = 10;

/// The outcome of a request that is refused for this reason before a provider receives it; `None`
/// for errors that leave no record, such as a malformed body.
pub(crate) fn refusal_outcome(kind: ErrorKind, is_model_unknown: bool) -> Option<&'static str> {
    match kind {
        ErrorKind::InsufficientBalance => Some("insufficient_balance"),
        ErrorKind::Forbidden => Some("forbidden"),
        ErrorKind::TooLarge => Some("too_large"),
        ErrorKind::RateLimited => Some("rate_limited"),
        ErrorKind::Overloaded => Some("overloaded"),
        ErrorKind::InvalidRequest | ErrorKind::NotFound if is_model_unknown => Some("model_not_found"),
        _ => None,
    }
}

/// The refused requests of the current second.
#[derive(Debug, Default)]
pub(crate) struct RefusalLimiter(Mutex<HashMap<Arc<str>, KeyRefusals>>);

/// The refused requests of one key.
#[derive(Debug, Default)]
struct KeyRefusals {
    /// Seconds since 1970.
    second: i64,
    /// The number of records of this second.
    records: u32,
    /// The requests beyond them, by outcome and model.
    rest: HashMap<(Cow<'static, str>, Arc<str>), UsageRecord>,
}

impl RefusalLimiter {
    /// Takes the record of a refused request. Returns the records to be written now: this one,
    /// unless there were too many in its second, and those of the seconds before.
    pub(crate) fn admit(&self, record: UsageRecord) -> Vec<UsageRecord> {
        let second = record.at.div_euclid(1_000_000);
        let key = record.key_id.clone().unwrap_or_else(|| record.key_name.clone());
        let mut keys = self.0.lock();
        let refusals = keys.entry(key).or_default();
        let mut ready = Vec::new();
        if refusals.second != second {
            ready.extend(std::mem::take(refusals).rest.into_values());
            refusals.second = second;
        }
        if refusals.records < MAX_RECORDS_PER_SECOND {
            refusals.records += 1;
            ready.push(record);
            return ready;
        }
        refusals
            .rest
            .entry((record.outcome.clone(), record.model.clone()))
            .and_modify(|first| first.further_requests += 1)
            .or_insert(record);
        ready
    }

    /// The records of the requests that were refused before `at`, in microseconds since 1970.
    pub(crate) fn take_before(&self, at: i64) -> Vec<UsageRecord> {
        let second = at.div_euclid(1_000_000);
        let mut ready = Vec::new();
        self.0.lock().retain(|_, refusals| {
            let is_over = refusals.second < second;
            if is_over {
                ready.extend(std::mem::take(&mut refusals.rest).into_values());
            }
            !is_over
        });
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(at: i64, key: &str, model: &str) -> UsageRecord {
        let (key_name, model, outcome) = (key.into(), model.into(), "rate_limited".into());
        UsageRecord { at, key_name, model, outcome, ..UsageRecord::default() }
    }

    #[test]
    fn beyond_ten_a_second_one_record_counts_the_rest() {
        let limiter = RefusalLimiter::default();
        let written = |key, at| limiter.admit(refusal(at, key, "m")).len();
        assert_eq!((0..15).map(|at| written("a", at)).sum::<usize>(), 10);
        assert_eq!((written("b", 20), limiter.admit(refusal(21, "a", "n")).len()), (1, 0));
        assert!(limiter.take_before(999_999).is_empty(), "the second is not over");
        // The next refusal, or the clock, ends the second.
        let mut ready = limiter.admit(refusal(1_000_000, "a", "m"));
        ready.sort_by_key(|record| (record.at, record.requests()));
        assert_eq!(
            ready.iter().map(|record| (record.at, record.requests())).collect::<Vec<_>>(),
            [(10, 5), (21, 1), (1_000_000, 1)]
        );
        (0..12).for_each(|_| _ = limiter.admit(refusal(1_000_001, "a", "m")));
        let rest = limiter.take_before(2_000_000);
        assert_eq!(rest.iter().map(UsageRecord::requests).collect::<Vec<_>>(), [3]);
        assert!(limiter.0.lock().is_empty());
    }
}
