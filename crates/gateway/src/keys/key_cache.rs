//! The keys of the store, in memory: a request waits for no database. Changes made elsewhere are
//! seen within a second.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use chat::{Error, ErrorKind};
use store::{Key, Project, REFUNDED, Role, SPENT_OVERFLOWED, SpendUpdates, Store, StoreError, UsageRecord};

use crate::limits::budget::Budget;
use crate::limits::key_limits::KeyLimits;
use crate::limits::rate_limit::{RateKind, RateLimits, RateStatus};
use crate::upstream::ip_filter::IpNetwork;

/// How far back changes are read again, in microseconds: more than the clocks of two machines
/// differ, and than a transaction takes.
const REFRESH_OVERLAP_MICROS: i64 = 10_000_000;

/// A key of the store, and the money and pace behind it.
#[derive(Debug)]
pub struct ApiKey {
    pub(crate) id: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) project_id: Arc<str>,
    pub(crate) allowed_models: Option<Arc<[String]>>,
    pub(crate) rate_limits: RateLimits,
    pub(crate) limits: Arc<KeyLimits>,
    user: Option<Arc<UserState>>,
    networks: Option<Vec<IpNetwork>>,
    expires_at: Option<i64>,
}

/// A user, as it stands now.
#[derive(Debug, Default)]
struct UserState(Mutex<(Role, bool)>);

impl UserState {
    /// The role, and whether its keys are let in.
    fn role_and_enabled(&self) -> (Role, bool) {
        // A pair is written whole.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ApiKey {
    /// Its key in the store.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// That of its user; of nobody's key `Member`.
    pub fn role(&self) -> Role {
        self.user.as_ref().map_or(Role::Member, |user| user.role_and_enabled().0)
    }

    /// Its money is counted.
    pub(crate) fn has_budget(&self) -> bool {
        self.remaining_budget().is_some()
    }

    /// What it may still spend, in nano-dollars: the lesser of the key's and its project's; `None`
    /// without a budget.
    pub fn remaining_budget(&self) -> Option<i64> {
        [self.limits.key_budget.remaining(), self.limits.project_budget.remaining()].into_iter().flatten().min()
    }

    /// What is left of its requests and its tokens of this minute, where they are limited.
    pub fn rate_statuses(&self) -> [Option<RateStatus>; 2] {
        [RateKind::Requests, RateKind::Tokens].map(|kind| self.limits.rate_limiter.status(self.rate_limits, kind))
    }

    /// Whether the key may be used now, from there.
    fn check_access(&self, peer: IpAddr) -> Result<(), Error> {
        if self.expires_at.is_some_and(|expires| expires <= store::now_micros()) {
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
pub struct KeyCache {
    by_hash: ArcSwap<HashMap<[u8; 32], Arc<ApiKey>>>,
    state: Mutex<KeyCacheState>,
    /// A key was ever made: without a good one nobody is let in any more.
    requires_key: AtomicBool,
    /// The store could not be asked lately.
    store_unavailable: AtomicBool,
    /// Other machines have the same keys: what one may use of their limits is leased.
    leased: bool,
}

/// What outlives a change of its row.
#[derive(Debug, Default)]
struct KeyCacheState {
    limits_by_key: HashMap<String, Arc<KeyLimits>>,
    project_budgets: HashMap<String, Arc<Budget>>,
    users: HashMap<String, Arc<UserState>>,
    /// Keys and projects that the log has named because of what they have spent.
    overflowed: HashSet<String>,
    /// When the store was asked last.
    last_refresh: i64,
}

impl KeyCache {
    /// `leased`: other machines have the same keys and limits.
    pub(crate) fn new(leased: bool) -> Self {
        Self { leased, ..Self::default() }
    }

    /// Some key was made, if only to be revoked.
    pub fn requires_key(&self) -> bool {
        self.requires_key.load(Ordering::Relaxed)
    }

    /// Lets nobody in without a key from now on, also where the store has none.
    pub fn require_key(&self) {
        self.requires_key.store(true, Ordering::Relaxed);
    }

    /// The api_key of the key with this SHA-256; `None` when there is no such key.
    ///
    /// # Errors
    /// `Unauthorized` when it has expired, `Forbidden` at this address, `Overload` when the key is
    /// unknown but the store, which may know it, cannot be asked.
    pub fn find(&self, hash: &[u8; 32], peer: IpAddr) -> Result<Option<Arc<ApiKey>>, Error> {
        match self.by_hash.load().get(hash) {
            Some(api_key) if api_key.user.as_ref().is_some_and(|user| !user.role_and_enabled().1) => Ok(None),
            Some(api_key) => api_key.check_access(peer).map(|()| Some(api_key.clone())),
            None if self.store_unavailable.load(Ordering::Relaxed) => {
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
        let since = self.lock_state().last_refresh - REFRESH_OVERLAP_MICROS;
        let now = store::now_micros();
        let read = async {
            let projects = store.projects_changed(since).await?;
            Ok::<_, StoreError>((projects, store.users_changed(since).await?, store.keys_changed(since).await?))
        };
        let read = read.await;
        self.store_unavailable.store(read.is_err(), Ordering::Relaxed);
        let (projects, users, keys) = read?;
        let mut state = self.lock_state();
        for user in users {
            let user_state = state.users.entry(user.id).or_default();
            *user_state.0.lock().unwrap_or_else(PoisonError::into_inner) = (user.role, user.disabled_at.is_none());
        }
        for Project { id, name, budget, spent, changed_at, .. } in projects {
            state.log_overflow_once("project", &id, &name, spent);
            state.project_budget(&id, self.leased).update(budget, spent, changed_at);
        }
        if !keys.is_empty() {
            let mut by_hash = HashMap::clone(&self.by_hash.load());
            for key in keys {
                state.log_overflow_once("key", &key.id, &key.name, key.spent);
                state.insert_key(key, &mut by_hash, self.leased);
            }
            self.by_hash.store(Arc::new(by_hash));
            self.requires_key.store(true, Ordering::Relaxed);
        }
        state.last_refresh = now;
        Ok(())
    }

    /// The store has booked these records, after which so much is spent.
    pub(crate) fn record_committed(&self, records: &[UsageRecord], committed: &SpendUpdates) {
        let state = self.lock_state();
        for spent in &committed.keys {
            if let Some(key_limits) = state.limits_by_key.get(&spent.id) {
                key_limits.key_budget.set_committed(spent.spent, spent.changed_at);
            }
        }
        for spent in &committed.projects {
            if let Some(budget) = state.project_budgets.get(&spent.id) {
                budget.set_committed(spent.spent, spent.changed_at);
            }
        }
        // A refund was never on its way to be booked.
        for record in records.iter().filter(|record| record.cost != 0 && record.outcome != REFUNDED) {
            if let Some(key_limits) = record.key_id.as_deref().and_then(|id| state.limits_by_key.get(id)) {
                key_limits.key_budget.record_committed(record.cost);
                key_limits.project_budget.record_committed(record.cost);
            }
        }
    }

    fn lock_state(&self) -> std::sync::MutexGuard<'_, KeyCacheState> {
        // Each row is placed whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyCacheState {
    /// Says once of a sum that cannot be true that nothing more is paid by it.
    fn log_overflow_once(&mut self, owner_kind: &str, id: &str, name: &str, spent: i64) {
        if spent != SPENT_OVERFLOWED {
            self.overflowed.remove(id);
        } else if self.overflowed.insert(id.to_owned()) {
            tracing::error!(
                id,
                name,
                "what this {owner_kind} has spent cannot be true: its budget counts as used up until the server is stopped and `cachalot usage check --repair` has run"
            );
        }
    }

    fn project_budget(&mut self, project: &str, leased: bool) -> &Arc<Budget> {
        let new_budget = || Arc::new(Budget::new(format!("project:{project}"), leased));
        self.project_budgets.entry(project.to_owned()).or_insert_with(new_budget)
    }

    fn insert_key(&mut self, key: Key, by_hash: &mut HashMap<[u8; 32], Arc<ApiKey>>, leased: bool) {
        let Some(hash) = parse_sha256_hex(&key.hash) else {
            tracing::error!(key = key.name, "the store has a key whose hash cannot be read");
            return;
        };
        let project = self.project_budget(&key.project_id, leased).clone();
        let key_limits = self.limits_by_key.entry(key.id.clone());
        let key_limits = key_limits.or_insert_with(|| Arc::new(KeyLimits::new(&key.id, project, leased))).clone();
        key_limits.key_budget.update(key.limits.budget, key.spent, key.changed_at);
        if key.revoked_at.is_some() {
            by_hash.remove(&hash);
            return;
        }
        // Of a user who is not state yet, the key is not let in yet.
        let user = key.user_id.map(|id| self.users.entry(id).or_default().clone());
        let limits = key.limits;
        // A range that cannot be read admits nobody.
        let networks =
            limits.networks.map(|ranges| ranges.iter().filter_map(|range| IpNetwork::parse(range)).collect());
        let rate_limits = RateLimits {
            requests: limits.requests_per_minute,
            tokens: limits.tokens_per_minute,
            concurrency: limits.concurrency,
        };
        let api_key = ApiKey {
            id: key.id.into(),
            name: key.name.into(),
            project_id: key.project_id.into(),
            allowed_models: limits.models.map(Arc::from),
            rate_limits,
            limits: key_limits,
            user,
            networks,
            expires_at: limits.expires_at,
        };
        by_hash.insert(hash, Arc::new(api_key));
    }
}

/// The bytes of 64 hex digits, as SHA-256 is written.
pub fn parse_sha256_hex(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(digest)
}
