//! How much a caller may ask: money, requests and tokens a minute, requests at the same time. What a request may cost is
//! reserved before it begins and settled when it ends; what it cost beyond that becomes debt.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chat::{Error, ErrorKind};

use crate::leases::Slot;

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
    fn reserve(&self, amount: i64) -> Option<i64> {
        let mut money = lock(&self.money);
        let open = money.open(amount);
        if open <= 0 {
            return None;
        }
        let amount = amount.min(open);
        money.reserved += amount;
        Some(amount)
    }

    fn settle(&self, reserved: i64, cost: i64) {
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

/// A bucket that fills over a minute and may go into debt; one that machines share is filled by what they lease of it.
#[derive(Debug)]
struct Bucket {
    per_minute: i64,
    level: f64,
    filled: Option<Instant>,
}

impl Bucket {
    fn new(per_minute: i64, leased: bool) -> Self {
        match leased {
            true => Self { per_minute, level: 0.0, filled: None },
            false => Self { per_minute, level: per_minute as f64, filled: Some(Instant::now()) },
        }
    }

    /// Whether `needed` is there.
    ///
    /// # Errors
    /// How long it takes until it is.
    fn has(&mut self, needed: f64) -> Result<(), Duration> {
        let per_second = self.per_minute as f64 / 60.0;
        if let Some(filled) = &mut self.filled {
            let now = Instant::now();
            let more = now.duration_since(*filled).as_secs_f64() * per_second;
            self.level = (self.level + more).min(self.per_minute as f64);
            *filled = now;
        }
        if self.level >= needed {
            return Ok(());
        }
        let wait = (needed - self.level) / per_second;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::from_secs(3600)))
    }
}

/// What a key may do in a minute and at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) requests: Option<i64>,
    pub(crate) tokens: Option<i64>,
    pub(crate) concurrency: Option<i64>,
}

/// What is counted by the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Requests,
    Tokens,
}

/// How fast a key has been.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    running: Mutex<Running>,
    /// Held while the others are asked.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Running {
    /// Other machines have the same limits: what is taken here is leased.
    leased: bool,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    now: i64,
}

impl Running {
    fn known(&mut self, pace: Pace) -> &mut Option<Bucket> {
        match pace {
            Pace::Requests => &mut self.requests,
            Pace::Tokens => &mut self.tokens,
        }
    }

    fn bucket(&mut self, pace: Pace, per_minute: i64) -> &mut Bucket {
        let leased = self.leased;
        let bucket = self.known(pace).get_or_insert_with(|| Bucket::new(per_minute, leased));
        bucket.per_minute = per_minute;
        bucket
    }

    /// What must be there for a request of so many tokens to begin. Alone, what is not there becomes debt; of a lease there is
    /// always enough, or it has to be asked for.
    fn needed(&self, tokens: u64) -> f64 {
        if self.leased { tokens.max(1) as f64 } else { 1.0 }
    }
}

impl Speed {
    fn begin(&self, rates: Rates, tokens: u64) -> Result<(), Short> {
        let mut running = lock(&self.running);
        if rates.concurrency.is_some_and(|most| running.now >= most) {
            return Err(Short::Busy);
        }
        if let Some(limit) = rates.tokens {
            let needed = running.needed(tokens);
            let bucket = running.bucket(Pace::Tokens, limit);
            bucket.has(needed).map_err(|wait| Short::Pace(Pace::Tokens, wait))?;
        }
        if let Some(limit) = rates.requests {
            let bucket = running.bucket(Pace::Requests, limit);
            bucket.has(1.0).map_err(|wait| Short::Pace(Pace::Requests, wait))?;
            bucket.level -= 1.0;
        }
        if let Some(bucket) = &mut running.tokens {
            bucket.level -= tokens as f64;
        }
        running.now += 1;
        Ok(())
    }

    /// Ends a request that took `reserved` tokens aside and used `tokens`.
    fn end(&self, reserved: u64, tokens: u64) {
        let mut running = lock(&self.running);
        running.now -= 1;
        if let Some(bucket) = &mut running.tokens {
            bucket.level += reserved as f64 - tokens as f64;
        }
    }

    /// There is enough for a request of so many tokens.
    pub(crate) fn has(&self, pace: Pace, tokens: u64) -> bool {
        let mut running = lock(&self.running);
        let needed = if pace == Pace::Tokens { running.needed(tokens) } else { 1.0 };
        running.known(pace).as_mut().is_none_or(|bucket| bucket.has(needed).is_ok())
    }

    /// Takes out all that is leased, or the debt, for the others to have, and says how much is filled in a minute; `None` where
    /// nothing was ever leased.
    pub(crate) fn empty(&self, pace: Pace) -> Option<(i64, f64)> {
        let mut running = lock(&self.running);
        let bucket = running.known(pace).as_mut()?;
        Some((bucket.per_minute, std::mem::take(&mut bucket.level)))
    }

    /// Puts in what is leased.
    pub(crate) fn fill(&self, pace: Pace, amount: f64) {
        if let Some(bucket) = lock(&self.running).known(pace) {
            bucket.level += amount;
        }
    }

    /// Requests run.
    pub(crate) fn running(&self) -> bool {
        lock(&self.running).now > 0
    }
}

/// The purses and the pace of one key.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) key: Purse,
    pub(crate) project: Arc<Purse>,
    pub(crate) speed: Speed,
    /// Something of it is leased.
    pub(crate) leasing: AtomicBool,
}

impl Account {
    /// The account of the key with this id. `leased`: other machines have the same.
    pub(crate) fn new(key: &str, project: Arc<Purse>, leased: bool) -> Self {
        let running = Mutex::new(Running { leased, ..Running::default() });
        let speed = Speed { running, ..Speed::default() };
        Self { key: Purse::new(format!("key:{key}"), leased), project, speed, ..Self::default() }
    }

    pub(crate) fn purse(&self, whose: Whose) -> &Purse {
        match whose {
            Whose::Key => &self.key,
            Whose::Project => &self.project,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Key,
    Project,
}

/// What there is not enough of for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    Money(Whose),
    /// There will be enough after that time.
    Pace(Pace, Duration),
    Busy,
}

impl From<Short> for Error {
    fn from(short: Short) -> Self {
        let wait = match short {
            Short::Money(_) => return Self::new(ErrorKind::Balance, "Insufficient Balance"),
            Short::Pace(_, wait) => wait,
            Short::Busy => Duration::from_secs(1),
        };
        let mut error = Self::new(ErrorKind::Rate, "Rate limit reached");
        error.retry_after = Some(wait);
        error
    }
}

/// What a request may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub(crate) tokens: u64,
    /// Nano-dollars.
    pub(crate) cost: i64,
}

/// The right to ask once. Dropped without [`Permit::settle`], it costs nothing.
#[derive(Debug)]
pub(crate) struct Permit {
    account: Arc<Account>,
    key: i64,
    project: i64,
    tokens: u64,
    cost: i64,
    used: u64,
    /// The place among those that may ask at the same time, on all machines.
    pub(crate) slot: Option<Slot>,
}

impl Permit {
    /// Balance first, then pace (API document 0.5).
    ///
    /// # Errors
    /// What the key or its project is short of.
    pub(crate) fn take(account: &Arc<Account>, rates: Rates, estimate: Estimate) -> Result<Self, Short> {
        let key = account.key.reserve(estimate.cost).ok_or(Short::Money(Whose::Key))?;
        let Some(project) = account.project.reserve(estimate.cost) else {
            account.key.settle(key, 0);
            return Err(Short::Money(Whose::Project));
        };
        if let Err(short) = account.speed.begin(rates, estimate.tokens) {
            account.key.settle(key, 0);
            account.project.settle(project, 0);
            return Err(short);
        }
        let account = account.clone();
        Ok(Self { account, key, project, tokens: estimate.tokens, cost: 0, used: 0, slot: None })
    }

    /// What the request cost in the end, which may be more than was reserved.
    pub(crate) fn settle(&mut self, tokens: u64, cost: i64) {
        (self.used, self.cost) = (tokens, cost);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.account.key.settle(self.key, self.cost);
        self.account.project.settle(self.project, self.cost);
        self.account.speed.end(self.tokens, self.used);
    }
}

/// Numbers are whole even when a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(budget: Option<i64>) -> Arc<Account> {
        let account = Account::default();
        account.key.update(budget, 0, 0);
        Arc::new(account)
    }

    fn take(account: &Arc<Account>, rates: Rates, tokens: u64, cost: i64) -> Result<Permit, Error> {
        Permit::take(account, rates, Estimate { tokens, cost }).map_err(Error::from)
    }

    #[test]
    fn what_is_reserved_cannot_be_spent_twice_and_comes_back() {
        let account = account(Some(100));
        let mut first = take(&account, Rates::default(), 0, 60).unwrap();
        let second = take(&account, Rates::default(), 0, 60).unwrap();
        // 60 and the 40 that were left.
        assert_eq!(take(&account, Rates::default(), 0, 1).unwrap_err().kind, ErrorKind::Balance);
        drop(second);
        assert_eq!(account.key.left(), Some(40));
        first.settle(0, 10);
        drop(first);
        assert_eq!(account.key.left(), Some(90));
        account.key.spent(10, 1);
        account.key.booked(10);
        assert_eq!(account.key.left(), Some(90));
    }

    #[test]
    fn a_request_that_costs_more_than_it_reserved_leaves_debt() {
        let account = account(Some(100));
        let mut permit = take(&account, Rates::default(), 0, 60).unwrap();
        permit.settle(0, 130);
        drop(permit);
        assert_eq!(account.key.left(), Some(-30));
        assert!(take(&account, Rates::default(), 0, 0).is_err());
        account.key.update(Some(200), 0, 0);
        assert!(take(&account, Rates::default(), 0, 0).is_ok());
    }

    #[test]
    fn an_empty_project_stops_its_keys_and_nothing_stays_reserved() {
        let account = account(Some(100));
        account.project.update(Some(5), 5, 0);
        assert_eq!(take(&account, Rates::default(), 0, 60).unwrap_err().kind, ErrorKind::Balance);
        assert_eq!(account.key.left(), Some(100));
    }

    #[test]
    fn too_many_requests_or_tokens_are_told_when_to_come_back() {
        let (account, rates) = (account(None), Rates { requests: Some(2), tokens: Some(600), concurrency: None });
        let mut first = take(&account, rates, 100, 0).unwrap();
        first.settle(10_000, 0);
        drop(first);
        // 600 - 10,000 tokens, ten a second.
        let error = take(&account, rates, 1, 0).unwrap_err();
        let wait = error.retry_after.unwrap().as_secs();
        assert!(error.kind == ErrorKind::Rate && (938..=941).contains(&wait), "{wait}");

        let account = self::account(None);
        let rates = Rates { requests: Some(2), ..Rates::default() };
        let permits = [take(&account, rates, 0, 0).unwrap(), take(&account, rates, 0, 0).unwrap()];
        let wait = take(&account, rates, 0, 0).unwrap_err().retry_after.unwrap();
        assert!(wait <= Duration::from_secs(30) && wait > Duration::from_secs(25), "{wait:?}");
        drop(permits);
        assert!(take(&account, rates, 0, 0).is_err(), "a request that has ended was one all the same");
    }

    #[test]
    fn only_so_many_at_once() {
        let (account, rates) = (account(None), Rates { concurrency: Some(1), ..Rates::default() });
        let permit = take(&account, rates, 0, 0).unwrap();
        assert_eq!(take(&account, rates, 0, 0).unwrap_err().kind, ErrorKind::Rate);
        drop(permit);
        assert!(take(&account, rates, 0, 0).is_ok());
    }
}
