//! The limits of one key, and the permit of one request. The estimated cost of a request is
//! reserved before it starts and settled when it ends; a cost above the reservation becomes debt.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chat::{Error, ErrorKind};

use crate::limits::budget::{Budget, BudgetRequest};
use crate::limits::exceeded::LimitExceeded;
use crate::limits::owner_budgets::OwnerBudgets;
use crate::limits::rate_limit::{RateLimiter, RateLimits};
use crate::limits::slot::ConcurrencySlot;

/// The budgets and the rate limiter of one key.
#[derive(Debug, Default)]
pub(crate) struct KeyLimits {
    pub(crate) key_budget: Arc<Budget>,
    pub(crate) project_budget: Arc<Budget>,
    /// The budgets with a period of the key, its project and its user.
    pub(crate) owners: Vec<Arc<OwnerBudgets>>,
    pub(crate) rate_limiter: RateLimiter,
    /// Whether the key may hold leases, and is listed for their renewal.
    pub(crate) has_lease: AtomicBool,
}

impl KeyLimits {
    /// The limits of the key with this id. `leased`: other replicas have the same limits.
    pub(crate) fn new(key_id: &str, project_budget: Arc<Budget>, owners: Vec<Arc<OwnerBudgets>>, leased: bool) -> Self {
        let key_budget = Arc::new(Budget::new(format!("key:{key_id}"), leased));
        Self { key_budget, project_budget, owners, rate_limiter: RateLimiter::new(leased), ..Self::default() }
    }

    /// The budgets that a request at `at` is reserved against. Those that renew last are first, so
    /// that the caller of a refused request learns when all of them are full again. `end_user` is
    /// `None` for a key without budgets of end users.
    pub(crate) fn budgets(&self, at: i64, end_user: Option<&str>) -> Vec<Arc<Budget>> {
        let mut budgets = vec![self.key_budget.clone(), self.project_budget.clone()];
        for owner in &self.owners {
            owner.extend_windows(at, end_user, &mut budgets);
        }
        budgets.sort_by_key(|budget| Reverse(budget.renews_at()));
        budgets
    }

    /// The budgets of which this process may hold leases.
    pub(crate) fn all_budgets(&self) -> Vec<Arc<Budget>> {
        let windows = self.owners.iter().flat_map(|owner| owner.all_windows());
        [self.key_budget.clone(), self.project_budget.clone()].into_iter().chain(windows).collect()
    }

    /// Records that the store has committed the cost of a request of `end_user` at `at`.
    pub(crate) fn record_committed(&self, at: i64, end_user: Option<&str>, cost: i64) {
        self.key_budget.record_committed(cost);
        self.project_budget.record_committed(cost);
        self.owners.iter().for_each(|owner| owner.record_committed(at, end_user, cost));
    }

    /// Whether the key has budgets of end users.
    pub(crate) fn has_end_users(&self) -> bool {
        self.owners.iter().any(|owner| owner.has_end_users())
    }

    /// Whether there is a budget that requests can exceed.
    pub(crate) fn has_budget(&self) -> bool {
        let totals = [&self.key_budget, &self.project_budget];
        totals.iter().any(|budget| budget.remaining().is_some()) || self.owners.iter().any(|owner| owner.has_amount())
    }
}

/// Nano-dollars that requests may still reserve, including an overdraft: the least of all
/// `budgets`; `None` without a budget.
pub(crate) fn available_budget(budgets: &[Arc<Budget>]) -> Option<i64> {
    budgets.iter().filter_map(|budget| budget.available()).min()
}

/// The caller's error for a limit that a request exceeds.
pub(crate) fn limit_error(exceeded: LimitExceeded, request: ReservationRequest) -> Error {
    match exceeded {
        LimitExceeded::Budget(budget) => budget.insufficient_error(request.budget, request.at),
        LimitExceeded::Rate(_, wait) => rate_limit_error(wait),
        LimitExceeded::Concurrency => concurrency_error(),
    }
}

/// The error for a request that a rate limit admits after `wait`.
pub(crate) fn rate_limit_error(wait: Duration) -> Error {
    Error { retry_after: Some(wait), ..Error::new(ErrorKind::RateLimited, "Rate limit reached") }
}

/// The error for a request beside too many others.
pub(crate) fn concurrency_error() -> Error {
    rate_limit_error(Duration::from_secs(1))
}

/// The amounts that a request reserves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReservationRequest {
    pub(crate) tokens: u64,
    pub(crate) budget: BudgetRequest,
    /// The time of the request, in microseconds since 1970.
    pub(crate) at: i64,
}

/// The amounts that are reserved for one request. Dropping them settles the cost.
#[derive(Debug, Default)]
struct Reservations {
    amounts: Vec<(Arc<Budget>, i64)>,
    cost: i64,
}

impl Drop for Reservations {
    fn drop(&mut self) {
        for (budget, reserved) in &self.amounts {
            budget.settle(*reserved, self.cost);
        }
    }
}

/// The admission of one request. Dropping it settles: without [`Permit::settle`], at no cost.
#[derive(Debug)]
pub(crate) struct Permit {
    limits: Arc<KeyLimits>,
    reservations: Reservations,
    reserved_tokens: u64,
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
        budgets: &[Arc<Budget>],
        rate_limits: RateLimits,
        request: ReservationRequest,
    ) -> Result<Self, LimitExceeded> {
        let mut reservations = Reservations::default();
        for budget in budgets {
            let reserved = budget.reserve(request.budget).ok_or_else(|| LimitExceeded::Budget(budget.clone()))?;
            reservations.amounts.push((budget.clone(), reserved));
        }
        key_limits.rate_limiter.acquire(rate_limits, request.tokens)?;
        Ok(Self {
            limits: key_limits.clone(),
            reservations,
            reserved_tokens: request.tokens,
            used_tokens: 0,
            slot: None,
        })
    }

    /// Nano-dollars that are reserved: the least of all budgets.
    pub(crate) fn reserved_amount(&self) -> i64 {
        self.reservations.amounts.iter().map(|(_, reserved)| *reserved).min().unwrap_or(0)
    }

    /// Sets the tokens and the nano-dollars that the request used, which may exceed
    /// the reservation.
    pub(crate) fn settle(&mut self, tokens: u64, cost: i64) {
        self.used_tokens = tokens;
        self.reservations.cost = cost;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.rate_limiter.release(self.reserved_tokens, self.used_tokens);
    }
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
        let budget = BudgetRequest { amount: cost, minimum: 1, overdraft: 0 };
        let request = ReservationRequest { tokens, budget, at: 0 };
        Permit::acquire(key_limits, &key_limits.budgets(0, None), rate_limits, request)
            .map_err(|exceeded| limit_error(exceeded, request))
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
