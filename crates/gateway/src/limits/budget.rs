//! Spend budgets. A budget belongs to one server, or is shared by replicas: then each replica
//! spends within a lease.

use std::sync::OnceLock;
use std::time::Duration;

use chat::{Error, ErrorKind};
use parking_lot::Mutex;
use store::{BudgetPeriod, BudgetZone};

/// The budget of a key or a project, or one window of a budget with a period, in nano-dollars.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// Its name in Redis.
    pub(crate) name: String,
    /// Its owner by name, for the caller. It does not change.
    owner: OnceLock<String>,
    /// For a window: when the next one begins.
    renewal: Option<Renewal>,
    state: Mutex<BudgetState>,
    /// Held while a lease is requested, so that one request at a time does so.
    pub(crate) refill_lock: tokio::sync::Mutex<()>,
}

/// The end of a window.
#[derive(Debug)]
pub(crate) struct Renewal {
    pub(crate) period: BudgetPeriod,
    pub(crate) zone: BudgetZone,
    /// Microseconds since 1970.
    pub(crate) ends_at: i64,
}

#[derive(Debug, Default)]
struct BudgetState {
    /// `None`: unlimited.
    limit: Option<i64>,
    /// The amount from which the log warns, until it has.
    warn_at: Option<i64>,
    /// The amount spent according to the store.
    committed: i64,
    /// The time of `committed`, in microseconds since 1970.
    committed_as_of: i64,
    /// The amount settled here that the store does not have yet.
    uncommitted: i64,
    /// The amount that running requests may cost.
    reserved: i64,
    lease: BudgetLease,
    /// How far below zero a request may take the budget, according to the latest request.
    overdraft: i64,
    /// The amount committed since the last report to the other replicas.
    committed_since_report: i64,
}

/// The amounts that a request needs to be admitted, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BudgetRequest {
    /// The estimated cost. It is reserved as far as the budget allows.
    pub(crate) amount: i64,
    /// The least that must be available.
    pub(crate) minimum: i64,
    /// How far below zero the request may take the budget.
    pub(crate) overdraft: i64,
}

/// The part of the budget that this process may use for amounts that are not committed yet.
#[derive(Debug, Default)]
enum BudgetLease {
    /// The whole budget: this is the only process.
    #[default]
    Exclusive,
    /// At most `limit` nano-dollars until the next lease. When the pool could not grant the full
    /// amount (`exhausted`), requests may reserve the remainder. `pool_limit` is the most that
    /// could have been granted.
    Granted { limit: i64, exhausted: bool, pool_limit: i64 },
}

/// The report on a budget that is sent to Redis with each request for a lease, in nano-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetReport {
    pub(crate) limit: i64,
    pub(crate) committed: i64,
    /// The time of `committed`, in microseconds since 1970.
    pub(crate) committed_as_of: i64,
    /// The amount that is reserved, or settled and not committed.
    pub(crate) used: i64,
}

impl BudgetState {
    fn used(&self) -> i64 {
        self.uncommitted.saturating_add(self.reserved)
    }

    fn remaining(&self) -> Option<i64> {
        Some(self.limit?.saturating_sub(self.committed).saturating_sub(self.used()))
    }

    /// The amount left, including the overdraft, according to the last lease; `None` without
    /// a budget.
    fn available(&self) -> Option<i64> {
        let left = self.remaining()?.saturating_add(self.overdraft);
        Some(match self.lease {
            BudgetLease::Exclusive => left,
            BudgetLease::Granted { pool_limit, .. } => left.min(pool_limit.saturating_sub(self.used())),
        })
    }

    /// The amount that requests may still reserve without a new lease; `None` without a budget.
    fn available_in_lease(&self) -> Option<i64> {
        let left = self.remaining()?.saturating_add(self.overdraft);
        Some(match self.lease {
            BudgetLease::Exclusive => left,
            BudgetLease::Granted { limit, .. } => left.min(limit.saturating_sub(self.used())),
        })
    }

    /// The amount to reserve for a request; `None` when the request is refused, or needs a new
    /// lease first.
    fn admissible_amount(&mut self, request: BudgetRequest) -> Option<i64> {
        self.overdraft = request.overdraft;
        // Without a budget no request is refused, whatever its estimate.
        let Some(room) = self.available_in_lease() else { return Some(request.amount.min(store::MAX_COST)) };
        let needs_lease = matches!(self.lease, BudgetLease::Granted { exhausted: false, .. }) && room < request.amount;
        (room >= request.minimum && !needs_lease).then(|| request.amount.min(room))
    }
}

impl Budget {
    /// Sets the owner for errors, such as "project `team`". A second call has no effect.
    pub(crate) fn set_owner(&self, owner: impl FnOnce() -> String) {
        self.owner.get_or_init(owner);
    }

    /// The error for a request at `at` that this budget does not cover. It has a time to wait where
    /// the next window will cover the request.
    pub(crate) fn insufficient_error(&self, request: BudgetRequest, at: i64) -> Error {
        let mut error = Error::new(ErrorKind::InsufficientBalance, "Insufficient Balance");
        let Some(owner) = self.owner.get() else { return error };
        let limit = self.state.lock().limit.unwrap_or_default();
        let Some((renewal, adjective)) = self.renewal.as_ref().zip(self.adjective()) else {
            error.message += &format!(": the budget of the {owner} does not cover this request");
            return error;
        };
        let (dollars, renews_at) = (format_dollars(limit), renewal.zone.format_time(renewal.ends_at));
        error.message += &format!(
            ": the {adjective} budget of the {owner}, ${dollars}, does not cover this request; it renews at {renews_at}"
        );
        let micros = u64::try_from(renewal.ends_at.saturating_sub(at)).unwrap_or(0);
        let fits = request.minimum <= limit.saturating_add(request.overdraft);
        error.retry_after = fits.then(|| Duration::from_micros(micros));
        error
    }

    /// The period of a window that ends.
    fn adjective(&self) -> Option<&'static str> {
        match self.renewal.as_ref()?.period {
            BudgetPeriod::Day => Some("daily"),
            BudgetPeriod::Week => Some("weekly"),
            BudgetPeriod::Month => Some("monthly"),
            BudgetPeriod::Total => None,
        }
    }

    /// When the budget is full again, in microseconds since 1970; `i64::MAX`: never.
    pub(crate) fn renews_at(&self) -> i64 {
        self.renewal.as_ref().map_or(i64::MAX, |renewal| renewal.ends_at)
    }

    /// A budget without a limit. `leased`: other replicas have the same budget.
    pub(crate) fn new(name: String, leased: bool) -> Self {
        let lease = if leased {
            BudgetLease::Granted { limit: 0, exhausted: false, pool_limit: 0 }
        } else {
            BudgetLease::Exclusive
        };
        Self { name, state: Mutex::new(BudgetState { lease, ..BudgetState::default() }), ..Self::default() }
    }

    /// A window of a budget with a period, without a limit. `owner` is its owner by name.
    pub(crate) fn of_window(name: String, leased: bool, owner: String, renewal: Renewal) -> Self {
        Self { owner: owner.into(), renewal: Some(renewal), ..Self::new(name, leased) }
    }

    /// Sets the limit, and the amount from which the log warns.
    pub(crate) fn set_amounts(&self, limit: Option<i64>, warn_at: Option<i64>) {
        let mut state = self.state.lock();
        (state.limit, state.warn_at) = (limit, warn_at);
    }

    /// Whether nothing is spent, and no request runs.
    pub(crate) fn is_untouched(&self) -> bool {
        let state = self.state.lock();
        state.committed == 0 && state.uncommitted == 0 && state.reserved == 0
    }

    /// Sets the limit and the committed amount that the store had at `as_of`.
    pub(crate) fn update(&self, limit: Option<i64>, committed: i64, as_of: i64) {
        let mut state = self.state.lock();
        if as_of >= state.committed_as_of {
            state.limit = limit;
            state.committed = committed;
            state.committed_as_of = as_of;
        }
    }

    /// Reserves the amount that a request needs, or what is left of it; `None` when less than the
    /// minimum is left.
    pub(crate) fn reserve(&self, request: BudgetRequest) -> Option<i64> {
        let mut state = self.state.lock();
        let amount = state.admissible_amount(request)?;
        state.reserved = state.reserved.checked_add(amount)?;
        Some(amount)
    }

    /// Replaces a reservation by the actual cost.
    pub(crate) fn settle(&self, reserved: i64, cost: i64) {
        let mut state = self.state.lock();
        state.reserved = state.reserved.saturating_sub(reserved);
        state.uncommitted = state.uncommitted.saturating_add(cost);
        let spent = state.committed.saturating_add(state.uncommitted);
        let Some(warn_at) = state.warn_at.take_if(|warn_at| spent >= *warn_at) else { return };
        drop(state);
        tracing::warn!(
            owner = self.owner.get(),
            budget = self.adjective().unwrap_or("total"),
            spent_usd = format_dollars(spent),
            warn_at_usd = format_dollars(warn_at),
            "a budget reached the amount from which it warns"
        );
    }

    /// Records that the store has committed a cost that was settled here. That part of a lease is
    /// used up: it does not become available again, because the other replicas count the whole
    /// lease in addition to the committed amount.
    pub(crate) fn record_committed(&self, cost: i64) {
        let mut state = self.state.lock();
        // A request from before the budget was made has not settled in it.
        state.uncommitted = state.uncommitted.saturating_sub(cost).max(0);
        state.committed_since_report = state.committed_since_report.saturating_add(cost);
        if let BudgetLease::Granted { limit, pool_limit, .. } = &mut state.lease {
            *limit = limit.saturating_sub(cost);
            *pool_limit = pool_limit.saturating_sub(cost);
        }
    }

    /// Sets the total that the store had committed at `as_of`.
    pub(crate) fn set_committed(&self, committed: i64, as_of: i64) {
        let mut state = self.state.lock();
        if as_of >= state.committed_as_of {
            state.committed = committed;
            state.committed_as_of = as_of;
        }
    }

    /// The amount left after the reservations of running requests; `None` without a budget.
    pub(crate) fn remaining(&self) -> Option<i64> {
        self.state.lock().remaining()
    }

    /// Whether a request with these needs would be admitted.
    pub(crate) fn can_reserve(&self, request: BudgetRequest) -> bool {
        self.state.lock().admissible_amount(request).is_some()
    }

    /// The amount left, including the overdraft, according to the last lease; `None` without
    /// a budget.
    pub(crate) fn available(&self) -> Option<i64> {
        self.state.lock().available()
    }

    /// The report that precedes a request for a lease; `None` without a budget.
    pub(crate) fn start_report(&self) -> Option<BudgetReport> {
        let mut state = self.state.lock();
        state.committed_since_report = 0;
        let BudgetState { committed, committed_as_of, .. } = *state;
        let limit = state.limit?.saturating_add(state.overdraft);
        Some(BudgetReport { limit, committed, committed_as_of, used: state.used() })
    }

    /// Sets the lease that was granted in response to the last report.
    pub(crate) fn set_lease(&self, limit: i64, exhausted: bool, pool_limit: i64) {
        let mut state = self.state.lock();
        let committed = state.committed_since_report;
        state.lease = BudgetLease::Granted {
            limit: limit.saturating_sub(committed),
            exhausted,
            pool_limit: pool_limit.saturating_sub(committed),
        };
    }
}

/// US dollars without zeros at the end.
pub(crate) fn format_dollars(nano: i64) -> String {
    store::money::format(nano, 9).trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
