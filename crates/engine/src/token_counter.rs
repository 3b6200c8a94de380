//! Counts tokens: in total, and by the second for rates.

use std::time::Instant;

use chat::{Throughput, Usage};

/// The seconds over which rates are averaged.
const WINDOW_S: u64 = 10;

/// The tokens that an engine has computed.
#[derive(Debug)]
pub(crate) struct TokenCounter {
    started: Instant,
    /// The counts of the second `n`, counted from the start, are at `n` modulo the length.
    seconds: [SecondCounts; WINDOW_S as usize + 1],
    prompt_tokens: u64,
    cached_prompt_tokens: u64,
}

/// The tokens that were computed in one second.
#[derive(Clone, Copy, Debug, Default)]
struct SecondCounts {
    second: u64,
    prompt: u64,
    generated: u64,
}

impl TokenCounter {
    pub(crate) fn new(started: Instant) -> Self {
        let seconds = [SecondCounts::default(); WINDOW_S as usize + 1];
        Self { started, seconds, prompt_tokens: 0, cached_prompt_tokens: 0 }
    }

    /// Counts tokens of prompts that were computed.
    pub(crate) fn record_prefill(&mut self, now: Instant, tokens: usize) {
        self.counts(now).prompt += tokens as u64;
    }

    /// Counts a token that a request with this usage so far samples; with its first token also its
    /// prompt.
    pub(crate) fn record_sample(&mut self, now: Instant, usage: &Usage) {
        self.counts(now).generated += 1;
        if usage.completion_tokens == 0 {
            self.prompt_tokens += usage.prompt_tokens;
            self.cached_prompt_tokens += usage.cached_tokens;
        }
    }

    /// The counts of the second `now`.
    fn counts(&mut self, now: Instant) -> &mut SecondCounts {
        let second = self.second(now);
        let counts = &mut self.seconds[(second % (WINDOW_S + 1)) as usize];
        if counts.second != second {
            *counts = SecondCounts { second, ..SecondCounts::default() };
        }
        counts
    }

    /// The rates of the last whole seconds, at most [`WINDOW_S`], and the totals.
    pub(crate) fn throughput(&self, now: Instant) -> Throughput {
        let second = self.second(now);
        let window = second.min(WINDOW_S);
        let recent = || self.seconds.iter().filter(|counts| (second - window..second).contains(&counts.second));
        let rate = |tokens: u64| tokens as f64 / window.max(1) as f64;
        Throughput {
            prompt_tokens_per_second: rate(recent().map(|counts| counts.prompt).sum()),
            generated_tokens_per_second: rate(recent().map(|counts| counts.generated).sum()),
            prompt_tokens: self.prompt_tokens,
            cached_prompt_tokens: self.cached_prompt_tokens,
        }
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_are_those_of_the_last_ten_seconds() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut counter = TokenCounter::new(start);
        assert_eq!(counter.throughput(at(0)), Throughput::default());
        counter.record_prefill(at(100), 36);
        counter.record_sample(at(100), &Usage { prompt_tokens: 100, cached_tokens: 64, ..Usage::default() });
        assert_eq!(counter.throughput(at(900)).generated_tokens_per_second, 0.0, "the second is not over");
        // A young engine is not averaged over ten seconds.
        assert_eq!(counter.throughput(at(1000)).prompt_tokens_per_second, 36.0);
        for second in 1..=20 {
            for _ in 0..30 {
                counter.record_sample(at(second * 1000), &Usage { completion_tokens: 1, ..Usage::default() });
            }
        }
        let busy = counter.throughput(at(20_500));
        assert_eq!((busy.generated_tokens_per_second, busy.prompt_tokens_per_second), (30.0, 0.0));
        assert_eq!((busy.prompt_tokens, busy.cached_prompt_tokens), (100, 64));
        assert_eq!(counter.throughput(at(25_000)).generated_tokens_per_second, 18.0);
        assert_eq!(counter.throughput(at(60_000)).generated_tokens_per_second, 0.0);
    }
}
