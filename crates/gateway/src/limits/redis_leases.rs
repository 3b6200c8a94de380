//! Limits that several machines share, kept in Redis or Valkey. What a machine may use of a budget
//! or of a minute is leased to it in pieces; a request asks the others only when the piece is used
//! up. What cannot be asked for is not served: a key with limits gets 503 while Redis is away and
//! its lease is used up, a key without limits never asks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat::{Error, ErrorKind};
use futures_util::{StreamExt, stream};
use metrics::counter;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{RedisError, RedisResult, Script};
use tokio::sync::{mpsc, watch};

use crate::limits::budget::{Budget, BudgetRequest};
use crate::limits::key_limits::{KeyLimits, LimitExceeded, Permit, ReservationRequest, lock_ignoring_poison};
use crate::limits::rate_limit::{RateKind, RateLimits};

/// How often what is spare goes back to the others.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// A machine that has said nothing for so many seconds is lost, and what it had
/// leased is free again.
const REPLICA_TTL_SECONDS: u64 = 600;
/// Seconds for which a place among those that run is kept without a word.
const SLOT_TTL_SECONDS: u64 = 60;
/// How often places are kept for longer.
const SLOT_RENEWAL_TICKS: u32 = 15;
/// So many requests like the one that asks are leased with it, while there is plenty.
const LEASE_MULTIPLE: i64 = 8;
/// Most that is leased for one request, in nano-dollars: whatever is larger is more than any
/// request may cost.
const MAX_LEASE_REQUEST: i64 = store::MAX_COST;
/// Longest time that a request waits for Redis.
const REDIS_TIMEOUT: Duration = Duration::from_millis(500);
/// Accounts that are tidied side by side.
const MAX_CONCURRENT_RENEWALS: usize = 64;

/// Why limits cannot be shared.
#[derive(Debug, thiserror::Error)]
#[error("Redis, which holds the shared limits, cannot be reached or used: {0}")]
pub struct RedisLeasesError(#[from] RedisError);

/// What this process has leased.
pub struct RedisLeases {
    redis: ConnectionManager,
    scripts: Scripts,
    /// What the others call this process.
    replica: String,
    /// Those of which something is leased.
    leased_keys: Mutex<Vec<Arc<KeyLimits>>>,
    slots: Arc<ConcurrencySlots>,
    released_slots: Mutex<Option<mpsc::UnboundedReceiver<u64>>>,
}

struct Scripts {
    lease_budget: Script,
    lease_tokens: Script,
    acquire_slot: Script,
    renew_slot: Script,
}

/// The places this process has among those that run, and the keys in Redis that hold them.
#[derive(Debug)]
struct ConcurrencySlots {
    held: Mutex<HashMap<u64, String>>,
    next_number: AtomicU64,
    released: mpsc::UnboundedSender<u64>,
}

/// A place among the requests of a key that may run at the same time. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct ConcurrencySlot {
    number: u64,
    slots: Arc<ConcurrencySlots>,
}

impl Drop for ConcurrencySlot {
    fn drop(&mut self) {
        // Without a receiver the process ends, and the place is lost to it in a minute.
        let _ = self.slots.released.send(self.number);
    }
}

impl std::fmt::Debug for RedisLeases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").field("machine", &self.replica).finish_non_exhaustive()
    }
}

impl RedisLeases {
    /// Connects to `redis://…` or `rediss://…`.
    ///
    /// # Errors
    /// A URL that is none, a server that does not answer.
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
        let slots = Arc::new(ConcurrencySlots { held: Mutex::default(), next_number: AtomicU64::new(0), released });
        let (replica, released_slots) = (uuid::Uuid::now_v7().simple().to_string(), Mutex::new(Some(receiver)));
        Ok(Self { redis, scripts, replica, leased_keys: Mutex::default(), slots, released_slots })
    }

    /// What the others call this process.
    pub(crate) fn replica(&self) -> &str {
        &self.replica
    }

    /// The right to ask once, within what all machines together may.
    ///
    /// # Errors
    /// `Balance`, `Rate`; `Overload` when Redis is away and what was leased is used up.
    pub(crate) async fn admit(
        &self,
        key_limits: &Arc<KeyLimits>,
        rate_limits: RateLimits,
        request: ReservationRequest,
    ) -> Result<Permit, Error> {
        if !key_limits.has_lease.swap(true, Ordering::Relaxed) {
            lock_ignoring_poison(&self.leased_keys).push(key_limits.clone());
        }
        let mut permit = loop {
            match Permit::acquire(key_limits, rate_limits, request) {
                Ok(permit) => break permit,
                Err(exceeded @ LimitExceeded::Budget(owner)) => {
                    self.lease_budget_if_needed(key_limits.budget(owner), request.budget, exceeded).await?;
                }
                Err(LimitExceeded::Rate(kind, _)) => {
                    self.lease_rate_if_needed(key_limits, kind, request.tokens).await?;
                }
                Err(LimitExceeded::Concurrency) => return Err(LimitExceeded::Concurrency.into()),
            }
        };
        if let Some(most) = rate_limits.concurrency {
            permit.slot = Some(self.acquire_slot(key_limits, most).await?);
        }
        Ok(permit)
    }

    async fn lease_budget_if_needed(
        &self,
        budget: &Budget,
        need: BudgetRequest,
        exceeded: LimitExceeded,
    ) -> Result<(), Error> {
        let _refilling = budget.refill_lock.lock().await;
        // Somebody else may have asked meanwhile.
        if budget.can_reserve(need) {
            return Ok(());
        }
        let wanted = need.amount.clamp(1, MAX_LEASE_REQUEST);
        let minimum = need.minimum.clamp(0, MAX_LEASE_REQUEST);
        self.lease_budget(budget, wanted, wanted.saturating_mul(LEASE_MULTIPLE), minimum)
            .await
            .map_err(unavailable_error)?;
        if budget.can_reserve(need) { Ok(()) } else { Err(exceeded.into()) }
    }

    /// Tells the others what is used, and leases `wish` beside it, or what there is, unless that is
    /// less than `least`.
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
        wait.map_or(Ok(()), |wait| Err(LimitExceeded::Rate(kind, wait).into()))
    }

    /// Gives back what is left of the last lease, and takes `wish` and half a second's worth beside
    /// it. Returns how long it takes until something is there again, when nothing is.
    async fn lease_rate(&self, key_limits: &KeyLimits, kind: RateKind, wanted: u64) -> RedisResult<Option<Duration>> {
        let key_suffix = if kind == RateKind::Tokens { "tokens" } else { "requests" };
        let mut invocation =
            self.scripts.lease_tokens.key(format!("cachalot:{}:{key_suffix}", key_limits.key_budget.name));
        let Some((per_minute, returned)) = key_limits.rate_limiter.take_leased(kind) else { return Ok(None) };
        invocation.arg(per_minute).arg(returned).arg(wanted).arg(per_minute / 120);
        let granted: RedisResult<(i64, u64, f64)> = invocation.invoke_async(&mut self.redis.clone()).await;
        let (granted, wait, level) = granted.inspect_err(|_| key_limits.rate_limiter.add_leased(kind, returned))?;
        key_limits.rate_limiter.add_leased(kind, granted as f64);
        key_limits.rate_limiter.set_shared_level(kind, level);
        Ok((wanted > 0 && granted == 0).then(|| Duration::from_millis(wait)))
    }

    async fn acquire_slot(&self, key_limits: &KeyLimits, limit: i64) -> Result<ConcurrencySlot, Error> {
        let number = self.slots.next_number.fetch_add(1, Ordering::Relaxed);
        let key = format!("cachalot:{}:running", key_limits.key_budget.name);
        let mut invocation = self.scripts.acquire_slot.key(&key);
        invocation.arg(limit).arg(self.slot_member(number)).arg(SLOT_TTL_SECONDS);
        // Freed from now on, whatever is heard of it.
        lock_ignoring_poison(&self.slots.held).insert(number, key);
        let slot = ConcurrencySlot { number, slots: self.slots.clone() };
        let acquired: bool = invocation.invoke_async(&mut self.redis.clone()).await.map_err(unavailable_error)?;
        if acquired { Ok(slot) } else { Err(LimitExceeded::Concurrency.into()) }
    }

    fn slot_member(&self, slot: u64) -> String {
        format!("{}:{slot}", self.replica)
    }

    /// Lets go of what dead machines had leased: the store has booked what they spent.
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

    /// Gives back what nobody has asked for lately, says what is used, and keeps the places of
    /// those that run, until told to stop.
    pub(crate) async fn run_maintenance(&self, mut stopping: watch::Receiver<bool>) {
        let Some(mut ended) = lock_ignoring_poison(&self.released_slots).take() else { return };
        let (mut ticks, mut logged) = (0u32, false);
        let mut tick = tokio::time::interval(MAINTENANCE_INTERVAL);
        loop {
            let done = tokio::select! {
                Some(number) = ended.recv() => self.release_slot(number).await,
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.renew(ticks.is_multiple_of(SLOT_RENEWAL_TICKS)).await
                }
                () = wait_for_stop(&mut stopping) => break,
            };
            match done {
                Ok(()) if std::mem::take(&mut logged) => tracing::info!("Redis answers again"),
                Ok(()) => {}
                Err(error) => {
                    counter!("cachalot_limits_unavailable_total").increment(1);
                    if !std::mem::replace(&mut logged, true) {
                        tracing::error!(%error, "Redis does not answer: keys with limits are refused when their leases are used up");
                    }
                }
            }
        }
        while let Ok(number) = ended.try_recv() {
            // It is lost in a minute otherwise.
            let _ = self.release_slot(number).await;
        }
        if let Err(error) = self.renew(false).await {
            tracing::warn!(%error, "what was leased could not be given back");
        }
    }

    async fn release_slot(&self, number: u64) -> RedisResult<()> {
        let Some(key) = lock_ignoring_poison(&self.slots.held).remove(&number) else { return Ok(()) };
        redis::cmd("ZREM").arg(key).arg(self.slot_member(number)).query_async(&mut self.redis.clone()).await
    }

    async fn renew(&self, keep_slots: bool) -> RedisResult<()> {
        let leased_keys = std::mem::take(&mut *lock_ignoring_poison(&self.leased_keys));
        let renewals = stream::iter(leased_keys).map(|key_limits| async {
            let done = self.renew_key(&key_limits).await;
            // What is leased again meanwhile is noted again.
            if !matches!(done, Ok(false)) && !key_limits.has_lease.swap(true, Ordering::Relaxed) {
                lock_ignoring_poison(&self.leased_keys).push(key_limits);
            }
            done.map(|_| ())
        });
        let mut renewals = renewals.buffer_unordered(MAX_CONCURRENT_RENEWALS);
        let mut result = Ok(());
        while let Some(done) = renewals.next().await {
            result = result.and(done);
        }
        if keep_slots {
            let held: Vec<_> =
                lock_ignoring_poison(&self.slots.held).iter().map(|(number, key)| (*number, key.clone())).collect();
            for (number, key) in held {
                let mut invocation = self.scripts.renew_slot.key(key);
                invocation.arg(self.slot_member(number)).arg(SLOT_TTL_SECONDS);
                invocation.invoke_async::<()>(&mut self.redis.clone()).await?;
            }
        }
        result
    }

    /// Returns whether something is still leased.
    async fn renew_key(&self, key_limits: &KeyLimits) -> RedisResult<bool> {
        key_limits.has_lease.store(false, Ordering::Relaxed);
        let mut used = false;
        for budget in [&key_limits.key_budget, &*key_limits.project_budget] {
            let _refilling = budget.refill_lock.lock().await;
            self.lease_budget(budget, 0, 0, 0).await?;
            used |= budget.start_report().is_some_and(|statement| statement.used != 0);
        }
        let _refilling = key_limits.rate_limiter.refill_lock.lock().await;
        for kind in [RateKind::Requests, RateKind::Tokens] {
            self.lease_rate(key_limits, kind, 0).await?;
        }
        Ok(used || key_limits.rate_limiter.has_in_flight())
    }
}

/// The set of purses in which a machine has something.
fn replica_set_key(replica: &str) -> String {
    format!("cachalot:machine:{replica}")
}

async fn wait_for_stop(stopping: &mut watch::Receiver<bool>) {
    // Without its sender nobody is left who could want anything.
    let _ = stopping.wait_for(|&stop| stop).await;
}

fn unavailable_error(error: RedisError) -> Error {
    counter!("cachalot_limits_unavailable_total").increment(1);
    tracing::debug!(%error, "limits cannot be checked");
    Error::new(ErrorKind::Overloaded, "Limits cannot be checked right now, please try again later")
}

#[cfg(test)]
mod tests;
