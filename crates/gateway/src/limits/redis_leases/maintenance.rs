//! The maintenance of leases: released slots are freed, unused leases are returned, and the slots
//! of running requests are renewed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use metrics::counter;
use redis::RedisResult;
use tokio::sync::watch;

use super::{RedisLeases, SLOT_TTL_SECONDS};
use crate::limits::exceeded::RateKind;
use crate::limits::key_limits::KeyLimits;

/// The interval at which unused leases are returned.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// The number of intervals after which slots are renewed.
const SLOT_RENEWAL_TICKS: u32 = 15;
/// The number of keys whose leases are renewed concurrently.
const MAX_CONCURRENT_RENEWALS: usize = 64;

impl RedisLeases {
    /// Maintains the leases until `stopping` is set, then returns them.
    pub(crate) async fn run_maintenance(&self, mut stopping: watch::Receiver<bool>) {
        let Some(mut released) = self.released_slots.lock().take() else { return };
        let mut ticks = 0u32;
        let mut logged = false;
        let mut tick = tokio::time::interval(MAINTENANCE_INTERVAL);
        loop {
            let done = tokio::select! {
                Some(number) = released.recv() => self.release_slot(number).await,
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.renew(ticks.is_multiple_of(SLOT_RENEWAL_TICKS)).await
                }
                () = wait_for_stop(&mut stopping) => break,
            };
            match done {
                Ok(()) if std::mem::take(&mut logged) => tracing::info!("Redis is available again"),
                Ok(()) => {}
                Err(error) => {
                    counter!("cachalot_limit_check_errors_total").increment(1);
                    if !std::mem::replace(&mut logged, true) {
                        tracing::error!(%error, "Redis is unavailable: keys with limits are refused once their leases are used up");
                    }
                }
            }
        }
        while let Ok(number) = released.try_recv() {
            // A slot that cannot be released expires.
            let _ = self.release_slot(number).await;
        }
        if let Err(error) = self.renew(false).await {
            tracing::warn!(%error, "failed to return leases");
        }
    }

    async fn release_slot(&self, number: u64) -> RedisResult<()> {
        let Some(key) = self.slots.held.lock().remove(&number) else { return Ok(()) };
        redis::cmd("ZREM").arg(key).arg(self.slot_member(number)).query_async(&mut self.redis.clone()).await
    }

    /// Returns the unused leases of all keys, and extends the slots of running requests if
    /// `renew_slots` is set.
    pub(super) async fn renew(&self, renew_slots: bool) -> RedisResult<()> {
        let leased_keys = std::mem::take(&mut *self.leased_keys.lock());
        let renewals = stream::iter(leased_keys).map(|key_limits: Arc<KeyLimits>| async {
            let done = self.renew_key(&key_limits).await;
            // A key that has leased again meanwhile is listed already.
            if !matches!(done, Ok(false)) && !key_limits.has_lease.swap(true, Ordering::Relaxed) {
                self.leased_keys.lock().push(key_limits);
            }
            done.map(|_| ())
        });
        let mut renewals = renewals.buffer_unordered(MAX_CONCURRENT_RENEWALS);
        let mut result = Ok(());
        while let Some(done) = renewals.next().await {
            result = result.and(done);
        }
        if renew_slots {
            let held: Vec<_> = self.slots.held.lock().iter().map(|(number, key)| (*number, key.clone())).collect();
            for (number, key) in held {
                let mut invocation = self.scripts.renew_slot.key(key);
                invocation.arg(self.slot_member(number)).arg(SLOT_TTL_SECONDS);
                invocation.invoke_async::<()>(&mut self.redis.clone()).await?;
            }
        }
        result
    }

    /// Returns the unused leases of a key. Returns whether the key still holds some.
    async fn renew_key(&self, key_limits: &KeyLimits) -> RedisResult<bool> {
        key_limits.has_lease.store(false, Ordering::Relaxed);
        let mut used = false;
        for budget in key_limits.all_budgets() {
            let _refilling = budget.refill_lock.lock().await;
            self.lease_budget(&budget, 0, 0, 0).await?;
            used |= budget.start_report().is_some_and(|report| report.used != 0);
        }
        let _refilling = key_limits.rate_limiter.refill_lock.lock().await;
        for kind in [RateKind::Requests, RateKind::Tokens] {
            self.lease_rate(key_limits, kind, 0).await?;
        }
        Ok(used || key_limits.rate_limiter.has_in_flight())
    }
}

/// Waits until `stopping` is set or its sender is dropped.
pub(super) async fn wait_for_stop(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|&stop| stop).await;
}
