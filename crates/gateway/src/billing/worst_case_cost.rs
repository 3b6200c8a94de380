//! The most that a request can cost, computed before a provider is called.

const MILLION: i128 = 1_000_000;

/// The most that a request can cost, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorstCaseCost {
    /// The part that is known beforehand: calls, images, seconds.
    pub(crate) fixed: i128,
    /// The prompt, at its greatest possible length.
    pub(crate) prompt: i128,
    /// A million output tokens.
    pub(crate) output_per_million: i64,
}

impl WorstCaseCost {
    /// The larger of each part.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.max(other.fixed),
            prompt: self.prompt.max(other.prompt),
            output_per_million: self.output_per_million.max(other.output_per_million),
        }
    }

    /// The cost with this many output tokens, in nano-dollars, at most `i64::MAX`.
    pub(crate) fn with_output(self, output_tokens: u64) -> i64 {
        let output = (i128::from(output_tokens) * i128::from(self.output_per_million) + MILLION - 1) / MILLION;
        i64::try_from(self.fixed + self.prompt + output).unwrap_or(i64::MAX)
    }

    /// The output tokens that `amount` nano-dollars pay for; `None` where tokens are free.
    pub(crate) fn affordable_tokens(self, amount: i64) -> Option<u64> {
        let left = (i128::from(amount) - self.fixed - self.prompt).max(0);
        let tokens = (left * MILLION).checked_div(i128::from(self.output_per_million))?;
        Some(u64::try_from(tokens).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affordable_tokens_are_the_most_that_the_amount_pays_for() {
        for price in [1, 3, 999_999, 1_000_000, 1_000_001, 15_000_000_000, 1_000_000_000_000_000] {
            let worst_case = WorstCaseCost { fixed: 7, prompt: 5, output_per_million: price };
            for amount in [0, 11, 12, 13, 100, 999_999_999, 1 << 53, i64::MAX - 1] {
                let fits = worst_case.affordable_tokens(amount).unwrap();
                assert!(amount < 12 || worst_case.with_output(fits) <= amount, "{price} {amount}");
                assert!(fits == u64::MAX || worst_case.with_output(fits + 1) > amount, "{price} {amount} {fits}");
            }
        }
        assert_eq!(WorstCaseCost { output_per_million: 0, ..WorstCaseCost::default() }.affordable_tokens(5), None);
        assert_eq!(
            WorstCaseCost { output_per_million: i64::MAX, ..WorstCaseCost::default() }.with_output(u64::MAX),
            i64::MAX
        );
    }
}
