//! Which counts and amounts of an answer can be true. What cannot is not booked: the answer is
//! settled by estimate.

use chat::Usage;

/// Input and output tokens are each at most so many times the model's context, where that is known:
/// tokenizers differ, and some providers count what they search and read.
pub(crate) const MAX_CONTEXT_MULTIPLE: u64 = 4;
/// Most input and output tokens where the context is not known.
pub(crate) const MAX_TOKENS_UNKNOWN_CONTEXT: u64 = 1 << 24;
/// The output is at most so many times what the request allowed, and as many tokens more: reasoning
/// is counted apart by some.
pub(crate) const OUTPUT_TOLERANCE_FACTOR: u64 = 2;
pub(crate) const OUTPUT_TOLERANCE_TOKENS: u64 = 4096;
/// Most that one request may cost, in nano-dollars: $1,000,000.
pub(crate) const MAX_COST: i64 = store::MAX_COST;
/// Longest context that a price row may state.
pub(crate) const MAX_CONTEXT_TOKENS: u64 = 1 << 30;

/// The most that an answer can have counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsageBounds {
    max_input: u64,
    max_output: u64,
}

impl UsageBounds {
    /// Of a model with this context for a request for so many answers, each of which may have
    /// `allowed` tokens.
    pub(crate) fn new(context: Option<u64>, max_output_tokens: Option<u64>, answers: u64) -> Self {
        let input = context.map_or(MAX_TOKENS_UNKNOWN_CONTEXT, |context| {
            context.min(MAX_CONTEXT_TOKENS).saturating_mul(MAX_CONTEXT_MULTIPLE)
        });
        let whole = input.saturating_mul(answers).min(store::MAX_TOKENS.unsigned_abs());
        let allowed = max_output_tokens.map(|tokens| {
            tokens
                .saturating_mul(OUTPUT_TOLERANCE_FACTOR)
                .saturating_mul(answers)
                .saturating_add(OUTPUT_TOLERANCE_TOKENS)
        });
        Self { max_input: input, max_output: allowed.map_or(whole, |allowed| allowed.min(whole)) }
    }

    /// The most tokens of output.
    pub(crate) fn max_output(self) -> u64 {
        self.max_output
    }

    /// The count that cannot be true, and what it is. Each part has the range of its whole.
    pub(crate) fn implausible_count(self, usage: &Usage) -> Option<(&'static str, u64)> {
        let counts = [
            ("prompt_tokens", usage.prompt_tokens, self.max_input),
            ("cached_tokens", usage.cached_tokens, self.max_input),
            ("cache_write_tokens", usage.cache_write_tokens, self.max_input),
            ("completion_tokens", usage.completion_tokens, self.max_output),
            ("reasoning_tokens", usage.reasoning_tokens.unwrap_or(0), self.max_output),
        ];
        counts.into_iter().find(|(_, tokens, most)| tokens > most).map(|(name, tokens, _)| (name, tokens))
    }
}

/// The same counts with parts that are no larger than their wholes, as some providers
/// count them apart.
pub(crate) fn clamp_parts(usage: Usage) -> Usage {
    let cached_tokens = usage.cached_tokens.min(usage.prompt_tokens);
    let cache_write_tokens = usage.cache_write_tokens.min(usage.prompt_tokens - cached_tokens);
    Usage { cached_tokens, cache_write_tokens, ..usage }
}

/// A count for people: what was no number has none.
pub(crate) fn format_count(count: u64) -> String {
    if count == Usage::INVALID_COUNT { "not a count".into() } else { count.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(prompt: u64, completion: u64) -> Usage {
        Usage { prompt_tokens: prompt, completion_tokens: completion, ..Usage::default() }
    }

    #[test]
    fn counts_are_bounded_by_the_context_and_by_what_was_allowed() {
        let unknown = UsageBounds::new(None, None, 1);
        assert_eq!(unknown.implausible_count(&usage(1 << 24, 1 << 24)), None);
        assert_eq!(unknown.implausible_count(&usage((1 << 24) + 1, 0)), Some(("prompt_tokens", (1 << 24) + 1)));
        let known = UsageBounds::new(Some(1000), None, 1);
        assert_eq!(
            (known.implausible_count(&usage(4000, 4000)), known.implausible_count(&usage(0, 4001))),
            (None, Some(("completion_tokens", 4001)))
        );
        let allowed = UsageBounds::new(Some(100_000), Some(10), 3);
        assert_eq!(
            (allowed.implausible_count(&usage(0, 4156)), allowed.implausible_count(&usage(0, 4157))),
            (None, Some(("completion_tokens", 4157)))
        );
        let many = UsageBounds::new(Some(1000), Some(u64::MAX), 5);
        assert_eq!(
            (
                many.implausible_count(&usage(4000, 20_000)).is_some(),
                many.implausible_count(&usage(0, 20_001)).is_some()
            ),
            (false, true)
        );
        let most = UsageBounds::new(Some(u64::MAX), None, u64::MAX);
        assert_eq!(most.implausible_count(&usage(1 << 32, 1 << 32)), None);
        assert!(
            most.implausible_count(&usage((1 << 32) + 1, 0)).is_some()
                && most.implausible_count(&usage(0, Usage::INVALID_COUNT)).is_some()
        );
    }

    #[test]
    fn parts_are_judged_like_their_wholes() {
        let bounds = UsageBounds::new(None, None, 1);
        for odd in [
            Usage { cached_tokens: 1 << 63, ..usage(1, 1) },
            Usage { cache_write_tokens: Usage::INVALID_COUNT, ..usage(1, 1) },
            Usage { reasoning_tokens: Some(1 << 40), ..usage(1, 1) },
        ] {
            assert!(bounds.implausible_count(&odd).is_some(), "{odd:?}");
        }
        // Those that some count apart from their wholes are no fault.
        let apart = Usage { cached_tokens: 9, cache_write_tokens: 9, reasoning_tokens: Some(9), ..usage(4, 1) };
        assert_eq!(bounds.implausible_count(&apart), None);
        let within = clamp_parts(Usage { cached_tokens: 3, ..apart });
        assert_eq!((within.cached_tokens, within.cache_write_tokens, within.reasoning_tokens), (3, 1, Some(9)));
    }
}
