//! How much a caller may ask: money, requests and tokens a minute, requests at the same time. What
//! a request may cost is reserved before it begins and settled when it ends; what it cost beyond
//! that becomes debt.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chat::{Error, ErrorKind};

use crate::limits::budget::{Budget, BudgetRequest};
use crate::limits::rate_limit::{RateKind, RateLimiter, RateLimits};
use crate::limits::redis_leases::ConcurrencySlot;

/// The purses and the pace of one key.
#[derive(Debug, Default)]
pub(crate) struct KeyLimits {
    pub(crate) key_budget: Budget,
    pub(crate) project_budget: Arc<Budget>,
    pub(crate) rate_limiter: RateLimiter,
    /// Something of it is leased.
    pub(crate) has_lease: AtomicBool,
}

impl KeyLimits {
    /// The key_limits of the key with this id. `leased`: other machines have the same.
    pub(crate) fn new(key_id: &str, project_budget: Arc<Budget>, leased: bool) -> Self {
        let (key, speed) = (Budget::new(format!("key:{key_id}"), leased), RateLimiter::new(leased));
        Self { key_budget: key, project_budget, rate_limiter: speed, ..Self::default() }
    }

    /// Nano-dollars that requests may still reserve of the key and of its project, an overdraft
    /// included; `None` without a budget.
    pub(crate) fn available_budget(&self) -> Option<i64> {
        [self.key_budget.available(), self.project_budget.available()].into_iter().flatten().min()
    }

    pub(crate) fn budget(&self, owner: BudgetOwner) -> &Budget {
        match owner {
            BudgetOwner::Key => &self.key_budget,
            BudgetOwner::Project => &self.project_budget,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BudgetOwner {
    Key,
    Project,
}

/// What there is not enough of for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitExceeded {
    Budget(BudgetOwner),
    /// There will be enough after that time.
    Rate(RateKind, Duration),
    Concurrency,
}

impl From<LimitExceeded> for Error {
    fn from(exceeded: LimitExceeded) -> Self {
        let wait = match exceeded {
            LimitExceeded::Budget(_) => return Self::new(ErrorKind::InsufficientBalance, "Insufficient Balance"),
            LimitExceeded::Rate(_, wait) => wait,
            LimitExceeded::Concurrency => Duration::from_secs(1),
        };
        let mut error = Self::new(ErrorKind::RateLimited, "Rate limit reached");
        error.retry_after = Some(wait);
        error
    }
}

/// What a request may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReservationRequest {
    pub(crate) tokens: u64,
    pub(crate) budget: BudgetRequest,
}

/// The right to ask once. Dropped without [`Permit::settle`], it costs nothing.
#[derive(Debug)]
pub(crate) struct Permit {
    limits: Arc<KeyLimits>,
    key_reserved: i64,
    project_reserved: i64,
    reserved_tokens: u64,
    cost: i64,
    used_tokens: u64,
    /// The place among those that may ask at the same time, on all machines.
    pub(crate) slot: Option<ConcurrencySlot>,
}

impl Permit {
    /// Balance first, then pace (API document 0.5).
    ///
    /// # Errors
    /// What the key or its project is short of.
    pub(crate) fn acquire(
        key_limits: &Arc<KeyLimits>,
        rate_limits: RateLimits,
        request: ReservationRequest,
    ) -> Result<Self, LimitExceeded> {
        let key = key_limits.key_budget.reserve(request.budget).ok_or(LimitExceeded::Budget(BudgetOwner::Key))?;
        let Some(project) = key_limits.project_budget.reserve(request.budget) else {
            key_limits.key_budget.settle(key, 0);
            return Err(LimitExceeded::Budget(BudgetOwner::Project));
        };
        if let Err(exceeded) = key_limits.rate_limiter.acquire(rate_limits, request.tokens) {
            key_limits.key_budget.settle(key, 0);
            key_limits.project_budget.settle(project, 0);
            return Err(exceeded);
        }
        let key_limits = key_limits.clone();
        Ok(Self {
            limits: key_limits,
            key_reserved: key,
            project_reserved: project,
            reserved_tokens: request.tokens,
            cost: 0,
            used_tokens: 0,
            slot: None,
        })
    }

    /// Nano-dollars that are reserved for it: the lesser of the key's and the project's.
    pub(crate) fn reserved_amount(&self) -> i64 {
        self.key_reserved.min(self.project_reserved)
    }

    /// What the request cost in the end, which may be more than was reserved.
    pub(crate) fn settle(&mut self, tokens: u64, cost: i64) {
        (self.used_tokens, self.cost) = (tokens, cost);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.key_budget.settle(self.key_reserved, self.cost);
        self.limits.project_budget.settle(self.project_reserved, self.cost);
        self.limits.rate_limiter.release(self.reserved_tokens, self.used_tokens);
    }
}

/// What is locked is whole even when a holder panicked.
pub(crate) fn lock_ignoring_poison<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_limits(budget: Option<i64>) -> Arc<KeyLimits> {
        let key_limits = KeyLimits::default();
        key_limits.key_budget.update(budget, 0, 0);
        Arc::new(key_limits)
    }

    fn acquire(key_limits: &Arc<KeyLimits>, rate_limits: RateLimits, tokens: u64, cost: i64) -> Result<Permit, Error> {
        let money = BudgetRequest { amount: cost, minimum: 1, overdraft: 0 };
        Permit::acquire(key_limits, rate_limits, ReservationRequest { tokens, budget: money }).map_err(Error::from)
    }

    #[test]
    fn what_is_reserved_cannot_be_spent_twice_and_comes_back() {
        let key_limits = key_limits(Some(100));
        let mut first = acquire(&key_limits, RateLimits::default(), 0, 60).unwrap();
        let second = acquire(&key_limits, RateLimits::default(), 0, 60).unwrap();
        // 60 and the 40 that were left.
        assert_eq!(acquire(&key_limits, RateLimits::default(), 0, 1).unwrap_err().kind, ErrorKind::InsufficientBalance);
        drop(second);
        assert_eq!(key_limits.key_budget.remaining(), Some(40));
        first.settle(0, 10);
        drop(first);
        assert_eq!(key_limits.key_budget.remaining(), Some(90));
        key_limits.key_budget.set_committed(10, 1);
        key_limits.key_budget.record_committed(10);
        assert_eq!(key_limits.key_budget.remaining(), Some(90));
    }

    #[test]
    fn a_request_that_costs_more_than_it_reserved_leaves_debt() {
        let key_limits = key_limits(Some(100));
        let mut permit = acquire(&key_limits, RateLimits::default(), 0, 60).unwrap();
        permit.settle(0, 130);
        drop(permit);
        assert_eq!(key_limits.key_budget.remaining(), Some(-30));
        assert!(acquire(&key_limits, RateLimits::default(), 0, 0).is_err());
        key_limits.key_budget.update(Some(200), 0, 0);
        assert!(acquire(&key_limits, RateLimits::default(), 0, 0).is_ok());
    }

    #[test]
    fn an_empty_project_stops_its_keys_and_nothing_stays_reserved() {
        let key_limits = key_limits(Some(100));
        key_limits.project_budget.update(Some(5), 5, 0);
        assert_eq!(
            acquire(&key_limits, RateLimits::default(), 0, 60).unwrap_err().kind,
            ErrorKind::InsufficientBalance
        );
        assert_eq!(key_limits.key_budget.remaining(), Some(100));
    }

    #[test]
    fn too_many_requests_or_tokens_are_told_when_to_come_back() {
        let (key_limits, rate_limits) =
            (key_limits(None), RateLimits { requests: Some(2), tokens: Some(600), concurrency: None });
        let mut first = acquire(&key_limits, rate_limits, 100, 0).unwrap();
        first.settle(10_000, 0);
        drop(first);
        // 600 - 10,000 tokens, ten a second.
        let error = acquire(&key_limits, rate_limits, 1, 0).unwrap_err();
        let wait = error.retry_after.unwrap().as_secs();
        assert!(error.kind == ErrorKind::RateLimited && (938..=941).contains(&wait), "{wait}");

        let key_limits = self::key_limits(None);
        let rate_limits = RateLimits { requests: Some(2), ..RateLimits::default() };
        let permits =
            [acquire(&key_limits, rate_limits, 0, 0).unwrap(), acquire(&key_limits, rate_limits, 0, 0).unwrap()];
        let wait = acquire(&key_limits, rate_limits, 0, 0).unwrap_err().retry_after.unwrap();
        assert!(wait <= Duration::from_secs(30) && wait > Duration::from_secs(25), "{wait:?}");
        drop(permits);
        assert!(acquire(&key_limits, rate_limits, 0, 0).is_err(), "a request that has ended was one all the same");
    }

    #[test]
    fn only_so_many_at_once() {
        let (key_limits, rate_limits) =
            (key_limits(None), RateLimits { concurrency: Some(1), ..RateLimits::default() });
        let permit = acquire(&key_limits, rate_limits, 0, 0).unwrap();
        assert_eq!(acquire(&key_limits, rate_limits, 0, 0).unwrap_err().kind, ErrorKind::RateLimited);
        drop(permit);
        assert!(acquire(&key_limits, rate_limits, 0, 0).is_ok());
    }
}
