//! Rate limits of a key: token buckets for requests and tokens per minute, and the number of
//! concurrent requests.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::limits::exceeded::{LimitExceeded, RateKind};

/// The wait that is reported when the actual one is too long for a `Duration`.
const FALLBACK_WAIT: Duration = Duration::from_secs(3600);

/// A token bucket that refills in one minute and may go into debt. A bucket that replicas share
/// is not refilled by time, but by leases of the shared bucket in Redis.
#[derive(Debug)]
struct TokenBucket {
    /// The capacity, and the amount refilled in a minute.
    per_minute: i64,
    level: f64,
    /// `None` for a leased bucket.
    refilled_at: Option<Instant>,
    /// The level of the shared bucket, and when it was reported.
    shared_level: Option<(f64, Instant)>,
}

impl TokenBucket {
    fn new(per_minute: i64, leased: bool) -> Self {
        match leased {
            true => Self { per_minute, level: 0.0, refilled_at: None, shared_level: None },
            false => {
                Self { per_minute, level: per_minute as f64, refilled_at: Some(Instant::now()), shared_level: None }
            }
        }
    }

    fn per_second(&self) -> f64 {
        self.per_minute as f64 / 60.0
    }

    /// The amount left, here and in the shared bucket, and the time until the bucket is full.
    fn status(&self) -> RateStatus {
        let since =
            self.refilled_at.or(self.shared_level.map(|(_, at)| at)).map_or(0.0, |at| at.elapsed().as_secs_f64());
        let capacity = self.per_minute as f64;
        let shared = self.shared_level.map_or(0.0, |(level, _)| level);
        let left = (self.level + shared + since * self.per_second()).min(capacity);
        let reset_after = Duration::try_from_secs_f64((capacity - left) / self.per_second()).unwrap_or(FALLBACK_WAIT);
        RateStatus { limit: self.per_minute, remaining: left.max(0.0) as i64, reset_after }
    }

    /// Refills the bucket and checks that `needed` is available.
    ///
    /// # Errors
    /// The time until it is.
    fn check(&mut self, needed: f64) -> Result<(), Duration> {
        let per_second = self.per_second();
        if let Some(refilled_at) = &mut self.refilled_at {
            let now = Instant::now();
            let refill = now.duration_since(*refilled_at).as_secs_f64() * per_second;
            self.level = (self.level + refill).min(self.per_minute as f64);
            *refilled_at = now;
        }
        if self.level >= needed {
            return Ok(());
        }
        let wait = (needed - self.level) / per_second;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(FALLBACK_WAIT))
    }
}

/// The state of one rate limit, for response headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStatus {
    /// Per minute.
    pub limit: i64,
    pub remaining: i64,
    /// The time until all of the limit is available again.
    pub reset_after: Duration,
}

/// The rate limits of a key; `None`: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateLimits {
    /// Per minute.
    pub(crate) requests: Option<i64>,
    /// Per minute.
    pub(crate) tokens: Option<i64>,
    /// Requests that run at the same time.
    pub(crate) concurrency: Option<i64>,
}

/// The rate limiter of a key.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter {
    state: Mutex<LimiterState>,
    /// Held while a lease is requested, so that one request at a time does so.
    pub(crate) refill_lock: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct LimiterState {
    /// Other replicas have the same limits: tokens are leased from a shared bucket.
    leased: bool,
    /// Buckets are created by the first request that has the limit.
    requests: Option<TokenBucket>,
    tokens: Option<TokenBucket>,
    in_flight: i64,
}

impl LimiterState {
    fn bucket_slot(&mut self, kind: RateKind) -> &mut Option<TokenBucket> {
        match kind {
            RateKind::Requests => &mut self.requests,
            RateKind::Tokens => &mut self.tokens,
        }
    }

    fn bucket_or_insert(&mut self, kind: RateKind, per_minute: i64) -> &mut TokenBucket {
        let leased = self.leased;
        let bucket = self.bucket_slot(kind).get_or_insert_with(|| TokenBucket::new(per_minute, leased));
        bucket.per_minute = per_minute;
        bucket
    }

    /// The bucket level at which a request of `tokens` may start. In a bucket of its own it may
    /// start at 1, and the rest becomes debt; a leased bucket must hold all of it, or a lease
    /// is requested.
    fn required_level(&self, tokens: u64) -> f64 {
        if self.leased { tokens.max(1) as f64 } else { 1.0 }
    }
}

impl RateLimiter {
    /// `leased`: other replicas have the same limits.
    pub(crate) fn new(leased: bool) -> Self {
        Self { state: Mutex::new(LimiterState { leased, ..LimiterState::default() }), ..Self::default() }
    }

    /// Starts a request that reserves `tokens`.
    ///
    /// # Errors
    /// The limit that the request exceeds.
    pub(crate) fn acquire(&self, rate_limits: RateLimits, tokens: u64) -> Result<(), LimitExceeded> {
        let mut state = self.state.lock();
        if rate_limits.concurrency.is_some_and(|limit| state.in_flight >= limit) {
            return Err(LimitExceeded::Concurrency);
        }
        if let Some(limit) = rate_limits.tokens {
            let needed = state.required_level(tokens);
            let bucket = state.bucket_or_insert(RateKind::Tokens, limit);
            bucket.check(needed).map_err(|wait| LimitExceeded::Rate(RateKind::Tokens, wait))?;
        }
        if let Some(limit) = rate_limits.requests {
            let bucket = state.bucket_or_insert(RateKind::Requests, limit);
            bucket.check(1.0).map_err(|wait| LimitExceeded::Rate(RateKind::Requests, wait))?;
            bucket.level -= 1.0;
        }
        if let Some(bucket) = &mut state.tokens {
            bucket.level -= tokens as f64;
        }
        state.in_flight += 1;
        Ok(())
    }

    /// Ends a request that reserved `reserved` tokens and used `used`.
    pub(crate) fn release(&self, reserved: u64, used: u64) {
        let mut state = self.state.lock();
        state.in_flight -= 1;
        if let Some(bucket) = &mut state.tokens {
            bucket.level += reserved as f64 - used as f64;
        }
    }

    /// Whether a request of `tokens` fits into the bucket.
    pub(crate) fn has_capacity(&self, kind: RateKind, tokens: u64) -> bool {
        let mut state = self.state.lock();
        let needed = if kind == RateKind::Tokens { state.required_level(tokens) } else { 1.0 };
        state.bucket_slot(kind).as_mut().is_none_or(|bucket| bucket.check(needed).is_ok())
    }

    /// Empties a leased bucket, to return its level (below zero: a debt) to the shared one. Returns
    /// the capacity per minute and the level; `None` where nothing was ever leased.
    pub(crate) fn take_leased(&self, kind: RateKind) -> Option<(i64, f64)> {
        let mut state = self.state.lock();
        let bucket = state.bucket_slot(kind).as_mut()?;
        Some((bucket.per_minute, std::mem::take(&mut bucket.level)))
    }

    /// Adds a lease to the bucket.
    pub(crate) fn add_leased(&self, kind: RateKind, amount: f64) {
        if let Some(bucket) = self.state.lock().bucket_slot(kind) {
            bucket.level += amount;
        }
    }

    /// Sets the level that the shared bucket has now.
    pub(crate) fn set_shared_level(&self, kind: RateKind, level: f64) {
        if let Some(bucket) = self.state.lock().bucket_slot(kind) {
            bucket.shared_level = Some((level, Instant::now()));
        }
    }

    /// The state of a limit; `None` without one.
    pub(crate) fn status(&self, rate_limits: RateLimits, kind: RateKind) -> Option<RateStatus> {
        let limit = match kind {
            RateKind::Requests => rate_limits.requests,
            RateKind::Tokens => rate_limits.tokens,
        }?;
        let untouched = RateStatus { limit, remaining: limit, reset_after: Duration::ZERO };
        Some(self.state.lock().bucket_slot(kind).as_ref().map_or(untouched, TokenBucket::status))
    }

    /// Whether requests of the key are running.
    pub(crate) fn has_in_flight(&self) -> bool {
        self.state.lock().in_flight > 0
    }
}
