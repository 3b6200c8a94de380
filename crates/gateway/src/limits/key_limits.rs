//! The limits of one key, and the permit of one request. The estimated cost of a request is
//! reserved before it starts and settled when it ends; a cost above the reservation becomes debt.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::limits::budget::{Budget, BudgetRequest};
use crate::limits::exceeded::{BudgetOwner, LimitExceeded};
use crate::limits::rate_limit::{RateLimiter, RateLimits};
use crate::limits::slot::ConcurrencySlot;

/// The budgets and the rate limiter of one key.
#[derive(Debug, Default)]
pub(crate) struct KeyLimits {
    pub(crate) key_budget: Budget,
    pub(crate) project_budget: Arc<Budget>,
    pub(crate) rate_limiter: RateLimiter,
    /// Whether the key may hold leases, and is listed for their renewal.
    pub(crate) has_lease: AtomicBool,
}

impl KeyLimits {
    /// The limits of the key with this id. `leased`: other replicas have the same limits.
    pub(crate) fn new(key_id: &str, project_budget: Arc<Budget>, leased: bool) -> Self {
        let key_budget = Budget::new(format!("key:{key_id}"), leased);
        Self { key_budget, project_budget, rate_limiter: RateLimiter::new(leased), ..Self::default() }
    }

    /// Nano-dollars that requests may still reserve, including an overdraft: the lesser of the
    /// key's and the project's; `None` without a budget.
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

/// The amounts that a request reserves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReservationRequest {
    pub(crate) tokens: u64,
    pub(crate) budget: BudgetRequest,
}

/// The admission of one request. Dropping it settles: without [`Permit::settle`], at no cost.
#[derive(Debug)]
pub(crate) struct Permit {
    limits: Arc<KeyLimits>,
    key_reserved: i64,
    project_reserved: i64,
    reserved_tokens: u64,
    cost: i64,
    used_tokens: u64,
    /// The slot among the running requests of the key on all replicas.
    pub(crate) slot: Option<ConcurrencySlot>,
}

impl Permit {
    /// Checks the budgets first, then the rate limits (docs/api.md, 0.5).
    ///
    /// # Errors
    /// The first limit that the request exceeds.
    pub(crate) fn acquire(
        key_limits: &Arc<KeyLimits>,
        rate_limits: RateLimits,
        request: ReservationRequest,
    ) -> Result<Self, LimitExceeded> {
        let key_reserved =
            key_limits.key_budget.reserve(request.budget).ok_or(LimitExceeded::Budget(BudgetOwner::Key))?;
        let Some(project_reserved) = key_limits.project_budget.reserve(request.budget) else {
            key_limits.key_budget.settle(key_reserved, 0);
            return Err(LimitExceeded::Budget(BudgetOwner::Project));
        };
        if let Err(exceeded) = key_limits.rate_limiter.acquire(rate_limits, request.tokens) {
            key_limits.key_budget.settle(key_reserved, 0);
            key_limits.project_budget.settle(project_reserved, 0);
            return Err(exceeded);
        }
        Ok(Self {
            limits: key_limits.clone(),
            key_reserved,
            project_reserved,
            reserved_tokens: request.tokens,
            cost: 0,
            used_tokens: 0,
            slot: None,
        })
    }

    /// Nano-dollars that are reserved: the lesser of the key's and the project's.
    pub(crate) fn reserved_amount(&self) -> i64 {
        self.key_reserved.min(self.project_reserved)
    }

    /// Sets the tokens and the nano-dollars that the request used, which may exceed
    /// the reservation.
    pub(crate) fn settle(&mut self, tokens: u64, cost: i64) {
        self.used_tokens = tokens;
        self.cost = cost;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.key_budget.settle(self.key_reserved, self.cost);
        self.limits.project_budget.settle(self.project_reserved, self.cost);
        self.limits.rate_limiter.release(self.reserved_tokens, self.used_tokens);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chat::{Error, ErrorKind};

    use super::*;

    fn key_limits(budget: Option<i64>) -> Arc<KeyLimits> {
        let key_limits = KeyLimits::default();
        key_limits.key_budget.update(budget, 0, 0);
        Arc::new(key_limits)
    }

    fn acquire(key_limits: &Arc<KeyLimits>, rate_limits: RateLimits, tokens: u64, cost: i64) -> Result<Permit, Error> {
        let budget = BudgetRequest { amount: cost, minimum: 1, overdraft: 0 };
        Permit::acquire(key_limits, rate_limits, ReservationRequest { tokens, budget }).map_err(Error::from)
    }

    #[test]
    fn what_is_reserved_cannot_be_spent_twice_and_comes_back() {
        let key_limits = key_limits(Some(100));
        let mut first = acquire(&key_limits, RateLimits::default(), 0, 60).unwrap();
        let second = acquire(&key_limits, RateLimits::default(), 0, 60).unwrap();
        // 60, and the 40 that were left.
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
    fn too_many_requests_or_tokens_are_refused_with_the_time_to_wait() {
        let rate_limits = RateLimits { requests: Some(2), tokens: Some(600), concurrency: None };
        let key_limits = key_limits(None);
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
        assert!(acquire(&key_limits, rate_limits, 0, 0).is_err(), "a request that has ended still counts");
    }

    #[test]
    fn the_number_of_concurrent_requests_is_limited() {
        let rate_limits = RateLimits { concurrency: Some(1), ..RateLimits::default() };
        let key_limits = key_limits(None);
        let permit = acquire(&key_limits, rate_limits, 0, 0).unwrap();
        assert_eq!(acquire(&key_limits, rate_limits, 0, 0).unwrap_err().kind, ErrorKind::RateLimited);
        drop(permit);
        assert!(acquire(&key_limits, rate_limits, 0, 0).is_ok());
    }
}
