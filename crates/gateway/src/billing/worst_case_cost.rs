//! The most that a request can cost, known before a provider is asked.

const MILLION: i128 = 1_000_000;

/// The most that a request can cost, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorstCaseCost {
    /// The part that is known beforehand: calls, pictures, seconds.
    pub(crate) fixed: i128,
    pub(crate) prompt: i128,
    /// A million tokens of its answer.
    pub(crate) output_per_million: i64,
}

impl WorstCaseCost {
    /// The more of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.max(other.fixed),
            prompt: self.prompt.max(other.prompt),
            output_per_million: self.output_per_million.max(other.output_per_million),
        }
    }

    /// With an answer of so many tokens; `i64::MAX` beyond that.
    pub(crate) fn with_output(self, output_tokens: u64) -> i64 {
        let output = (i128::from(output_tokens) * i128::from(self.output_per_million) + MILLION - 1) / MILLION;
        i64::try_from(self.fixed + self.prompt + output).unwrap_or(i64::MAX)
    }

    /// The tokens of an answer that so much money pays for; `None` where they cost nothing.
    pub(crate) fn affordable_tokens(self, money: i64) -> Option<u64> {
        let left = (i128::from(money) - self.fixed - self.prompt).max(0);
        let tokens = (left * MILLION).checked_div(i128::from(self.output_per_million))?;
        Some(u64::try_from(tokens).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_what_is_paid_for() {
        for answer in [1, 3, 999_999, 1_000_000, 1_000_001, 15_000_000_000, 1_000_000_000_000_000] {
            let worst_case = WorstCaseCost { fixed: 7, prompt: 5, output_per_million: answer };
            for money in [0, 11, 12, 13, 100, 999_999_999, 1 << 53, i64::MAX - 1] {
                let fits = worst_case.affordable_tokens(money).unwrap();
                assert!(money < 12 || worst_case.with_output(fits) <= money, "{answer} {money}");
                assert!(fits == u64::MAX || worst_case.with_output(fits + 1) > money, "{answer} {money} {fits}");
            }
        }
        assert_eq!(WorstCaseCost { output_per_million: 0, ..WorstCaseCost::default() }.affordable_tokens(5), None);
        assert_eq!(
            WorstCaseCost { output_per_million: i64::MAX, ..WorstCaseCost::default() }.with_output(u64::MAX),
            i64::MAX
        );
    }
}
