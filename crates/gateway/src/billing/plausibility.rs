//! The plausible range of the usage that a provider reports. Implausible usage is not billed: the
//! request is settled by estimate.

use chat::{ExtraCount, Total, Usage};

/// The most input and the most output tokens, as multiples of the model's context. They exceed 1
/// because tokenizers differ, and some providers count the text that they search and read.
pub(crate) const MAX_CONTEXT_MULTIPLE: u64 = 4;
/// The most input and the most output tokens of a model whose context is not known.
pub(crate) const MAX_TOKENS_UNKNOWN_CONTEXT: u64 = 1 << 24;
/// The most output tokens, as a multiple of the output limit of the request. It exceeds 1 because
/// some providers count reasoning separately.
pub(crate) const OUTPUT_TOLERANCE_FACTOR: u64 = 2;
/// The output tokens allowed in addition to that.
pub(crate) const OUTPUT_TOLERANCE_TOKENS: u64 = 4096;
/// The most that one request may cost, in nano-dollars: $1,000,000.
pub(crate) const MAX_COST: i64 = store::MAX_COST;
/// The most searches of one request.
pub(crate) const MAX_SEARCHES: u64 = 10_000;
/// The longest context that a price row may have, in tokens.
pub(crate) const MAX_CONTEXT_TOKENS: u64 = 1 << 30;

/// The highest plausible counts of one response, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsageBounds {
    max_input: u64,
    max_output: u64,
}

impl UsageBounds {
    /// The bounds for a request of `answers` answers with this output limit each, from a model with
    /// this context.
    pub(crate) fn new(context_tokens: Option<u64>, max_output_tokens: Option<u64>, answers: u64) -> Self {
        let max_input = context_tokens.map_or(MAX_TOKENS_UNKNOWN_CONTEXT, |context| {
            context.min(MAX_CONTEXT_TOKENS).saturating_mul(MAX_CONTEXT_MULTIPLE)
        });
        let max_total_output = max_input.saturating_mul(answers).min(store::MAX_TOKENS.unsigned_abs());
        let allowed = max_output_tokens.map(|tokens| {
            tokens
                .saturating_mul(OUTPUT_TOLERANCE_FACTOR)
                .saturating_mul(answers)
                .saturating_add(OUTPUT_TOLERANCE_TOKENS)
        });
        let max_output = allowed.map_or(max_total_output, |allowed| allowed.min(max_total_output));
        Self { max_input, max_output }
    }

    /// The most output tokens.
    pub(crate) fn max_output(self) -> u64 {
        self.max_output
    }

    /// The name and the value of the first implausible count. Each part has the range of its total.
    pub(crate) fn implausible_count(self, usage: &Usage) -> Option<(&'static str, u64)> {
        let counts = [
            ("prompt_tokens", usage.prompt_tokens, self.max_input),
            ("cached_tokens", usage.cached_tokens, self.max_input),
            ("cache_write_tokens", usage.cache_write_tokens, self.max_input),
            ("cache_write_1h_tokens", usage.cache_write_1h_tokens, self.max_input),
            ("completion_tokens", usage.completion_tokens, self.max_output),
            ("reasoning_tokens", usage.reasoning_tokens.unwrap_or(0), self.max_output),
        ];
        let extra = ExtraCount::ALL.iter().zip(usage.extra.0).map(|(count, value)| match count.part_of {
            Some(Total::Prompt) => (count.name, value, self.max_input),
            Some(Total::Completion) => (count.name, value, self.max_output),
            None => (count.name, value, MAX_SEARCHES),
        });
        counts.into_iter().chain(extra).find(|(_, tokens, max)| tokens > max).map(|(name, tokens, _)| (name, tokens))
    }
}

/// The usage with each part limited to its total. Some providers count parts separately.
pub(crate) fn clamp_parts(usage: Usage) -> Usage {
    let cached_tokens = usage.cached_tokens.min(usage.prompt_tokens);
    let cache_write_tokens = usage.cache_write_tokens.min(usage.prompt_tokens - cached_tokens);
    let cache_write_1h_tokens = usage.cache_write_1h_tokens.min(cache_write_tokens);
    let mut extra = usage.extra;
    for (count, value) in ExtraCount::ALL.iter().zip(&mut extra.0) {
        match count.part_of {
            Some(Total::Prompt) => *value = (*value).min(usage.prompt_tokens),
            Some(Total::Completion) => *value = (*value).min(usage.completion_tokens),
            None => {}
        }
    }
    Usage { cached_tokens, cache_write_tokens, cache_write_1h_tokens, extra, ..usage }
}

/// A count for logs.
pub(crate) fn format_count(count: u64) -> String {
    if count == Usage::INVALID_COUNT { "not a count".into() } else { count.to_string() }
}

#[cfg(test)]
mod tests {
    use chat::ExtraCounts;

    use super::*;

    fn usage(prompt: u64, completion: u64) -> Usage {
        Usage { prompt_tokens: prompt, completion_tokens: completion, ..Usage::default() }
    }

    #[test]
    fn counts_are_bounded_by_the_context_and_the_output_limit() {
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
    fn parts_have_the_bounds_of_their_totals() {
        let bounds = UsageBounds::new(None, None, 1);
        for usage in [
            Usage { cached_tokens: 1 << 63, ..usage(1, 1) },
            Usage { cache_write_tokens: Usage::INVALID_COUNT, ..usage(1, 1) },
            Usage { cache_write_1h_tokens: Usage::INVALID_COUNT, ..usage(1, 1) },
            Usage { reasoning_tokens: Some(1 << 40), ..usage(1, 1) },
            Usage { extra: ExtraCounts([0, 0, 1 << 40, 0, 0]), ..usage(1, 1) },
            Usage { extra: ExtraCounts([0, 0, 0, 0, MAX_SEARCHES + 1]), ..usage(1, 1) },
        ] {
            assert!(bounds.implausible_count(&usage).is_some(), "{usage:?}");
        }
        // Parts that are counted separately are plausible.
        let apart = Usage { cached_tokens: 9, cache_write_tokens: 9, reasoning_tokens: Some(9), ..usage(4, 1) };
        assert_eq!(bounds.implausible_count(&apart), None);
        let within = clamp_parts(Usage { cached_tokens: 3, ..apart });
        assert_eq!((within.cached_tokens, within.cache_write_tokens, within.reasoning_tokens), (3, 1, Some(9)));
    }
}
