//! What a key or a project may still spend: alone, or within what is leased of a budget that other machines have too.

use std::sync::Mutex;

use crate::limits::lock;

/// Money of a key or a project, in nano-dollars.
#[derive(Debug, Default)]
pub(crate) struct Purse {
    /// What other machines call it too.
    pub(crate) name: String,
    money: Mutex<Money>,
    /// Held while the others are asked.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Money {
    /// `None`: as much as it likes.
    budget: Option<i64>,
    /// What the store has booked, and when.
    booked: i64,
    as_of: i64,
    /// What was settled here and is not booked yet.
    settled: i64,
    /// What running requests may cost.
    reserved: i64,
    lease: Lease,
    /// How far below nothing a request may take it, as was asked last.
    overdraft: i64,
    /// Nano-dollars booked since the usage was last reported to the other machines.
    booked_since: i64,
}

/// The nano-dollars that a request needs to be admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Its estimated cost. As much of it is reserved as is left,
    pub(crate) amount: i64,
    /// and so much has to be there.
    pub(crate) least: i64,
    /// How far below nothing it may take the purse.
    pub(crate) overdraft: i64,
}

/// Which part of the budget this process may use for what is not booked yet.
#[derive(Debug, Default)]
enum Lease {
    /// All: it is alone.
    #[default]
    Alone,
    /// So much, until the others are asked again. Where less was left than wished, a request takes what there is.
    /// `open` is what it might have used at most when the others were asked.
    Of { most: i64, scarce: bool, open: i64 },
}

/// What the others are told of a purse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) budget: i64,
    pub(crate) booked: i64,
    pub(crate) as_of: i64,
    /// Settled and not booked, or reserved.
    pub(crate) used: i64,
}

impl Money {
    fn used(&self) -> i64 {
        self.settled.saturating_add(self.reserved)
    }

    fn left(&self) -> Option<i64> {
        Some(self.budget?.saturating_sub(self.booked).saturating_sub(self.used()))
    }

    /// Nano-dollars left, an overdraft included, by the last report of the other machines; `None` without a budget.
    fn room(&self) -> Option<i64> {
        let left = self.left()?.saturating_add(self.overdraft);
        Some(match self.lease {
            Lease::Alone => left,
            Lease::Of { open, .. } => left.min(open.saturating_sub(self.used())),
        })
    }

    /// Nano-dollars that requests may still reserve without a new lease; `None` without a budget.
    fn leased(&self) -> Option<i64> {
        let left = self.left()?.saturating_add(self.overdraft);
        Some(match self.lease {
            Lease::Alone => left,
            Lease::Of { most, .. } => left.min(most.saturating_sub(self.used())),
        })
    }

    /// The reservation of a request; `None` when it is refused, or a new lease is needed first.
    fn admits(&mut self, need: Need) -> Option<i64> {
        self.overdraft = need.overdraft;
        // Without a budget nothing is refused, whatever it is said to cost.
        let Some(room) = self.leased() else { return Some(need.amount.min(store::MOST_COST)) };
        let unasked = matches!(self.lease, Lease::Of { scarce: false, .. }) && room < need.amount;
        (room >= need.least && !unasked).then(|| need.amount.min(room))
    }
}

impl Purse {
    /// `leased`: other machines have the same budget.
    pub(crate) fn new(name: String, leased: bool) -> Self {
        let lease = if leased { Lease::Of { most: 0, scarce: false, open: 0 } } else { Lease::Alone };
        Self { name, money: Mutex::new(Money { lease, ..Money::default() }), ..Self::default() }
    }

    /// What the store says.
    pub(crate) fn update(&self, budget: Option<i64>, booked: i64, as_of: i64) {
        let mut money = lock(&self.money);
        if as_of >= money.as_of {
            (money.budget, money.booked, money.as_of) = (budget, booked, as_of);
        }
    }

    /// Takes aside what a request needs, or what is left of it; nothing when less is left than has to be there.
    pub(crate) fn reserve(&self, need: Need) -> Option<i64> {
        let mut money = lock(&self.money);
        let amount = money.admits(need)?;
        money.reserved = money.reserved.checked_add(amount)?;
        Some(amount)
    }

    pub(crate) fn settle(&self, reserved: i64, cost: i64) {
        let mut money = lock(&self.money);
        money.reserved = money.reserved.saturating_sub(reserved);
        money.settled = money.settled.saturating_add(cost);
    }

    /// The store has booked what cost so much here. That part of a lease is used up: it does not become free again with the
    /// booking, for the others still count the whole lease beside what is booked.
    pub(crate) fn booked(&self, cost: i64) {
        let mut money = lock(&self.money);
        money.settled = money.settled.saturating_sub(cost);
        money.booked_since = money.booked_since.saturating_add(cost);
        if let Lease::Of { most, open, .. } = &mut money.lease {
            *most = most.saturating_sub(cost);
            *open = open.saturating_sub(cost);
        }
    }

    /// All that the store had booked at a time.
    pub(crate) fn spent(&self, spent: i64, as_of: i64) {
        let mut money = lock(&self.money);
        if as_of >= money.as_of {
            (money.booked, money.as_of) = (spent, as_of);
        }
    }

    /// What may still be spent, running requests set aside; `None` without a budget.
    pub(crate) fn left(&self) -> Option<i64> {
        lock(&self.money).left()
    }

    /// A request that needs this could begin.
    pub(crate) fn has(&self, need: Need) -> bool {
        lock(&self.money).admits(need).is_some()
    }

    /// Nano-dollars left, an overdraft included, by the last report of the other machines; `None` without a budget.
    pub(crate) fn room(&self) -> Option<i64> {
        lock(&self.money).room()
    }

    /// The report to the other machines that precedes a lease call; `None` without a budget.
    pub(crate) fn statement(&self) -> Option<Statement> {
        let mut money = lock(&self.money);
        money.booked_since = 0;
        let Money { booked, as_of, .. } = *money;
        let budget = money.budget?.saturating_add(money.overdraft);
        Some(Statement { budget, booked, as_of, used: money.used() })
    }

    /// The others leave it so much for what was not booked when they were told.
    pub(crate) fn leased(&self, most: i64, scarce: bool, open: i64) {
        let mut money = lock(&self.money);
        let booked = money.booked_since;
        money.lease = Lease::Of { most: most.saturating_sub(booked), scarce, open: open.saturating_sub(booked) };
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
            0..=store::MOST_COST,
            Just(i64::MAX),
            any::<i64>().prop_map(|amount| amount.saturating_abs())
        ]
    }

    #[test]
    fn what_is_booked_of_a_lease_is_not_free_again() {
        let purse = Purse::new("key:a".into(), true);
        purse.update(Some(100), 0, 1);
        purse.leased(30, false, 30);
        let need = Need { amount: 15, least: 15, overdraft: 0 };
        for booked in [15, 30] {
            let reserved = purse.reserve(need).unwrap();
            purse.settle(reserved, 15);
            purse.spent(booked, 1 + booked);
            purse.booked(15);
        }
        // 70 are left of the budget, but the others may have leased them meanwhile.
        assert_eq!((purse.left(), purse.reserve(need)), (Some(70), None));
        purse.statement();
        purse.leased(15, false, 15);
        let reserved = purse.reserve(need).unwrap();
        purse.settle(reserved, 15);
        // What is booked while the others are asked counts as used in their answer.
        purse.statement();
        purse.booked(15);
        purse.leased(15, false, 15);
        assert_eq!(purse.reserve(need), None);
    }

    proptest! {
        /// Reservations never exceed the budget and the overdraft, and all of them come back.
        #[test]
        fn what_is_taken_aside_fits_and_comes_back(
            budget in amount(), booked in amount(), overdraft in 0..=store::MOST_COST,
            asks in prop::collection::vec((amount(), amount(), any::<bool>()), 0..30),
        ) {
            let purse = Purse::default();
            purse.update(Some(budget), booked, 1);
            let room = budget.saturating_sub(booked).saturating_add(overdraft);
            let mut taken = Vec::new();
            for (amount, least, settles) in asks {
                let need = Need { amount, least: least.min(amount), overdraft };
                if let Some(reserved) = purse.reserve(need) {
                    prop_assert!(reserved >= need.least && reserved <= amount);
                    taken.push(reserved);
                }
                let sum: i128 = taken.iter().copied().map(i128::from).sum();
                prop_assert!(sum <= i128::from(room.max(0)), "{sum} of {room}");
                if settles && let Some(reserved) = taken.pop() {
                    purse.settle(reserved, 0);
                }
            }
            for reserved in taken {
                purse.settle(reserved, 0);
            }
            prop_assert_eq!(purse.left(), Some(budget.saturating_sub(booked)));
        }

        /// No sequence of absurd amounts wraps.
        #[test]
        fn nothing_wraps(steps in prop::collection::vec((0..5u8, any::<i64>()), 0..50)) {
            let purse = Purse::default();
            purse.update(Some(100), 0, 0);
            for (step, amount) in steps {
                match step {
                    0 => _ = purse.reserve(Need { amount, least: amount.min(1), overdraft: 0 }),
                    1 => purse.settle(amount, amount),
                    2 => purse.booked(amount),
                    3 => purse.spent(amount, i64::MAX),
                    _ => purse.leased(amount, amount % 2 == 0, amount),
                }
                let _ = (purse.left(), purse.room(), purse.statement());
            }
        }
    }
}
