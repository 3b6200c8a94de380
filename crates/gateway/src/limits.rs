//! How much a caller may ask: money, requests and tokens a minute, requests at the same time. What a request may cost is
//! reserved before it begins and settled when it ends; what it cost beyond that becomes debt.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chat::{Error, ErrorKind};

/// Money of a key or a project, in nano-dollars.
#[derive(Debug, Default)]
pub(crate) struct Purse(Mutex<Money>);

#[derive(Debug, Default)]
struct Money {
    /// `None`: as much as it likes.
    budget: Option<i64>,
    /// What the store has booked.
    booked: i64,
    /// What was settled here and is not booked yet.
    settled: i64,
    /// What running requests may cost.
    reserved: i64,
}

impl Money {
    fn left(&self) -> Option<i64> {
        Some(self.budget?.saturating_sub(self.booked).saturating_sub(self.settled).saturating_sub(self.reserved))
    }
}

impl Purse {
    /// What the store says.
    pub(crate) fn update(&self, budget: Option<i64>, booked: i64) {
        let mut money = lock(&self.0);
        (money.budget, money.booked) = (budget, booked);
    }

    /// Takes `amount` aside, or what is left of it; nothing when nothing is left.
    fn reserve(&self, amount: i64) -> Option<i64> {
        let mut money = lock(&self.0);
        let amount = match money.left() {
            Some(left) if left <= 0 => return None,
            Some(left) => amount.min(left),
            None => amount,
        };
        money.reserved += amount;
        Some(amount)
    }

    fn settle(&self, reserved: i64, cost: i64) {
        let mut money = lock(&self.0);
        money.reserved -= reserved;
        money.settled = money.settled.saturating_add(cost);
    }

    /// The store has booked it.
    pub(crate) fn booked(&self, cost: i64) {
        let mut money = lock(&self.0);
        money.settled -= cost;
        money.booked = money.booked.saturating_add(cost);
    }

    /// What may still be spent, running requests set aside; `None` without a budget.
    pub(crate) fn left(&self) -> Option<i64> {
        lock(&self.0).left()
    }
}

/// A bucket that fills over a minute and may go into debt. Asking needs it above zero.
#[derive(Debug)]
struct Bucket {
    level: f64,
    filled: Instant,
}

impl Bucket {
    fn new(per_minute: i64) -> Self {
        Self { level: per_minute as f64, filled: Instant::now() }
    }

    /// Takes `amount`.
    ///
    /// # Errors
    /// How long it takes until something is there again.
    fn take(&mut self, amount: f64, per_minute: i64, needed: f64) -> Result<(), Duration> {
        let (now, most) = (Instant::now(), per_minute as f64);
        let per_second = most / 60.0;
        self.level = (self.level + now.duration_since(self.filled).as_secs_f64() * per_second).min(most);
        self.filled = now;
        if self.level < needed {
            let wait = (needed - self.level) / per_second;
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::from_secs(3600)));
        }
        self.level -= amount;
        Ok(())
    }
}

/// What a key may do in a minute and at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) requests: Option<i64>,
    pub(crate) tokens: Option<i64>,
    pub(crate) concurrency: Option<i64>,
}

/// How fast a key has been.
#[derive(Debug, Default)]
pub(crate) struct Speed(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    now: i64,
}

impl Speed {
    fn begin(&self, rates: Rates, tokens: u64) -> Result<(), Error> {
        let mut running = lock(&self.0);
        if rates.concurrency.is_some_and(|most| running.now >= most) {
            return Err(too_fast(Duration::from_secs(1)));
        }
        if let Some(limit) = rates.tokens {
            let bucket = running.tokens.get_or_insert_with(|| Bucket::new(limit));
            bucket.take(0.0, limit, 1.0).map_err(too_fast)?;
        }
        if let Some(limit) = rates.requests {
            running.requests.get_or_insert_with(|| Bucket::new(limit)).take(1.0, limit, 1.0).map_err(too_fast)?;
        }
        if let Some(bucket) = &mut running.tokens {
            bucket.level -= tokens as f64;
        }
        running.now += 1;
        Ok(())
    }

    /// Ends a request that took `reserved` tokens aside and used `tokens`.
    fn end(&self, reserved: u64, tokens: u64) {
        let mut running = lock(&self.0);
        running.now -= 1;
        if let Some(bucket) = &mut running.tokens {
            bucket.level += reserved as f64 - tokens as f64;
        }
    }
}

fn too_fast(wait: Duration) -> Error {
    let mut error = Error::new(ErrorKind::Rate, "Rate limit reached");
    error.retry_after = Some(wait);
    error
}

/// The purses and the pace of one key.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) key: Purse,
    pub(crate) project: Arc<Purse>,
    pub(crate) speed: Speed,
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
}

impl Permit {
    /// Balance first, then pace (API document 0.5).
    ///
    /// # Errors
    /// `Balance` when the key or its project has nothing left; `Rate`, with the time to wait.
    pub(crate) fn take(account: Arc<Account>, rates: Rates, estimate: Estimate) -> Result<Self, Error> {
        let nothing_left = || Error::new(ErrorKind::Balance, "Insufficient Balance");
        let key = account.key.reserve(estimate.cost).ok_or_else(nothing_left)?;
        let Some(project) = account.project.reserve(estimate.cost) else {
            account.key.settle(key, 0);
            return Err(nothing_left());
        };
        if let Err(error) = account.speed.begin(rates, estimate.tokens) {
            account.key.settle(key, 0);
            account.project.settle(project, 0);
            return Err(error);
        }
        Ok(Self { account, key, project, tokens: estimate.tokens, cost: 0, used: 0 })
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
        account.key.update(budget, 0);
        Arc::new(account)
    }

    fn take(account: &Arc<Account>, rates: Rates, tokens: u64, cost: i64) -> Result<Permit, Error> {
        Permit::take(account.clone(), rates, Estimate { tokens, cost })
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
        account.key.update(Some(200), 0);
        assert!(take(&account, Rates::default(), 0, 0).is_ok());
    }

    #[test]
    fn an_empty_project_stops_its_keys_and_nothing_stays_reserved() {
        let account = account(Some(100));
        account.project.update(Some(5), 5);
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
