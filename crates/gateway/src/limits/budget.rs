//! What a key or a project may still spend: alone, or within what is leased of a budget that other
//! machines have too.

use std::sync::Mutex;

use crate::limits::key_limits::lock_ignoring_poison;

/// Money of a key or a project, in nano-dollars.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// What other machines call it too.
    pub(crate) name: String,
    state: Mutex<BudgetState>,
    /// Held while the others are asked.
    pub(crate) refill_lock: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct BudgetState {
    /// `None`: as much as it likes.
    limit: Option<i64>,
    /// What the store has booked, and when.
    committed: i64,
    committed_as_of: i64,
    /// What was settled here and is not booked yet.
    uncommitted: i64,
    /// What running requests may cost.
    reserved: i64,
    lease: BudgetLease,
    /// How far below nothing a request may take it, as was asked last.
    overdraft: i64,
    /// Nano-dollars booked since the usage was last reported to the other machines.
    committed_since_report: i64,
}

/// The nano-dollars that a request needs to be admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BudgetRequest {
    /// Its estimated cost. As much of it is reserved as is left,
    pub(crate) amount: i64,
    /// and so much has to be there.
    pub(crate) minimum: i64,
    /// How far below nothing it may take the key_budget.
    pub(crate) overdraft: i64,
}

/// Which part of the budget this process may use for what is not booked yet.
#[derive(Debug, Default)]
enum BudgetLease {
    /// All: it is alone.
    #[default]
    Exclusive,
    /// So much, until the others are asked again. Where less was left than wished, a request takes
    /// what there is. `open` is what it might have used at most when the others were asked.
    Granted { limit: i64, exhausted: bool, pool_limit: i64 },
}

/// What the others are told of a key_budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetReport {
    pub(crate) limit: i64,
    pub(crate) committed: i64,
    pub(crate) committed_as_of: i64,
    /// Settled and not booked, or reserved.
    pub(crate) used: i64,
}

impl BudgetState {
    fn used(&self) -> i64 {
        self.uncommitted.saturating_add(self.reserved)
    }

    fn remaining(&self) -> Option<i64> {
        Some(self.limit?.saturating_sub(self.committed).saturating_sub(self.used()))
    }

    /// Nano-dollars left, an overdraft included, by the last report of the other machines; `None`
    /// without a budget.
    fn available(&self) -> Option<i64> {
        let left = self.remaining()?.saturating_add(self.overdraft);
        Some(match self.lease {
            BudgetLease::Exclusive => left,
            BudgetLease::Granted { pool_limit: open, .. } => left.min(open.saturating_sub(self.used())),
        })
    }

    /// Nano-dollars that requests may still reserve without a new lease; `None` without a budget.
    fn available_in_lease(&self) -> Option<i64> {
        let left = self.remaining()?.saturating_add(self.overdraft);
        Some(match self.lease {
            BudgetLease::Exclusive => left,
            BudgetLease::Granted { limit: most, .. } => left.min(most.saturating_sub(self.used())),
        })
    }

    /// The reservation of a request; `None` when it is refused, or a new lease is needed first.
    fn admissible_amount(&mut self, need: BudgetRequest) -> Option<i64> {
        self.overdraft = need.overdraft;
        // Without a budget nothing is refused, whatever it is said to cost.
        let Some(room) = self.available_in_lease() else { return Some(need.amount.min(store::MAX_COST)) };
        let needs_lease = matches!(self.lease, BudgetLease::Granted { exhausted: false, .. }) && room < need.amount;
        (room >= need.minimum && !needs_lease).then(|| need.amount.min(room))
    }
}

impl Budget {
    /// `leased`: other machines have the same budget.
    pub(crate) fn new(name: String, leased: bool) -> Self {
        let lease = if leased {
            BudgetLease::Granted { limit: 0, exhausted: false, pool_limit: 0 }
        } else {
            BudgetLease::Exclusive
        };
        Self { name, state: Mutex::new(BudgetState { lease, ..BudgetState::default() }), ..Self::default() }
    }

    /// What the store says.
    pub(crate) fn update(&self, budget: Option<i64>, booked: i64, as_of: i64) {
        let mut state = lock_ignoring_poison(&self.state);
        if as_of >= state.committed_as_of {
            (state.limit, state.committed, state.committed_as_of) = (budget, booked, as_of);
        }
    }

    /// Takes aside what a request needs, or what is left of it; nothing when less is left than
    /// has to be there.
    pub(crate) fn reserve(&self, need: BudgetRequest) -> Option<i64> {
        let mut state = lock_ignoring_poison(&self.state);
        let amount = state.admissible_amount(need)?;
        state.reserved = state.reserved.checked_add(amount)?;
        Some(amount)
    }

    pub(crate) fn settle(&self, reserved: i64, cost: i64) {
        let mut state = lock_ignoring_poison(&self.state);
        state.reserved = state.reserved.saturating_sub(reserved);
        state.uncommitted = state.uncommitted.saturating_add(cost);
    }

    /// The store has booked what cost so much here. That part of a lease is used up: it does
    /// not become free again with the booking, for the others still count the whole lease
    /// beside what is booked.
    pub(crate) fn record_committed(&self, cost: i64) {
        let mut state = lock_ignoring_poison(&self.state);
        state.uncommitted = state.uncommitted.saturating_sub(cost);
        state.committed_since_report = state.committed_since_report.saturating_add(cost);
        if let BudgetLease::Granted { limit: most, pool_limit: open, .. } = &mut state.lease {
            *most = most.saturating_sub(cost);
            *open = open.saturating_sub(cost);
        }
    }

    /// All that the store had booked at a time.
    pub(crate) fn set_committed(&self, spent: i64, as_of: i64) {
        let mut state = lock_ignoring_poison(&self.state);
        if as_of >= state.committed_as_of {
            (state.committed, state.committed_as_of) = (spent, as_of);
        }
    }

    /// What may still be spent, running requests set aside; `None` without a budget.
    pub(crate) fn remaining(&self) -> Option<i64> {
        lock_ignoring_poison(&self.state).remaining()
    }

    /// A request that needs this could begin.
    pub(crate) fn can_reserve(&self, need: BudgetRequest) -> bool {
        lock_ignoring_poison(&self.state).admissible_amount(need).is_some()
    }

    /// Nano-dollars left, an overdraft included, by the last report of the other machines; `None`
    /// without a budget.
    pub(crate) fn available(&self) -> Option<i64> {
        lock_ignoring_poison(&self.state).available()
    }

    /// The report to the other machines that precedes a lease call; `None` without a budget.
    pub(crate) fn start_report(&self) -> Option<BudgetReport> {
        let mut state = lock_ignoring_poison(&self.state);
        state.committed_since_report = 0;
        let BudgetState { committed: booked, committed_as_of: as_of, .. } = *state;
        let budget = state.limit?.saturating_add(state.overdraft);
        Some(BudgetReport { limit: budget, committed: booked, committed_as_of: as_of, used: state.used() })
    }

    /// The others leave it so much for what was not booked when they were told.
    pub(crate) fn set_lease(&self, most: i64, scarce: bool, open: i64) {
        let mut state = lock_ignoring_poison(&self.state);
        let booked = state.committed_since_report;
        state.lease = BudgetLease::Granted {
            limit: most.saturating_sub(booked),
            exhausted: scarce,
            pool_limit: open.saturating_sub(booked),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Amounts of all sizes, absurd ones among them.
    fn amount() -> impl Strategy<Value = i64> {
        prop_oneof![
            0..1000i64,
            0..=store::MAX_COST,
            Just(i64::MAX),
            any::<i64>().prop_map(|amount| amount.saturating_abs())
        ]
    }

    #[test]
    fn what_is_booked_of_a_lease_is_not_free_again() {
        let key_budget = Budget::new("key:a".into(), true);
        key_budget.update(Some(100), 0, 1);
        key_budget.set_lease(30, false, 30);
        let need = BudgetRequest { amount: 15, minimum: 15, overdraft: 0 };
        for booked in [15, 30] {
            let reserved = key_budget.reserve(need).unwrap();
            key_budget.settle(reserved, 15);
            key_budget.set_committed(booked, 1 + booked);
            key_budget.record_committed(15);
        }
        // 70 are left of the budget, but the others may have leased them meanwhile.
        assert_eq!((key_budget.remaining(), key_budget.reserve(need)), (Some(70), None));
        key_budget.start_report();
        key_budget.set_lease(15, false, 15);
        let reserved = key_budget.reserve(need).unwrap();
        key_budget.settle(reserved, 15);
        // What is booked while the others are asked counts as used in their answer.
        key_budget.start_report();
        key_budget.record_committed(15);
        key_budget.set_lease(15, false, 15);
        assert_eq!(key_budget.reserve(need), None);
    }

    proptest! {
        /// Reservations never exceed the budget and the overdraft, and all of them come back.
        #[test]
        fn what_is_taken_aside_fits_and_comes_back(
            budget in amount(), booked in amount(), overdraft in 0..=store::MAX_COST,
            asks in prop::collection::vec((amount(), amount(), any::<bool>()), 0..30),
        ) {
            let key_budget = Budget::default();
            key_budget.update(Some(budget), booked, 1);
            let room = budget.saturating_sub(booked).saturating_add(overdraft);
            let mut taken = Vec::new();
            for (amount, least, settles) in asks {
                let need = BudgetRequest { amount, minimum: least.min(amount), overdraft };
                if let Some(reserved) = key_budget.reserve(need) {
                    prop_assert!(reserved >= need.minimum && reserved <= amount);
                    taken.push(reserved);
                }
                let sum: i128 = taken.iter().copied().map(i128::from).sum();
                prop_assert!(sum <= i128::from(room.max(0)), "{sum} of {room}");
                if settles && let Some(reserved) = taken.pop() {
                    key_budget.settle(reserved, 0);
                }
            }
            for reserved in taken {
                key_budget.settle(reserved, 0);
            }
            prop_assert_eq!(key_budget.remaining(), Some(budget.saturating_sub(booked)));
        }

        /// No sequence of absurd amounts wraps.
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
