//! Limits that several machines share, kept in Redis or Valkey. What a machine may use of a budget or of a minute is leased to
//! it in pieces; a request asks the others only when the piece is used up. What cannot be asked for is not served: a key
//! with limits gets 503 while Redis is away and its lease is used up, a key without limits never asks.

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

use crate::limits::{Account, Estimate, Permit, Short, lock};
use crate::pace::{Pace, Rates};
use crate::purse::{Need, Purse};

/// How often what is spare goes back to the others.
const TIDY: Duration = Duration::from_secs(1);
/// A machine that has said nothing for so many seconds is lost, and what it had leased is free again.
const LOST: u64 = 600;
/// Seconds for which a place among those that run is kept without a word.
const SLOT: u64 = 60;
/// How often places are kept for longer.
const KEEP: u32 = 15;
/// So many requests like the one that asks are leased with it, while there is plenty.
const SPARE: i64 = 8;
/// Most that is leased for one request, in nano-dollars: whatever is larger is more than any request may cost.
const MOST_WISH: i64 = store::MOST_COST;
/// Longest time that a request waits for Redis.
const PATIENCE: Duration = Duration::from_millis(500);
/// Accounts that are tidied side by side.
const AT_ONCE: usize = 64;

/// Why limits cannot be shared.
#[derive(Debug, thiserror::Error)]
#[error("Redis, which holds the shared limits, cannot be reached or used: {0}")]
pub struct LeasesError(#[from] RedisError);

/// What this process has leased.
pub struct Leases {
    redis: ConnectionManager,
    scripts: Scripts,
    /// What the others call this process.
    machine: String,
    /// Those of which something is leased.
    accounts: Mutex<Vec<Arc<Account>>>,
    slots: Arc<Slots>,
    ended: Mutex<Option<mpsc::UnboundedReceiver<u64>>>,
}

struct Scripts {
    purse: Script,
    bucket: Script,
    slot: Script,
    keep: Script,
}

/// The places this process has among those that run, and the keys in Redis that hold them.
#[derive(Debug)]
struct Slots {
    held: Mutex<HashMap<u64, String>>,
    next: AtomicU64,
    ended: mpsc::UnboundedSender<u64>,
}

/// A place among the requests of a key that may run at the same time. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct Slot {
    number: u64,
    slots: Arc<Slots>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Without a receiver the process ends, and the place is lost to it in a minute.
        let _ = self.slots.ended.send(self.number);
    }
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl Leases {
    /// Connects to `redis://…` or `rediss://…`.
    ///
    /// # Errors
    /// A URL that is none, a server that does not answer.
    pub async fn connect(url: &str) -> Result<Self, LeasesError> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(PATIENCE))
            .set_connection_timeout(Some(2 * PATIENCE))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_secs(1));
        let redis = ConnectionManager::new_with_config(redis::Client::open(url)?, config).await?;
        let scripts = Scripts {
            purse: Script::new(include_str!("leases/purse.lua")),
            bucket: Script::new(include_str!("leases/bucket.lua")),
            slot: Script::new(include_str!("leases/slot.lua")),
            keep: Script::new(include_str!("leases/keep.lua")),
        };
        let (ended, receiver) = mpsc::unbounded_channel();
        let slots = Arc::new(Slots { held: Mutex::default(), next: AtomicU64::new(0), ended });
        let (machine, ended) = (uuid::Uuid::now_v7().simple().to_string(), Mutex::new(Some(receiver)));
        Ok(Self { redis, scripts, machine, accounts: Mutex::default(), slots, ended })
    }

    /// What the others call this process.
    pub(crate) fn machine(&self) -> &str {
        &self.machine
    }

    /// The right to ask once, within what all machines together may.
    ///
    /// # Errors
    /// `Balance`, `Rate`; `Overload` when Redis is away and what was leased is used up.
    pub(crate) async fn admit(
        &self,
        account: &Arc<Account>,
        rates: Rates,
        estimate: Estimate,
    ) -> Result<Permit, Error> {
        if !account.leasing.swap(true, Ordering::Relaxed) {
            lock(&self.accounts).push(account.clone());
        }
        let mut permit = loop {
            match Permit::take(account, rates, estimate) {
                Ok(permit) => break permit,
                Err(short @ Short::Money(whose)) => {
                    self.ask_money(account.purse(whose), estimate.money, short).await?;
                }
                Err(Short::Pace(pace, _)) => {
                    self.ask_pace(account, pace, estimate.tokens).await?;
                }
                Err(Short::Busy) => return Err(Short::Busy.into()),
            }
        };
        if let Some(most) = rates.concurrency {
            permit.slot = Some(self.ask_slot(account, most).await?);
        }
        Ok(permit)
    }

    async fn ask_money(&self, purse: &Purse, need: Need, short: Short) -> Result<(), Error> {
        let _turn = purse.turn.lock().await;
        // Somebody else may have asked meanwhile.
        if purse.has(need) {
            return Ok(());
        }
        let wish = need.amount.clamp(1, MOST_WISH);
        let least = need.least.clamp(0, MOST_WISH);
        self.lease_money(purse, wish, wish.saturating_mul(SPARE), least).await.map_err(away)?;
        if purse.has(need) { Ok(()) } else { Err(short.into()) }
    }

    /// Tells the others what is used, and leases `wish` beside it, or what there is, unless that is less than `least`.
    async fn lease_money(&self, purse: &Purse, wish: i64, spare: i64, least: i64) -> RedisResult<()> {
        let Some(statement) = purse.statement() else { return Ok(()) };
        let mut invocation = self.scripts.purse.key(format!("cachalot:{}", purse.name));
        invocation.key(holdings(&self.machine)).arg(&self.machine).arg(statement.budget).arg(statement.booked);
        invocation.arg(statement.as_of).arg(statement.used).arg(wish).arg(spare).arg(LOST).arg(least);
        let (most, scarce, open): (i64, bool, i64) = invocation.invoke_async(&mut self.redis.clone()).await?;
        purse.leased(most, scarce, open);
        Ok(())
    }

    async fn ask_pace(&self, account: &Account, pace: Pace, tokens: u64) -> Result<(), Error> {
        let _turn = account.speed.turn.lock().await;
        if account.speed.has(pace, tokens) {
            return Ok(());
        }
        let wish = if pace == Pace::Tokens { tokens.max(1) } else { 1 };
        let wait = self.lease_pace(account, pace, wish).await.map_err(away)?;
        wait.map_or(Ok(()), |wait| Err(Short::Pace(pace, wait).into()))
    }

    /// Gives back what is left of the last lease, and takes `wish` and half a second's worth beside it. Returns how long it takes until
    /// something is there again, when nothing is.
    async fn lease_pace(&self, account: &Account, pace: Pace, wish: u64) -> RedisResult<Option<Duration>> {
        let word = if pace == Pace::Tokens { "tokens" } else { "requests" };
        let mut invocation = self.scripts.bucket.key(format!("cachalot:{}:{word}", account.key.name));
        let Some((per_minute, back)) = account.speed.empty(pace) else { return Ok(None) };
        invocation.arg(per_minute).arg(back).arg(wish).arg(per_minute / 120);
        let granted: RedisResult<(i64, u64, f64)> = invocation.invoke_async(&mut self.redis.clone()).await;
        let (granted, wait, level) = granted.inspect_err(|_| account.speed.fill(pace, back))?;
        account.speed.fill(pace, granted as f64);
        account.speed.told(pace, level);
        Ok((wish > 0 && granted == 0).then(|| Duration::from_millis(wait)))
    }

    async fn ask_slot(&self, account: &Account, most: i64) -> Result<Slot, Error> {
        let number = self.slots.next.fetch_add(1, Ordering::Relaxed);
        let key = format!("cachalot:{}:running", account.key.name);
        let mut invocation = self.scripts.slot.key(&key);
        invocation.arg(most).arg(self.member(number)).arg(SLOT);
        // Freed from now on, whatever is heard of it.
        lock(&self.slots.held).insert(number, key);
        let slot = Slot { number, slots: self.slots.clone() };
        let got: bool = invocation.invoke_async(&mut self.redis.clone()).await.map_err(away)?;
        if got { Ok(slot) } else { Err(Short::Busy.into()) }
    }

    fn member(&self, slot: u64) -> String {
        format!("{}:{slot}", self.machine)
    }

    /// Lets go of what dead machines had leased: the store has booked what they spent.
    pub(crate) async fn forget(&self, machines: &[String]) -> Result<(), LeasesError> {
        let mut redis = self.redis.clone();
        for machine in machines {
            let set = holdings(machine);
            let purses: Vec<String> = redis::cmd("SMEMBERS").arg(&set).query_async(&mut redis).await?;
            let mut pipeline = redis::pipe();
            for purse in &purses {
                pipeline.cmd("HDEL").arg(purse).arg(machine).ignore();
            }
            pipeline.cmd("DEL").arg(&set).ignore();
            pipeline.query_async::<()>(&mut redis).await?;
        }
        Ok(())
    }

    /// Gives back what nobody has asked for lately, says what is used, and keeps the places of those that run, until told to stop.
    pub(crate) async fn keep(&self, mut stopping: watch::Receiver<bool>) {
        let Some(mut ended) = lock(&self.ended).take() else { return };
        let (mut ticks, mut told) = (0u32, false);
        let mut tick = tokio::time::interval(TIDY);
        loop {
            let done = tokio::select! {
                Some(number) = ended.recv() => self.free(number).await,
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.tidy(ticks.is_multiple_of(KEEP)).await
                }
                () = stopped(&mut stopping) => break,
            };
            match done {
                Ok(()) if std::mem::take(&mut told) => tracing::info!("Redis answers again"),
                Ok(()) => {}
                Err(error) => {
                    counter!("cachalot_limits_unavailable_total").increment(1);
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(%error, "Redis does not answer: keys with limits are refused when their leases are used up");
                    }
                }
            }
        }
        while let Ok(number) = ended.try_recv() {
            // It is lost in a minute otherwise.
            let _ = self.free(number).await;
        }
        if let Err(error) = self.tidy(false).await {
            tracing::warn!(%error, "what was leased could not be given back");
        }
    }

    async fn free(&self, number: u64) -> RedisResult<()> {
        let Some(key) = lock(&self.slots.held).remove(&number) else { return Ok(()) };
        redis::cmd("ZREM").arg(key).arg(self.member(number)).query_async(&mut self.redis.clone()).await
    }

    async fn tidy(&self, keep_slots: bool) -> RedisResult<()> {
        let accounts = std::mem::take(&mut *lock(&self.accounts));
        let tidied = stream::iter(accounts).map(|account| async {
            let done = self.tidy_account(&account).await;
            // What is leased again meanwhile is noted again.
            if !matches!(done, Ok(false)) && !account.leasing.swap(true, Ordering::Relaxed) {
                lock(&self.accounts).push(account);
            }
            done.map(|_| ())
        });
        let mut tidied = tidied.buffer_unordered(AT_ONCE);
        let mut result = Ok(());
        while let Some(done) = tidied.next().await {
            result = result.and(done);
        }
        if keep_slots {
            let held: Vec<_> = lock(&self.slots.held).iter().map(|(number, key)| (*number, key.clone())).collect();
            for (number, key) in held {
                let mut invocation = self.scripts.keep.key(key);
                invocation.arg(self.member(number)).arg(SLOT);
                invocation.invoke_async::<()>(&mut self.redis.clone()).await?;
            }
        }
        result
    }

    /// Returns whether something is still leased.
    async fn tidy_account(&self, account: &Account) -> RedisResult<bool> {
        account.leasing.store(false, Ordering::Relaxed);
        let mut used = false;
        for purse in [&account.key, &*account.project] {
            let _turn = purse.turn.lock().await;
            self.lease_money(purse, 0, 0, 0).await?;
            used |= purse.statement().is_some_and(|statement| statement.used != 0);
        }
        let _turn = account.speed.turn.lock().await;
        for pace in [Pace::Requests, Pace::Tokens] {
            self.lease_pace(account, pace, 0).await?;
        }
        Ok(used || account.speed.running())
    }
}

/// The set of purses in which a machine has something.
fn holdings(machine: &str) -> String {
    format!("cachalot:machine:{machine}")
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // Without its sender nobody is left who could want anything.
    let _ = stopping.wait_for(|&stop| stop).await;
}

fn away(error: RedisError) -> Error {
    counter!("cachalot_limits_unavailable_total").increment(1);
    tracing::debug!(%error, "limits cannot be checked");
    Error::new(ErrorKind::Overloaded, "Limits cannot be checked right now, please try again later")
}

#[cfg(test)]
mod tests;
