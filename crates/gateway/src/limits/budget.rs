//! Spend budgets of keys and projects. A budget belongs to one server, or is shared by replicas:
//! then each replica spends within a lease.

use parking_lot::Mutex;

/// The budget of a key or a project, in nano-dollars.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// Its name in Redis.
    pub(crate) name: String,
    state: Mutex<BudgetState>,
    /// Held while a lease is requested, so that one request at a time does so.
    pub(crate) refill_lock: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct BudgetState {
    /// `None`: unlimited.
    limit: Option<i64>,
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
    /// A budget without a limit. `leased`: other replicas have the same budget.
    pub(crate) fn new(name: String, leased: bool) -> Self {
        let lease = if leased {
            BudgetLease::Granted { limit: 0, exhausted: false, pool_limit: 0 }
        } else {
            BudgetLease::Exclusive
        };
        Self { name, state: Mutex::new(BudgetState { lease, ..BudgetState::default() }), ..Self::default() }
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
    }

    /// Records that the store has committed a cost that was settled here. That part of a lease is
    /// used up: it does not become available again, because the other replicas count the whole
    /// lease in addition to the committed amount.
    pub(crate) fn record_committed(&self, cost: i64) {
        let mut state = self.state.lock();
        state.uncommitted = state.uncommitted.saturating_sub(cost);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Amounts of all sizes, including extreme ones.
    fn amount() -> impl Strategy<Value = i64> {
        prop_oneof![
            0..1000i64,
            0..=store::MAX_COST,
            Just(i64::MAX),
            any::<i64>().prop_map(|amount| amount.saturating_abs())
        ]
    }

    #[test]
    fn what_is_committed_of_a_lease_is_not_free_again() {
        let key_budget = Budget::new("key:a".into(), true);
        key_budget.update(Some(100), 0, 1);
        key_budget.set_lease(30, false, 30);
        let request = BudgetRequest { amount: 15, minimum: 15, overdraft: 0 };
        for committed in [15, 30] {
            let reserved = key_budget.reserve(request).unwrap();
            key_budget.settle(reserved, 15);
            key_budget.set_committed(committed, 1 + committed);
            key_budget.record_committed(15);
        }
        // 70 are left of the budget, but other replicas may have leased them meanwhile.
        assert_eq!((key_budget.remaining(), key_budget.reserve(request)), (Some(70), None));
        key_budget.start_report();
        key_budget.set_lease(15, false, 15);
        let reserved = key_budget.reserve(request).unwrap();
        key_budget.settle(reserved, 15);
        // An amount that is committed while a lease is requested counts as used in the response.
        key_budget.start_report();
        key_budget.record_committed(15);
        key_budget.set_lease(15, false, 15);
        assert_eq!(key_budget.reserve(request), None);
    }

    proptest! {
        /// Reservations never exceed the budget with its overdraft, and all of them are released.
        #[test]
        fn what_is_reserved_fits_and_comes_back(
            limit in amount(), committed in amount(), overdraft in 0..=store::MAX_COST,
            requests in prop::collection::vec((amount(), amount(), any::<bool>()), 0..30),
        ) {
            let key_budget = Budget::default();
            key_budget.update(Some(limit), committed, 1);
            let room = limit.saturating_sub(committed).saturating_add(overdraft);
            let mut reservations = Vec::new();
            for (amount, minimum, settles) in requests {
                let request = BudgetRequest { amount, minimum: minimum.min(amount), overdraft };
                if let Some(reserved) = key_budget.reserve(request) {
                    prop_assert!(reserved >= request.minimum && reserved <= amount);
                    reservations.push(reserved);
                }
                let sum: i128 = reservations.iter().copied().map(i128::from).sum();
                prop_assert!(sum <= i128::from(room.max(0)), "{sum} of {room}");
                if settles && let Some(reserved) = reservations.pop() {
                    key_budget.settle(reserved, 0);
                }
            }
            for reserved in reservations {
                key_budget.settle(reserved, 0);
            }
            prop_assert_eq!(key_budget.remaining(), Some(limit.saturating_sub(committed)));
        }

        /// Extreme amounts never make a sum wrap around.
        #[test]
        fn nothing_wraps(steps in prop::collection::vec((0..5u8, any::<i64>()), 0..50)) {
            let key_budget = Budget::default();
            key_budget.update(Some(100), 0, 0);
            for (step, amount) in steps {
                match step {
                    0 => _ = key_budget.reserve(BudgetRequest { amount, minimum: amount.min(1), overdraft: 0 }),
                    1 => key_budget.settle(amount, amount),
                    2 => key_budget.record_committed(amount),
                    3 => key_budget.set_committed(amount, i64::MAX),
                    _ => key_budget.set_lease(amount, amount % 2 == 0, amount),
                }
                let _ = (key_budget.remaining(), key_budget.available(), key_budget.start_report());
            }
        }
    }
}
