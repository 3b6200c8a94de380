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

#[test]
fn a_budget_warns_once_when_it_reaches_the_amount() {
    let budget = Budget::new("key:a".into(), false);
    budget.set_amounts(None, Some(100));
    let warns = || budget.state.lock().warn_at.is_some();
    budget.settle(0, 60);
    budget.set_committed(60, 1);
    budget.record_committed(60);
    assert!(warns());
    budget.settle(0, 40);
    assert!(!warns());
    budget.set_amounts(Some(200), Some(0));
    budget.settle(0, 0);
    assert!(!warns());
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
