//! How much a caller may ask: money, requests and tokens a minute, requests at the same time. What a request may cost is
//! reserved before it begins and settled when it ends; what it cost beyond that becomes debt.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chat::{Error, ErrorKind};

use crate::leases::Slot;
use crate::pace::{Pace, Rates, Speed};
use crate::purse::{Need, Purse};

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
        let (key, speed) = (Purse::new(format!("key:{key}"), leased), Speed::new(leased));
        Self { key, project, speed, ..Self::default() }
    }

    /// Nano-dollars that requests may still reserve of the key and of its project, an overdraft included; `None` without a budget.
    pub(crate) fn room(&self) -> Option<i64> {
        [self.key.room(), self.project.room()].into_iter().flatten().min()
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
            Short::Money(_) => return Self::new(ErrorKind::InsufficientBalance, "Insufficient Balance"),
            Short::Pace(_, wait) => wait,
            Short::Busy => Duration::from_secs(1),
        };
        let mut error = Self::new(ErrorKind::RateLimited, "Rate limit reached");
        error.retry_after = Some(wait);
        error
    }
}

/// What a request may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub(crate) tokens: u64,
    pub(crate) money: Need,
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
        let key = account.key.reserve(estimate.money).ok_or(Short::Money(Whose::Key))?;
        let Some(project) = account.project.reserve(estimate.money) else {
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

    /// Nano-dollars that are reserved for it: the lesser of the key's and the project's.
    pub(crate) fn reserved(&self) -> i64 {
        self.key.min(self.project)
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

/// What is locked is whole even when a holder panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
        let money = Need { amount: cost, least: 1, overdraft: 0 };
        Permit::take(account, rates, Estimate { tokens, money }).map_err(Error::from)
    }

    #[test]
    fn what_is_reserved_cannot_be_spent_twice_and_comes_back() {
        let account = account(Some(100));
        let mut first = take(&account, Rates::default(), 0, 60).unwrap();
        let second = take(&account, Rates::default(), 0, 60).unwrap();
        // 60 and the 40 that were left.
        assert_eq!(take(&account, Rates::default(), 0, 1).unwrap_err().kind, ErrorKind::InsufficientBalance);
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
        assert_eq!(take(&account, Rates::default(), 0, 60).unwrap_err().kind, ErrorKind::InsufficientBalance);
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
        assert!(error.kind == ErrorKind::RateLimited && (938..=941).contains(&wait), "{wait}");

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
        assert_eq!(take(&account, rates, 0, 0).unwrap_err().kind, ErrorKind::RateLimited);
        drop(permit);
        assert!(take(&account, rates, 0, 0).is_ok());
    }
}
