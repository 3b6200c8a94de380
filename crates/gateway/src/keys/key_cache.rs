//! The keys of the store, in memory, so that a request with a known key never waits for the
//! database. Changes by other processes are seen within a second.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use chat::{Error, ErrorKind};
use parking_lot::Mutex;
use store::{Key, Project, REFUNDED, Role, SPENT_OVERFLOWED, SpendUpdates, Store, StoreError, UsageRecord};

use crate::keys::budget_index::{BudgetIndex, stored_end_user};
use crate::keys::ip_network::IpNetwork;
use crate::keys::new_key::parse_sha256_hex;
use crate::limits::budget::Budget;
use crate::limits::exceeded::RateKind;
use crate::limits::key_limits::KeyLimits;
use crate::limits::rate_limit::{RateLimits, RateStatus};

/// The time before the last refresh from which changes are read again, in microseconds. It is
/// longer than a transaction takes and than the clocks of two machines differ.
const REFRESH_OVERLAP_MICROS: i64 = 10_000_000;

/// A key of the store, with its budgets and its rate limiter.
#[derive(Debug)]
pub struct ApiKey {
    pub(crate) id: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) project_id: Arc<str>,
    pub(crate) allowed_models: Option<Arc<[String]>>,
    pub(crate) rate_limits: RateLimits,
    pub(crate) limits: Arc<KeyLimits>,
    /// The id of its user in the store, and the state of the user.
    user: Option<(Arc<str>, Arc<UserState>)>,
    networks: Option<Vec<IpNetwork>>,
    expires_at: Option<i64>,
}

/// The role of a user, and whether the user is enabled.
#[derive(Debug, Default)]
struct UserState(Mutex<(Role, bool)>);

impl UserState {
    fn role_and_enabled(&self) -> (Role, bool) {
        *self.0.lock()
    }
}

impl ApiKey {
    /// The id of the key in the store.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The role of the user of the key; `Member` for a key without a user.
    pub fn role(&self) -> Role {
        self.user.as_ref().map_or(Role::Member, |(_, user)| user.role_and_enabled().0)
    }

    /// The id of the user of the key.
    pub fn user_id(&self) -> Option<&Arc<str>> {
        self.user.as_ref().map(|(id, _)| id)
    }

    /// Whether the key may use a model.
    pub fn may_use(&self, model: &str) -> bool {
        allows(self.allowed_models.as_deref(), model)
    }

    fn is_enabled(&self) -> bool {
        self.user.as_ref().is_none_or(|(_, user)| user.role_and_enabled().1)
    }

    /// The budget left, in nano-dollars: the least of all budgets of the key, its project and its
    /// user, without those of end users; `None` without a budget.
    pub fn remaining_budget(&self) -> Option<i64> {
        let budgets = self.limits.budgets(store::now_micros(), None);
        budgets.iter().filter_map(|budget| budget.remaining()).min()
    }

    /// The end user for whom a request counts, from the name in the request; `None` if the key has
    /// no budgets of end users. Requests without a name count for the empty one.
    pub(crate) fn counted_end_user(&self, name: Option<&str>) -> Option<Arc<str>> {
        self.limits.has_end_users().then(|| stored_end_user(name.unwrap_or_default()))
    }

    /// The state of the rate limits for requests and for tokens; `None` where there is no limit.
    pub fn rate_statuses(&self) -> [Option<RateStatus>; 2] {
        [RateKind::Requests, RateKind::Tokens].map(|kind| self.limits.rate_limiter.status(self.rate_limits, kind))
    }

    /// Checks that the key has not expired and may be used from the address `peer`.
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

/// The keys that are not revoked.
#[derive(Debug, Default)]
pub struct KeyCache {
    by_hash: ArcSwap<HashMap<[u8; 32], Arc<ApiKey>>>,
    /// The same keys by their ids.
    by_id: ArcSwap<HashMap<Arc<str>, Arc<ApiKey>>>,
    state: Mutex<KeyCacheState>,
    /// Whether a key or a password ever existed. From then on, requests without a valid key are
    /// refused.
    requires_key: AtomicBool,
    /// Whether the last refresh failed.
    store_unavailable: AtomicBool,
    /// Other replicas have the same keys, so limits are leased.
    leased: bool,
}

/// State that is kept when a row changes.
#[derive(Debug, Default)]
struct KeyCacheState {
    limits_by_key: HashMap<String, Arc<KeyLimits>>,
    project_budgets: HashMap<String, Arc<Budget>>,
    budgets: BudgetIndex,
    users: HashMap<String, Arc<UserState>>,
    /// The ids of keys and projects whose overflow is in the log.
    overflowed: HashSet<String>,
    /// The time of the last refresh, in microseconds since 1970.
    last_refresh: i64,
}

impl KeyCache {
    /// An empty cache. `leased`: other replicas have the same keys and limits.
    pub(crate) fn new(leased: bool) -> Self {
        let state = KeyCacheState { budgets: BudgetIndex::new(leased), ..KeyCacheState::default() };
        Self { leased, state: Mutex::new(state), ..Self::default() }
    }

    /// Whether requests need a key: one exists, or existed and was revoked, or a user has a
    /// password.
    pub fn requires_key(&self) -> bool {
        self.requires_key.load(Ordering::Relaxed)
    }

    /// Refuses requests without a key from now on, even if the store has none.
    pub fn require_key(&self) {
        self.requires_key.store(true, Ordering::Relaxed);
    }

    /// The key with this SHA-256; `None` when there is none.
    ///
    /// # Errors
    /// `Unauthorized` for an expired key; `Forbidden` for the address `peer`; `Overloaded` for an
    /// unknown key while the store, which may have it, is away.
    pub fn find(&self, hash: &[u8; 32], peer: IpAddr) -> Result<Option<Arc<ApiKey>>, Error> {
        match self.by_hash.load().get(hash) {
            Some(api_key) if !api_key.is_enabled() => Ok(None),
            Some(api_key) => api_key.check_access(peer).map(|()| Some(api_key.clone())),
            None if self.store_unavailable.load(Ordering::Relaxed) => {
                Err(Error::new(ErrorKind::Overloaded, "Keys cannot be checked right now, please try again later"))
            }
            None => Ok(None),
        }
    }

    /// Whether there is no key with this SHA-256 here, but the store may have it.
    pub(crate) fn may_be_new(&self, hash: &[u8; 32]) -> bool {
        !self.by_hash.load().contains_key(hash) && !self.store_unavailable.load(Ordering::Relaxed)
    }

    /// The time at which the last refresh began, in microseconds since 1970.
    pub(crate) fn last_refresh(&self) -> i64 {
        self.state.lock().last_refresh
    }

    /// The key with this id in the store; `None` when there is none that may be used.
    ///
    /// # Errors
    /// `Unauthorized` for an expired key; `Forbidden` for the address `peer`.
    pub fn find_by_id(&self, id: &str, peer: IpAddr) -> Result<Option<Arc<ApiKey>>, Error> {
        match self.by_id.load().get(id).filter(|api_key| api_key.is_enabled()) {
            Some(api_key) => api_key.check_access(peer).map(|()| Some(api_key.clone())),
            None => Ok(None),
        }
    }

    /// Whether the key with this id belongs to this user, or with `None` to no user.
    pub fn belongs_to(&self, id: &str, user_id: Option<&str>) -> bool {
        self.by_id.load().get(id).is_some_and(|api_key| api_key.user_id().map(|id| &**id) == user_id)
    }

    /// The keys that belong to this user, or with `None` to no user, and are not revoked; the
    /// oldest first.
    pub fn of_user(&self, user_id: Option<&str>) -> Vec<Arc<ApiKey>> {
        let all = self.by_id.load();
        let mut keys: Vec<_> = all.values().filter(|key| key.user_id().map(|id| &**id) == user_id).cloned().collect();
        keys.sort_by(|a, b| a.id().cmp(b.id()));
        keys
    }

    /// Reads changed projects, users, keys and budgets from the store.
    ///
    /// # Errors
    /// A store that cannot be read, or a row that this program did not write.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let since = self.state.lock().last_refresh - REFRESH_OVERLAP_MICROS;
        let now = store::now_micros();
        let read = async {
            let projects = store.projects_changed(since).await?;
            let (users, keys) = (store.users_changed(since).await?, store.keys_changed(since).await?);
            let budgets = store.budgets_changed(since).await?;
            let spends = store.budget_spend_changed(since, now).await?;
            let has_passwords = !self.requires_key() && store.has_passwords().await?;
            Ok::<_, StoreError>((projects, users, keys, budgets, spends, has_passwords))
        };
        let read = read.await;
        self.store_unavailable.store(read.is_err(), Ordering::Relaxed);
        let (projects, users, keys, budgets, spends, has_passwords) = read?;
        if has_passwords {
            self.require_key();
        }
        let mut state = self.state.lock();
        for user in users {
            state.budgets.owner(&user.id).set_name(|| format!("user `{}`", user.name));
            let user_state = state.users.entry(user.id).or_default();
            *user_state.0.lock() = (user.role, user.disabled_at.is_none());
        }
        for Project { id, name, budget, spent, changed_at, .. } in projects {
            state.log_overflow_once("project", &id, &name, spent);
            let project_budget = state.project_budget(&id, self.leased);
            project_budget.set_owner(|| format!("project `{name}`"));
            project_budget.update(budget, spent, changed_at);
            state.budgets.owner(&id).set_name(|| format!("project `{name}`"));
        }
        for key in &keys {
            state.budgets.owner(&key.id).set_name(|| format!("key `{}`", key.name));
        }
        // A key is found only after its budgets are known.
        state.budgets.update(&budgets);
        state.budgets.set_committed(&spends);
        if !keys.is_empty() {
            let mut by_hash = HashMap::clone(&self.by_hash.load());
            for key in keys {
                state.log_overflow_once("key", &key.id, &key.name, key.spent);
                state.insert_key(key, &mut by_hash, self.leased);
            }
            let by_id = by_hash.values().map(|api_key| (api_key.id.clone(), api_key.clone())).collect();
            self.by_id.store(Arc::new(by_id));
            self.by_hash.store(Arc::new(by_hash));
            self.requires_key.store(true, Ordering::Relaxed);
        }
        state.budgets.forget_unused(now);
        state.last_refresh = now;
        Ok(())
    }

    /// Records that the store has committed these records, and what is spent since.
    pub(crate) fn record_committed(&self, records: &[UsageRecord], committed: &SpendUpdates) {
        let state = self.state.lock();
        for update in &committed.keys {
            if let Some(key_limits) = state.limits_by_key.get(&update.id) {
                key_limits.key_budget.set_committed(update.spent, update.changed_at);
            }
        }
        for update in &committed.projects {
            if let Some(budget) = state.project_budgets.get(&update.id) {
                budget.set_committed(update.spent, update.changed_at);
            }
        }
        state.budgets.set_committed(&committed.budgets);
        // The cost of a refund was never settled in a budget.
        for record in records.iter().filter(|record| record.cost != 0 && record.outcome != REFUNDED) {
            if let Some(key_limits) = record.key_id.as_deref().and_then(|id| state.limits_by_key.get(id)) {
                key_limits.record_committed(record.at, record.end_user.as_deref(), record.cost);
            }
        }
    }
}

impl KeyCacheState {
    /// Logs, once, that the spent amount of a key or a project has overflowed.
    fn log_overflow_once(&mut self, owner_kind: &str, id: &str, name: &str, spent: i64) {
        if spent != SPENT_OVERFLOWED {
            self.overflowed.remove(id);
        } else if self.overflowed.insert(id.to_owned()) {
            tracing::error!(
                id,
                name,
                "the spent amount of this {owner_kind} has overflowed: its budget counts as used up until the server is stopped and `cachalot usage check --repair` has run"
            );
        }
    }

    fn project_budget(&mut self, project: &str, leased: bool) -> &Arc<Budget> {
        let new_budget = || Arc::new(Budget::new(format!("project:{project}"), leased));
        self.project_budgets.entry(project.to_owned()).or_insert_with(new_budget)
    }

    fn insert_key(&mut self, key: Key, by_hash: &mut HashMap<[u8; 32], Arc<ApiKey>>, leased: bool) {
        let Some(hash) = parse_sha256_hex(&key.hash) else {
            tracing::error!(key = key.name, "skipped a key of the store whose hash is invalid");
            return;
        };
        let project = self.project_budget(&key.project_id, leased).clone();
        let owner_ids = [Some(&key.id), Some(&key.project_id), key.user_id.as_ref()];
        let owners: Vec<_> = owner_ids.into_iter().flatten().map(|id| self.budgets.owner(id).clone()).collect();
        let key_limits = self.limits_by_key.entry(key.id.clone());
        let key_limits =
            key_limits.or_insert_with(|| Arc::new(KeyLimits::new(&key.id, project, owners, leased))).clone();
        key_limits.key_budget.set_owner(|| format!("key `{}`", key.name));
        key_limits.key_budget.update(key.limits.budget, key.spent, key.changed_at);
        if key.revoked_at.is_some() {
            by_hash.remove(&hash);
            return;
        }
        // A key of a user who is not known yet is refused until the user is read.
        let user = key.user_id.map(|id| (Arc::from(id.as_str()), self.users.entry(id).or_default().clone()));
        let limits = key.limits;
        // A range that cannot be parsed admits no address.
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

/// Whether a list of models, or `None` for all, contains `model`, in any letter case.
pub(crate) fn allows(models: Option<&[String]>, model: &str) -> bool {
    models.is_none_or(|models| models.iter().any(|allowed| allowed.eq_ignore_ascii_case(model)))
}
