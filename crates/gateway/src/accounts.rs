//! The keys of the store, in memory: a request waits for no database. Changes made elsewhere are seen within a second.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use chat::{Error, ErrorKind};
use store::{Booked, Key, POISONED, Project, REFUNDED, Record, Role, Store, StoreError};

use crate::address::Network;
use crate::limits::Account;
use crate::pace::{Allowance, Pace, Rates};
use crate::purse::Purse;

/// How far back changes are read again, in microseconds: more than the clocks of two machines differ, and than a
/// transaction takes.
const OVERLAP: i64 = 10_000_000;

/// A key of the store, and the money and pace behind it.
#[derive(Debug)]
pub struct Holder {
    pub(crate) id: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) project: Arc<str>,
    pub(crate) models: Option<Arc<[String]>>,
    pub(crate) rates: Rates,
    pub(crate) account: Arc<Account>,
    user: Option<Arc<Person>>,
    networks: Option<Vec<Network>>,
    expires_at: Option<i64>,
}

/// A user, as it stands now.
#[derive(Debug, Default)]
struct Person(Mutex<(Role, bool)>);

impl Person {
    /// The role, and whether its keys are let in.
    fn standing(&self) -> (Role, bool) {
        // A pair is written whole.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder {
    /// Its key in the store.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// That of its user; of nobody's key `Member`.
    pub fn role(&self) -> Role {
        self.user.as_ref().map_or(Role::Member, |user| user.standing().0)
    }

    /// Its money is counted.
    pub(crate) fn has_budget(&self) -> bool {
        self.left().is_some()
    }

    /// What it may still spend, in nano-dollars: the lesser of the key's and its project's; `None` without a budget.
    pub fn left(&self) -> Option<i64> {
        [self.account.key.left(), self.account.project.left()].into_iter().flatten().min()
    }

    /// What is left of its requests and its tokens of this minute, where they are limited.
    pub fn allowances(&self) -> [Option<Allowance>; 2] {
        [Pace::Requests, Pace::Tokens].map(|pace| self.account.speed.left(self.rates, pace))
    }

    /// Whether the key may be used now, from there.
    fn check(&self, peer: IpAddr) -> Result<(), Error> {
        if self.expires_at.is_some_and(|expires| expires <= store::now()) {
            return Err(Error::new(ErrorKind::Unauthorized, "Authentication Fails, Your api key has expired"));
        }
        let peer = peer.to_canonical();
        if self.networks.as_ref().is_some_and(|networks| !networks.iter().any(|network| network.contains(peer))) {
            return Err(Error::new(ErrorKind::Forbidden, format!("This key may not be used from {peer}")));
        }
        Ok(())
    }
}

/// Every key in use.
#[derive(Debug, Default)]
pub struct Accounts {
    by_hash: ArcSwap<HashMap<[u8; 32], Arc<Holder>>>,
    known: Mutex<Known>,
    /// A key was ever made: without a good one nobody is let in any more.
    closed: AtomicBool,
    /// The store could not be asked lately.
    stale: AtomicBool,
    /// Other machines have the same keys: what one may use of their limits is leased.
    leased: bool,
}

/// What outlives a change of its row.
#[derive(Debug, Default)]
struct Known {
    accounts: HashMap<String, Arc<Account>>,
    projects: HashMap<String, Arc<Purse>>,
    users: HashMap<String, Arc<Person>>,
    /// Keys and projects that the log has named because of what they have spent.
    poisoned: HashSet<String>,
    /// When the store was asked last.
    asked: i64,
}

impl Accounts {
    /// `leased`: other machines have the same keys and limits.
    pub(crate) fn new(leased: bool) -> Self {
        Self { leased, ..Self::default() }
    }

    /// Some key was made, if only to be revoked.
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Lets nobody in without a key from now on, also where the store has none.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// The holder of the key with this SHA-256; `None` when there is no such key.
    ///
    /// # Errors
    /// `Unauthorized` when it has expired, `Forbidden` at this address, `Overload` when the key is unknown but the store,
    /// which may know it, cannot be asked.
    pub fn find(&self, hash: &[u8; 32], peer: IpAddr) -> Result<Option<Arc<Holder>>, Error> {
        match self.by_hash.load().get(hash) {
            Some(holder) if holder.user.as_ref().is_some_and(|user| !user.standing().1) => Ok(None),
            Some(holder) => holder.check(peer).map(|()| Some(holder.clone())),
            None if self.stale.load(Ordering::Relaxed) => {
                Err(Error::new(ErrorKind::Overloaded, "Keys cannot be checked right now, please try again later"))
            }
            None => Ok(None),
        }
    }

    /// Reads what has changed in the store.
    ///
    /// # Errors
    /// A store that cannot be asked; a row that no version of this program wrote.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let since = self.known().asked - OVERLAP;
        let now = store::now();
        let read = async {
            let projects = store.projects_changed(since).await?;
            Ok::<_, StoreError>((projects, store.users_changed(since).await?, store.keys_changed(since).await?))
        };
        let read = read.await;
        self.stale.store(read.is_err(), Ordering::Relaxed);
        let (projects, users, keys) = read?;
        let mut known = self.known();
        for user in users {
            let person = known.users.entry(user.id).or_default();
            *person.0.lock().unwrap_or_else(PoisonError::into_inner) = (user.role, user.disabled_at.is_none());
        }
        for Project { id, name, budget, spent, changed_at, .. } in projects {
            known.tell_poisoned("project", &id, &name, spent);
            known.purse(&id, self.leased).update(budget, spent, changed_at);
        }
        if !keys.is_empty() {
            let mut by_hash = HashMap::clone(&self.by_hash.load());
            for key in keys {
                known.tell_poisoned("key", &key.id, &key.name, key.spent);
                known.place(key, &mut by_hash, self.leased);
            }
            self.by_hash.store(Arc::new(by_hash));
            self.closed.store(true, Ordering::Relaxed);
        }
        known.asked = now;
        Ok(())
    }

    /// The store has booked these records, after which so much is spent.
    pub(crate) fn booked(&self, records: &[Record], booked: &Booked) {
        let known = self.known();
        for spent in &booked.keys {
            if let Some(account) = known.accounts.get(&spent.id) {
                account.key.spent(spent.spent, spent.changed_at);
            }
        }
        for spent in &booked.projects {
            if let Some(purse) = known.projects.get(&spent.id) {
                purse.spent(spent.spent, spent.changed_at);
            }
        }
        // A refund was never on its way to be booked.
        for record in records.iter().filter(|record| record.cost != 0 && record.outcome != REFUNDED) {
            if let Some(account) = record.key_id.as_deref().and_then(|id| known.accounts.get(id)) {
                account.key.booked(record.cost);
                account.project.booked(record.cost);
            }
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Each row is placed whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Says once of a sum that cannot be true that nothing more is paid by it.
    fn tell_poisoned(&mut self, of: &str, id: &str, name: &str, spent: i64) {
        if spent != POISONED {
            self.poisoned.remove(id);
        } else if self.poisoned.insert(id.to_owned()) {
            tracing::error!(
                id,
                name,
                "what this {of} has spent cannot be true: its budget counts as used up until the server is stopped and `cachalot usage check --repair` has run"
            );
        }
    }

    fn purse(&mut self, project: &str, leased: bool) -> &Arc<Purse> {
        let purse = || Arc::new(Purse::new(format!("project:{project}"), leased));
        self.projects.entry(project.to_owned()).or_insert_with(purse)
    }

    fn place(&mut self, key: Key, by_hash: &mut HashMap<[u8; 32], Arc<Holder>>, leased: bool) {
        let Some(hash) = digest(&key.hash) else {
            tracing::error!(key = key.name, "the store has a key whose hash cannot be read");
            return;
        };
        let project = self.purse(&key.project_id, leased).clone();
        let account = self.accounts.entry(key.id.clone());
        let account = account.or_insert_with(|| Arc::new(Account::new(&key.id, project, leased))).clone();
        account.key.update(key.limits.budget, key.spent, key.changed_at);
        if key.revoked_at.is_some() {
            by_hash.remove(&hash);
            return;
        }
        // Of a user who is not known yet, the key is not let in yet.
        let user = key.user_id.map(|id| self.users.entry(id).or_default().clone());
        let limits = key.limits;
        // A range that cannot be read admits nobody.
        let networks = limits.networks.map(|ranges| ranges.iter().filter_map(|range| Network::parse(range)).collect());
        let rates = Rates {
            requests: limits.requests_per_minute,
            tokens: limits.tokens_per_minute,
            concurrency: limits.concurrency,
        };
        let holder = Holder {
            id: key.id.into(),
            name: key.name.into(),
            project: key.project_id.into(),
            models: limits.models.map(Arc::from),
            rates,
            account,
            user,
            networks,
            expires_at: limits.expires_at,
        };
        by_hash.insert(hash, Arc::new(holder));
    }
}

/// The bytes of 64 hex digits, as SHA-256 is written.
pub fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (place, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(digest)
}
