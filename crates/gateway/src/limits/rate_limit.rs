//! How fast a key may be: requests and tokens a minute, requests at the same time.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::limits::key_limits::{LimitExceeded, lock_ignoring_poison};

const FALLBACK_WAIT: Duration = Duration::from_secs(3600);

/// A bucket that fills over a minute and may go into debt; one that machines share is filled by
/// what they lease of it.
#[derive(Debug)]
struct TokenBucket {
    per_minute: i64,
    level: f64,
    refilled_at: Option<Instant>,
    /// What the machines' common bucket had, and when it was asked.
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

    /// What is left of the minute, here and in the common bucket, and how long it takes until all
    /// of it is there again.
    fn status(&self) -> RateStatus {
        let since =
            self.refilled_at.or(self.shared_level.map(|(_, at)| at)).map_or(0.0, |at| at.elapsed().as_secs_f64());
        let most = self.per_minute as f64;
        let common = self.shared_level.map_or(0.0, |(level, _)| level);
        let left = (self.level + common + since * self.per_second()).min(most);
        let full = Duration::try_from_secs_f64((most - left) / self.per_second()).unwrap_or(FALLBACK_WAIT);
        RateStatus { limit: self.per_minute, remaining: left.max(0.0) as i64, reset_after: full }
    }

    /// Whether `needed` is there.
    ///
    /// # Errors
    /// How long it takes until it is.
    fn check(&mut self, needed: f64) -> Result<(), Duration> {
        let per_second = self.per_second();
        if let Some(filled) = &mut self.refilled_at {
            let now = Instant::now();
            let more = now.duration_since(*filled).as_secs_f64() * per_second;
            self.level = (self.level + more).min(self.per_minute as f64);
            *filled = now;
        }
        if self.level >= needed {
            return Ok(());
        }
        let wait = (needed - self.level) / per_second;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(FALLBACK_WAIT))
    }
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStatus {
    /// A minute.
    pub limit: i64,
    pub remaining: i64,
    /// Until nothing of it is used any more.
    pub reset_after: Duration,
}

/// What a key may do in a minute and at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateLimits {
    pub(crate) requests: Option<i64>,
    pub(crate) tokens: Option<i64>,
    pub(crate) concurrency: Option<i64>,
}

/// What is counted by the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateKind {
    Requests,
    Tokens,
}

/// How fast a key has been.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter {
    state: Mutex<LimiterState>,
    /// Held while the others are asked.
    pub(crate) refill_lock: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct LimiterState {
    /// Other machines have the same limits: what is taken here is leased.
    leased: bool,
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

    /// What must be there for a request of so many tokens to begin. Alone, what is not there
    /// becomes debt; of a lease there is always enough, or it has to be asked for.
    fn required_level(&self, tokens: u64) -> f64 {
        if self.leased { tokens.max(1) as f64 } else { 1.0 }
    }
}

impl RateLimiter {
    /// `leased`: other machines have the same limits.
    pub(crate) fn new(leased: bool) -> Self {
        Self { state: Mutex::new(LimiterState { leased, ..LimiterState::default() }), ..Self::default() }
    }

    /// Begins a request that takes so many tokens aside.
    ///
    /// # Errors
    /// What there is not enough of.
    pub(crate) fn acquire(&self, rate_limits: RateLimits, tokens: u64) -> Result<(), LimitExceeded> {
        let mut state = lock_ignoring_poison(&self.state);
        if rate_limits.concurrency.is_some_and(|most| state.in_flight >= most) {
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

    /// Ends a request that took `reserved` tokens aside and used `tokens`.
    pub(crate) fn release(&self, reserved: u64, tokens: u64) {
        let mut state = lock_ignoring_poison(&self.state);
        state.in_flight -= 1;
        if let Some(bucket) = &mut state.tokens {
            bucket.level += reserved as f64 - tokens as f64;
        }
    }

    /// There is enough for a request of so many tokens.
    pub(crate) fn has_capacity(&self, kind: RateKind, tokens: u64) -> bool {
        let mut state = lock_ignoring_poison(&self.state);
        let needed = if kind == RateKind::Tokens { state.required_level(tokens) } else { 1.0 };
        state.bucket_slot(kind).as_mut().is_none_or(|bucket| bucket.check(needed).is_ok())
    }

    /// Takes out all that is leased, or the debt, for the others to have, and says how much is
    /// filled in a minute; `None` where nothing was ever leased.
    pub(crate) fn take_leased(&self, kind: RateKind) -> Option<(i64, f64)> {
        let mut state = lock_ignoring_poison(&self.state);
        let bucket = state.bucket_slot(kind).as_mut()?;
        Some((bucket.per_minute, std::mem::take(&mut bucket.level)))
    }

    /// Puts in what is leased.
    pub(crate) fn add_leased(&self, kind: RateKind, amount: f64) {
        if let Some(bucket) = lock_ignoring_poison(&self.state).bucket_slot(kind) {
            bucket.level += amount;
        }
    }

    /// So much is left in the bucket that machines share.
    pub(crate) fn set_shared_level(&self, kind: RateKind, level: f64) {
        if let Some(bucket) = lock_ignoring_poison(&self.state).bucket_slot(kind) {
            bucket.shared_level = Some((level, Instant::now()));
        }
    }

    /// What is left of this minute, where there is a limit.
    pub(crate) fn status(&self, rate_limits: RateLimits, kind: RateKind) -> Option<RateStatus> {
        let limit = match kind {
            RateKind::Requests => rate_limits.requests,
            RateKind::Tokens => rate_limits.tokens,
        }?;
        let untouched = RateStatus { limit, remaining: limit, reset_after: Duration::ZERO };
        Some(lock_ignoring_poison(&self.state).bucket_slot(kind).as_ref().map_or(untouched, TokenBucket::status))
    }

    /// Requests run.
    pub(crate) fn has_in_flight(&self) -> bool {
        lock_ignoring_poison(&self.state).in_flight > 0
    }
}
