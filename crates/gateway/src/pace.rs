//! How fast a key may be: requests and tokens a minute, requests at the same time.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::limits::{Short, lock};

const HOUR: Duration = Duration::from_secs(3600);

/// A bucket that fills over a minute and may go into debt; one that machines share is filled by what they lease of it.
#[derive(Debug)]
struct Bucket {
    per_minute: i64,
    level: f64,
    filled: Option<Instant>,
    /// What the machines' common bucket had, and when it was asked.
    common: Option<(f64, Instant)>,
}

impl Bucket {
    fn new(per_minute: i64, leased: bool) -> Self {
        match leased {
            true => Self { per_minute, level: 0.0, filled: None, common: None },
            false => Self { per_minute, level: per_minute as f64, filled: Some(Instant::now()), common: None },
        }
    }

    fn per_second(&self) -> f64 {
        self.per_minute as f64 / 60.0
    }

    /// What is left of the minute, here and in the common bucket, and how long it takes until all of it is there again.
    fn left(&self) -> Allowance {
        let since = self.filled.or(self.common.map(|(_, at)| at)).map_or(0.0, |at| at.elapsed().as_secs_f64());
        let most = self.per_minute as f64;
        let common = self.common.map_or(0.0, |(level, _)| level);
        let left = (self.level + common + since * self.per_second()).min(most);
        let full = Duration::try_from_secs_f64((most - left) / self.per_second()).unwrap_or(HOUR);
        Allowance { limit: self.per_minute, remaining: left.max(0.0) as i64, full }
    }

    /// Whether `needed` is there.
    ///
    /// # Errors
    /// How long it takes until it is.
    fn has(&mut self, needed: f64) -> Result<(), Duration> {
        let per_second = self.per_second();
        if let Some(filled) = &mut self.filled {
            let now = Instant::now();
            let more = now.duration_since(*filled).as_secs_f64() * per_second;
            self.level = (self.level + more).min(self.per_minute as f64);
            *filled = now;
        }
        if self.level >= needed {
            return Ok(());
        }
        let wait = (needed - self.level) / per_second;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(HOUR))
    }
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// A minute.
    pub limit: i64,
    pub remaining: i64,
    /// Until nothing of it is used any more.
    pub full: Duration,
}

/// What a key may do in a minute and at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) requests: Option<i64>,
    pub(crate) tokens: Option<i64>,
    pub(crate) concurrency: Option<i64>,
}

/// What is counted by the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Requests,
    Tokens,
}

/// How fast a key has been.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    running: Mutex<Running>,
    /// Held while the others are asked.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Running {
    /// Other machines have the same limits: what is taken here is leased.
    leased: bool,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    now: i64,
}

impl Running {
    fn known(&mut self, pace: Pace) -> &mut Option<Bucket> {
        match pace {
            Pace::Requests => &mut self.requests,
            Pace::Tokens => &mut self.tokens,
        }
    }

    fn bucket(&mut self, pace: Pace, per_minute: i64) -> &mut Bucket {
        let leased = self.leased;
        let bucket = self.known(pace).get_or_insert_with(|| Bucket::new(per_minute, leased));
        bucket.per_minute = per_minute;
        bucket
    }

    /// What must be there for a request of so many tokens to begin. Alone, what is not there becomes debt; of a lease there is
    /// always enough, or it has to be asked for.
    fn needed(&self, tokens: u64) -> f64 {
        if self.leased { tokens.max(1) as f64 } else { 1.0 }
    }
}

impl Speed {
    /// `leased`: other machines have the same limits.
    pub(crate) fn new(leased: bool) -> Self {
        Self { running: Mutex::new(Running { leased, ..Running::default() }), ..Self::default() }
    }

    /// Begins a request that takes so many tokens aside.
    ///
    /// # Errors
    /// What there is not enough of.
    pub(crate) fn begin(&self, rates: Rates, tokens: u64) -> Result<(), Short> {
        let mut running = lock(&self.running);
        if rates.concurrency.is_some_and(|most| running.now >= most) {
            return Err(Short::Busy);
        }
        if let Some(limit) = rates.tokens {
            let needed = running.needed(tokens);
            let bucket = running.bucket(Pace::Tokens, limit);
            bucket.has(needed).map_err(|wait| Short::Pace(Pace::Tokens, wait))?;
        }
        if let Some(limit) = rates.requests {
            let bucket = running.bucket(Pace::Requests, limit);
            bucket.has(1.0).map_err(|wait| Short::Pace(Pace::Requests, wait))?;
            bucket.level -= 1.0;
        }
        if let Some(bucket) = &mut running.tokens {
            bucket.level -= tokens as f64;
        }
        running.now += 1;
        Ok(())
    }

    /// Ends a request that took `reserved` tokens aside and used `tokens`.
    pub(crate) fn end(&self, reserved: u64, tokens: u64) {
        let mut running = lock(&self.running);
        running.now -= 1;
        if let Some(bucket) = &mut running.tokens {
            bucket.level += reserved as f64 - tokens as f64;
        }
    }

    /// There is enough for a request of so many tokens.
    pub(crate) fn has(&self, pace: Pace, tokens: u64) -> bool {
        let mut running = lock(&self.running);
        let needed = if pace == Pace::Tokens { running.needed(tokens) } else { 1.0 };
        running.known(pace).as_mut().is_none_or(|bucket| bucket.has(needed).is_ok())
    }

    /// Takes out all that is leased, or the debt, for the others to have, and says how much is filled in a minute; `None` where
    /// nothing was ever leased.
    pub(crate) fn empty(&self, pace: Pace) -> Option<(i64, f64)> {
        let mut running = lock(&self.running);
        let bucket = running.known(pace).as_mut()?;
        Some((bucket.per_minute, std::mem::take(&mut bucket.level)))
    }

    /// Puts in what is leased.
    pub(crate) fn fill(&self, pace: Pace, amount: f64) {
        if let Some(bucket) = lock(&self.running).known(pace) {
            bucket.level += amount;
        }
    }

    /// So much is left in the bucket that machines share.
    pub(crate) fn told(&self, pace: Pace, level: f64) {
        if let Some(bucket) = lock(&self.running).known(pace) {
            bucket.common = Some((level, Instant::now()));
        }
    }

    /// What is left of this minute, where there is a limit.
    pub(crate) fn left(&self, rates: Rates, pace: Pace) -> Option<Allowance> {
        let limit = match pace {
            Pace::Requests => rates.requests,
            Pace::Tokens => rates.tokens,
        }?;
        let untouched = Allowance { limit, remaining: limit, full: Duration::ZERO };
        Some(lock(&self.running).known(pace).as_ref().map_or(untouched, Bucket::left))
    }

    /// Requests run.
    pub(crate) fn running(&self) -> bool {
        lock(&self.running).now > 0
    }
}
