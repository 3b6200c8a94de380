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
}

/// Which part of the budget this process may use for what is not booked yet.
#[derive(Debug, Default)]
enum Lease {
    /// All: it is alone.
    #[default]
    Alone,
    /// So much, until the others are asked again. Where less was left than wished, a request takes what there is.
    Of { most: i64, scarce: bool },
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

    /// What one request may take aside that wishes for `amount`; at most 0 when it may not begin.
    fn open(&self, amount: i64) -> i64 {
        let Some(left) = self.left() else { return amount.max(1) };
        match self.lease {
            Lease::Alone => left,
            Lease::Of { most, scarce } => {
                let open = left.min(most.saturating_sub(self.used()));
                if open < amount && !scarce { 0 } else { open }
            }
        }
    }
}

impl Purse {
    /// `leased`: other machines have the same budget.
    pub(crate) fn new(name: String, leased: bool) -> Self {
        let lease = if leased { Lease::Of { most: 0, scarce: false } } else { Lease::Alone };
        Self { name, money: Mutex::new(Money { lease, ..Money::default() }), ..Self::default() }
    }

    /// What the store says.
    pub(crate) fn update(&self, budget: Option<i64>, booked: i64, as_of: i64) {
        let mut money = lock(&self.money);
        if as_of >= money.as_of {
            (money.budget, money.booked, money.as_of) = (budget, booked, as_of);
        }
    }

    /// Takes `amount` aside, or what is left of it; nothing when nothing is left.
    pub(crate) fn reserve(&self, amount: i64) -> Option<i64> {
        let mut money = lock(&self.money);
        let open = money.open(amount);
        if open <= 0 {
            return None;
        }
        let amount = amount.min(open);
        money.reserved += amount;
        Some(amount)
    }

    pub(crate) fn settle(&self, reserved: i64, cost: i64) {
        let mut money = lock(&self.money);
        money.reserved -= reserved;
        money.settled = money.settled.saturating_add(cost);
    }

    /// The store has booked what cost so much here.
    pub(crate) fn booked(&self, cost: i64) {
        lock(&self.money).settled -= cost;
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

    /// A request for `amount` could begin.
    pub(crate) fn has(&self, amount: i64) -> bool {
        lock(&self.money).open(amount) > 0
    }

    /// What the others are to know; `None` without a budget.
    pub(crate) fn statement(&self) -> Option<Statement> {
        let money = lock(&self.money);
        let Money { booked, as_of, .. } = *money;
        Some(Statement { budget: money.budget?, booked, as_of, used: money.used() })
    }

    /// The others leave it so much for what is not booked yet.
    pub(crate) fn leased(&self, most: i64, scarce: bool) {
        lock(&self.money).lease = Lease::Of { most, scarce };
    }
}
