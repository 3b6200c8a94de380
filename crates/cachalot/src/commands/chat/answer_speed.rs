//! The speed of an answer, as the caller sees it.

use std::fmt;
use std::time::{Duration, Instant};

use chat::{Delta, Usage};

/// Measures one answer.
pub(super) struct AnswerSpeed {
    asked: Instant,
    first: Option<Duration>,
    last: Duration,
    usage: Option<Usage>,
}

impl AnswerSpeed {
    /// Starts the measurement.
    pub(super) fn start() -> Self {
        Self { asked: Instant::now(), first: None, last: Duration::ZERO, usage: None }
    }

    /// The time since the question.
    pub(super) fn elapsed(&self) -> Duration {
        self.asked.elapsed()
    }

    /// Counts a delta that has arrived now.
    pub(super) fn push(&mut self, delta: &Delta) {
        self.push_at(delta, self.asked.elapsed());
    }

    fn push_at(&mut self, delta: &Delta, elapsed: Duration) {
        match delta {
            Delta::Start(_) | Delta::Prompt { .. } | Delta::Finish(_) => return,
            Delta::Usage(usage) => self.usage = Some(*usage),
            _ => {
                self.first.get_or_insert(elapsed);
            }
        }
        self.last = elapsed;
    }
}

impl fmt::Display for AnswerSpeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.first else { return f.write_str("no token arrived") };
        write!(f, "first token after {:.2} s", first.as_secs_f64())?;
        let Some(usage) = self.usage else { return write!(f, ", {:.2} s in all", self.last.as_secs_f64()) };
        write!(f, ", {} prompt tokens ({} cached)", usage.prompt_tokens, usage.cached_tokens)?;
        let seconds = self.last.saturating_sub(first).as_secs_f64();
        write!(f, ", {} tokens in {:.2} s", usage.completion_tokens, self.last.as_secs_f64())?;
        // The first token is the end of the prompt's time.
        if usage.completion_tokens > 1 && seconds > 0.0 {
            write!(f, ", {:.1} tokens/s", (usage.completion_tokens - 1) as f64 / seconds)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_the_tokens_after_the_first() {
        let mut speed = AnswerSpeed::start();
        let text = Delta::Text { text: "a".into(), logprobs: vec![] };
        assert_eq!(speed.to_string(), "no token arrived");
        speed.push_at(&text, Duration::from_millis(500));
        speed.push_at(&text, Duration::from_millis(1500));
        assert_eq!(speed.to_string(), "first token after 0.50 s, 1.50 s in all");
        let usage = Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 21, ..Usage::default() };
        speed.push_at(&Delta::Usage(usage), Duration::from_millis(2500));
        assert_eq!(
            speed.to_string(),
            "first token after 0.50 s, 9 prompt tokens (4 cached), 21 tokens in 2.50 s, 10.0 tokens/s"
        );
    }
}
