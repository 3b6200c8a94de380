//! Limits that replicas share, kept in Redis or Valkey. A replica leases a part of a budget or of a
//! token bucket, and a request calls Redis only when that lease is used up. While Redis is away, a
//! key whose lease is used up receives 503; a key without limits never needs Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat::{Error, ErrorKind};
use metrics::counter;
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{RedisError, RedisResult, Script};
use tokio::sync::mpsc;

use crate::limits::budget::Budget;
use crate::limits::exceeded::{LimitExceeded, RateKind};
use crate::limits::key_limits::{KeyLimits, Permit, ReservationRequest, concurrency_error, rate_limit_error};
use crate::limits::rate_limit::RateLimits;
use crate::limits::slot::{ConcurrencySlot, ConcurrencySlots};

mod maintenance;

/// Seconds without a report after which a replica counts as dead, and its leases are released.
const REPLICA_TTL_SECONDS: u64 = 600;
/// Seconds after which a slot expires unless it is renewed.
const SLOT_TTL_SECONDS: u64 = 60;
/// The number of further requests of the same size that a lease covers, while the budget is large.
const LEASE_MULTIPLE: i64 = 8;
/// The largest lease for one request, in nano-dollars: the most that a request may cost.
const MAX_LEASE_REQUEST: i64 = store::MAX_COST;
/// The longest time that a request waits for Redis.
const REDIS_TIMEOUT: Duration = Duration::from_millis(500);

/// An error of the Redis server that holds the shared limits.
#[derive(Debug, thiserror::Error)]
#[error("Redis, which holds the shared limits, cannot be reached or used: {0}")]
pub struct RedisLeasesError(#[from] RedisError);

/// The leases of this replica.
pub struct RedisLeases {
    redis: ConnectionManager,
    scripts: Scripts,
    /// The id of this replica in Redis and in the names of journals.
    replica: String,
    /// The keys that may hold leases.
    leased_keys: Mutex<Vec<Arc<KeyLimits>>>,
    slots: Arc<ConcurrencySlots>,
    /// Taken by the maintenance task.
    released_slots: Mutex<Option<mpsc::UnboundedReceiver<u64>>>,
}

struct Scripts {
    lease_budget: Script,
    lease_tokens: Script,
    acquire_slot: Script,
    renew_slot: Script,
}

impl std::fmt::Debug for RedisLeases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisLeases").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl RedisLeases {
    /// Connects to `redis://…` or `rediss://…`.
    ///
    /// # Errors
    /// An invalid URL, or a server that does not answer.
    pub async fn connect(url: &str) -> Result<Self, RedisLeasesError> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(REDIS_TIMEOUT))
            .set_connection_timeout(Some(2 * REDIS_TIMEOUT))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_secs(1));
        let redis = ConnectionManager::new_with_config(redis::Client::open(url)?, config).await?;
        let scripts = Scripts {
            lease_budget: Script::new(include_str!("lua/lease_budget.lua")),
            lease_tokens: Script::new(include_str!("lua/lease_tokens.lua")),
            acquire_slot: Script::new(include_str!("lua/acquire_slot.lua")),
            renew_slot: Script::new(include_str!("lua/renew_slot.lua")),
        };
        let (released, receiver) = mpsc::unbounded_channel();
        let slots = ConcurrencySlots { held: Mutex::default(), next_number: AtomicU64::new(0), released };
        Ok(Self {
            redis,
            scripts,
            replica: uuid::Uuid::now_v7().simple().to_string(),
            leased_keys: Mutex::default(),
            slots: Arc::new(slots),
            released_slots: Mutex::new(Some(receiver)),
        })
    }

    /// The id of this replica.
    pub(crate) fn replica(&self) -> &str {
        &self.replica
    }

    /// Admits a request within the limits that all replicas share.
    ///
    /// # Errors
    /// `InsufficientBalance` or `RateLimited`; `Overloaded` when the lease is used up and Redis
    /// is away.
    pub(crate) async fn admit(
        &self,
        key_limits: &Arc<KeyLimits>,
        budgets: &[Arc<Budget>],
        rate_limits: RateLimits,
        request: ReservationRequest,
    ) -> Result<Permit, Error> {
        if !key_limits.has_lease.swap(true, Ordering::Relaxed) {
            self.leased_keys.lock().push(key_limits.clone());
        }
        let mut permit = loop {
            match Permit::acquire(key_limits, budgets, rate_limits, request) {
                Ok(permit) => break permit,
                Err(LimitExceeded::Budget(budget)) => {
                    self.lease_budget_if_needed(&budget, request).await?;
                }
                Err(LimitExceeded::Rate(kind, _)) => {
                    self.lease_rate_if_needed(key_limits, kind, request.tokens).await?;
                }
                Err(LimitExceeded::Concurrency) => return Err(concurrency_error()),
            }
        };
        if let Some(limit) = rate_limits.concurrency {
            permit.slot = Some(self.acquire_slot(key_limits, limit).await?);
        }
        Ok(permit)
    }

    async fn lease_budget_if_needed(&self, budget: &Budget, reservation: ReservationRequest) -> Result<(), Error> {
        let request = reservation.budget;
        let _refilling = budget.refill_lock.lock().await;
        // Another request may have leased meanwhile.
        if budget.can_reserve(request) {
            return Ok(());
        }
        let wanted = request.amount.clamp(1, MAX_LEASE_REQUEST);
        let minimum = request.minimum.clamp(0, MAX_LEASE_REQUEST);
        self.lease_budget(budget, wanted, wanted.saturating_mul(LEASE_MULTIPLE), minimum)
            .await
            .map_err(unavailable_error)?;
        if budget.can_reserve(request) { Ok(()) } else { Err(budget.insufficient_error(request, reservation.at)) }
    }

    /// Reports the amount in use, and leases `wanted` nano-dollars in addition and up to `spare`
    /// more, or what is left; nothing when less than `minimum` is left.
    async fn lease_budget(&self, budget: &Budget, wanted: i64, spare: i64, minimum: i64) -> RedisResult<()> {
        let Some(report) = budget.start_report() else { return Ok(()) };
        let mut invocation = self.scripts.lease_budget.key(format!("cachalot:{}", budget.name));
        invocation.key(replica_set_key(&self.replica)).arg(&self.replica).arg(report.limit).arg(report.committed);
        invocation
            .arg(report.committed_as_of)
            .arg(report.used)
            .arg(wanted)
            .arg(spare)
            .arg(REPLICA_TTL_SECONDS)
            .arg(minimum);
        let (limit, exhausted, pool_limit): (i64, bool, i64) = invocation.invoke_async(&mut self.redis.clone()).await?;
        budget.set_lease(limit, exhausted, pool_limit);
        Ok(())
    }

    async fn lease_rate_if_needed(&self, key_limits: &KeyLimits, kind: RateKind, tokens: u64) -> Result<(), Error> {
        let _refilling = key_limits.rate_limiter.refill_lock.lock().await;
        if key_limits.rate_limiter.has_capacity(kind, tokens) {
            return Ok(());
        }
        let wanted = if kind == RateKind::Tokens { tokens.max(1) } else { 1 };
        let wait = self.lease_rate(key_limits, kind, wanted).await.map_err(unavailable_error)?;
        wait.map_or(Ok(()), |wait| Err(rate_limit_error(wait)))
    }

    /// Returns what is left of the last lease, and leases `wanted` and half a second's refill in
    /// addition. Returns the time until the shared bucket has something again if it is empty.
    async fn lease_rate(&self, key_limits: &KeyLimits, kind: RateKind, wanted: u64) -> RedisResult<Option<Duration>> {
        let key_suffix = if kind == RateKind::Tokens { "tokens" } else { "requests" };
        let mut invocation =
            self.scripts.lease_tokens.key(format!("cachalot:{}:{key_suffix}", key_limits.key_budget.name));
        let Some((per_minute, returned)) = key_limits.rate_limiter.take_leased(kind) else { return Ok(None) };
        invocation.arg(per_minute).arg(returned).arg(wanted).arg(per_minute / 120);
        let granted: RedisResult<(i64, u64, f64)> = invocation.invoke_async(&mut self.redis.clone()).await;
        let (granted, wait_ms, level) = granted.inspect_err(|_| key_limits.rate_limiter.add_leased(kind, returned))?;
        key_limits.rate_limiter.add_leased(kind, granted as f64);
        key_limits.rate_limiter.set_shared_level(kind, level);
        Ok((wanted > 0 && granted == 0).then(|| Duration::from_millis(wait_ms)))
    }

    async fn acquire_slot(&self, key_limits: &KeyLimits, limit: i64) -> Result<ConcurrencySlot, Error> {
        let number = self.slots.next_number.fetch_add(1, Ordering::Relaxed);
        let key = format!("cachalot:{}:running", key_limits.key_budget.name);
        let mut invocation = self.scripts.acquire_slot.key(&key);
        invocation.arg(limit).arg(self.slot_member(number)).arg(SLOT_TTL_SECONDS);
        // From here on the slot is released when it is dropped, even if the response is lost.
        self.slots.held.lock().insert(number, key);
        let slot = ConcurrencySlot { number, slots: self.slots.clone() };
        let acquired: bool = invocation.invoke_async(&mut self.redis.clone()).await.map_err(unavailable_error)?;
        if acquired { Ok(slot) } else { Err(concurrency_error()) }
    }

    /// The member of a sorted set in Redis that stands for a slot of this replica.
    fn slot_member(&self, slot: u64) -> String {
        format!("{}:{slot}", self.replica)
    }

    /// Releases the leases of dead replicas. The store must have committed what they spent.
    pub(crate) async fn release_dead_replicas(&self, replicas: &[String]) -> Result<(), RedisLeasesError> {
        let mut redis = self.redis.clone();
        for replica in replicas {
            let set_key = replica_set_key(replica);
            let budget_keys: Vec<String> = redis::cmd("SMEMBERS").arg(&set_key).query_async(&mut redis).await?;
            let mut pipeline = redis::pipe();
            for budget_key in &budget_keys {
                pipeline.cmd("HDEL").arg(budget_key).arg(replica).ignore();
            }
            pipeline.cmd("DEL").arg(&set_key).ignore();
            pipeline.query_async::<()>(&mut redis).await?;
        }
        Ok(())
    }
}

/// The Redis key of the set of budgets in which a replica holds a lease.
fn replica_set_key(replica: &str) -> String {
    format!("cachalot:machine:{replica}")
}

fn unavailable_error(error: RedisError) -> Error {
    counter!("cachalot_limit_check_errors_total").increment(1);
    tracing::debug!(%error, "failed to check limits");
    Error::new(ErrorKind::Overloaded, "Limits cannot be checked right now, please try again later")
}

#[cfg(test)]
mod tests;
