//! The limit on failed attempts to sign in.
//!
//! Five failures of a name, from any addresses, block it for the addresses that took part; an
//! address of its own that has not failed may still sign in, so that nobody can lock a user out.
//! Twenty failures of an address block the address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use chat::{Error, ErrorKind};
use parking_lot::Mutex;

/// The failures of a name that block it.
const MAX_OF_NAME: usize = 5;
/// The failures of an address that block it.
const MAX_OF_ADDRESS: usize = 20;
/// The time for which a failure counts.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// The failures that are kept. Beyond them, the oldest are forgotten.
const MAX_FAILURES: usize = 20_000;

/// Failed attempts of the last 15 minutes.
#[derive(Default)]
pub(crate) struct Throttle(Mutex<Failures>);

#[derive(Default)]
struct Failures {
    /// Every failure, the oldest first.
    all: VecDeque<Failure>,
    next_number: u64,
    by_name: HashMap<String, usize>,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Clone, Debug)]
struct Failure {
    number: u64,
    at: Instant,
    /// The name, if the attempt had one.
    name: Option<String>,
    address: IpAddr,
}

/// An attempt, which counts as a failure until it has succeeded: attempts at the same time cannot
/// exceed the limit.
#[must_use]
pub(crate) struct Attempt<'a> {
    throttle: &'a Throttle,
    number: u64,
}

impl Throttle {
    /// Begins an attempt to sign in as `name` from `address`. Without a name only the address
    /// counts.
    ///
    /// # Errors
    /// `RateLimited` when the name or the address is blocked.
    pub(crate) fn begin(&self, name: Option<&str>, address: IpAddr) -> Result<Attempt<'_>, Error> {
        self.begin_at(Instant::now(), name, address)
    }

    fn begin_at(&self, now: Instant, name: Option<&str>, address: IpAddr) -> Result<Attempt<'_>, Error> {
        // Longer names are of nobody: only the address counts.
        let name = name.filter(|name| store::is_name(name));
        let mut failures = self.0.lock();
        failures.forget_before(now);
        if let Some(until) = failures.blocked_until(name, address) {
            let seconds = until.saturating_duration_since(now).as_secs() + 1;
            let message = format!("Too many failed attempts: try again in {} min", seconds.div_ceil(60));
            let mut error = Error::new(ErrorKind::RateLimited, message);
            error.code = Some("too_many_attempts");
            error.retry_after = Some(Duration::from_secs(seconds));
            return Err(error);
        }
        let number = failures.next_number;
        failures.next_number += 1;
        failures.push(Failure { number, at: now, name: name.map(str::to_owned), address });
        Ok(Attempt { throttle: self, number })
    }
}

impl Attempt<'_> {
    /// Records that the attempt has succeeded: it is not a failure.
    pub(crate) fn succeed(self) {
        self.throttle.0.lock().remove(self.number);
    }
}

impl Failures {
    fn push(&mut self, failure: Failure) {
        if self.all.len() == MAX_FAILURES {
            self.pop_oldest();
        }
        if let Some(name) = &failure.name {
            *self.by_name.entry(name.clone()).or_default() += 1;
        }
        *self.by_address.entry(failure.address).or_default() += 1;
        self.all.push_back(failure);
    }

    fn forget_before(&mut self, now: Instant) {
        while self.all.front().is_some_and(|failure| now.duration_since(failure.at) >= WINDOW) {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some(failure) = self.all.pop_front() {
            self.uncount(&failure);
        }
    }

    fn remove(&mut self, number: u64) {
        if let Ok(index) = self.all.binary_search_by_key(&number, |failure| failure.number)
            && let Some(failure) = self.all.remove(index)
        {
            self.uncount(&failure);
        }
    }

    fn uncount(&mut self, failure: &Failure) {
        if let Some(name) = &failure.name {
            decrement(&mut self.by_name, name);
        }
        decrement(&mut self.by_address, &failure.address);
    }

    /// The time until which the name or the address is blocked.
    fn blocked_until(&self, name: Option<&str>, address: IpAddr) -> Option<Instant> {
        let of_address = self.by_address.get(&address).copied().unwrap_or_default();
        if of_address >= MAX_OF_ADDRESS {
            return self.release_time(of_address - MAX_OF_ADDRESS, |failure| failure.address == address);
        }
        let of_name = name.and_then(|name| self.by_name.get(name)).copied().unwrap_or_default();
        if of_address == 0 || of_name < MAX_OF_NAME {
            return None;
        }
        let is_of_name = |failure: &Failure| failure.name.as_deref() == name;
        if !self.all.iter().any(|failure| failure.address == address && is_of_name(failure)) {
            return None;
        }
        self.release_time(of_name - MAX_OF_NAME, is_of_name)
    }

    /// The time at which the failure that is `index`th among those of `belongs` is forgotten.
    fn release_time(&self, index: usize, belongs: impl Fn(&Failure) -> bool) -> Option<Instant> {
        self.all.iter().filter(|failure| belongs(failure)).nth(index).map(|failure| failure.at + WINDOW)
    }
}

fn decrement<K: std::hash::Hash + Eq + Clone>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Fails, and returns whether the attempt was admitted.
    fn fails(throttle: &Throttle, now: Instant, name: &str, from: u8) -> bool {
        throttle.begin_at(now, Some(name), address(from)).is_ok()
    }

    #[test]
    fn five_failures_block_a_name_for_the_addresses_that_failed() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..4 {
            assert!(fails(&throttle, now, "olga", 1));
        }
        throttle.begin_at(now, Some("olga"), address(1)).unwrap().succeed();
        assert!(fails(&throttle, now, "olga", 2), "the fifth, from another address");
        for from in [1, 2] {
            let blocked = throttle.begin_at(now, Some("olga"), address(from)).err().unwrap();
            assert_eq!((blocked.kind, blocked.code), (ErrorKind::RateLimited, Some("too_many_attempts")));
            assert_eq!(blocked.retry_after, Some(Duration::from_secs(901)));
        }
        assert!(fails(&throttle, now, "bob", 1), "another name");
        throttle.begin_at(now, Some("olga"), address(3)).unwrap().succeed();
        assert!(fails(&throttle, now, "olga", 3), "one guess for each address");
        assert!(!fails(&throttle, now, "olga", 3));
        assert!(fails(&throttle, now + WINDOW, "olga", 1));
    }

    #[test]
    fn twenty_failures_block_an_address() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        for number in 0..20 {
            assert!(fails(&throttle, at(number / 2), &format!("user {number}"), 1));
        }
        assert!(!fails(&throttle, at(10), "another", 1));
        assert!(throttle.begin_at(at(10), None, address(1)).is_err());
        assert!(fails(&throttle, at(10), "another", 2));
        // The first two failures are forgotten 15 minutes after them.
        assert!(fails(&throttle, at(15), "a", 1) && fails(&throttle, at(15), "b", 1));
        assert!(!fails(&throttle, at(15), "c", 1));
    }

    #[test]
    fn the_table_is_bounded() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..MAX_FAILURES as u32 + 50 {
            let from = IpAddr::from((10 << 24 | number).to_be_bytes());
            assert!(throttle.begin_at(now, Some(&number.to_string()), from).is_ok());
        }
        let failures = throttle.0.lock();
        assert_eq!((failures.all.len(), failures.by_name.len(), failures.by_address.len()), (20_000, 20_000, 20_000));
    }
}
