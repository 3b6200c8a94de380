//! The price of a batch: the prices of its requests, and the discount that the provider gives.

use chat::Usage;

use crate::billing::plausibility::MAX_COST;
use crate::pricing::price::PriceTier;
use crate::pricing::{Price, Quantity};

const MILLION: i128 = 1_000_000;

/// The requests of a batch, as far as their price depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchTotals {
    pub(crate) requests: u64,
    /// Most tokens of all prompts together.
    pub(crate) prompt_tokens: u64,
    /// Most tokens of one prompt.
    pub(crate) longest_prompt: u64,
    /// Most tokens of all answers together.
    pub(crate) output_tokens: u64,
}

impl Price {
    /// The most that a batch submitted at `at` can cost, in nano-dollars.
    pub(crate) fn batch_worst_case(&self, totals: BatchTotals, at: i64) -> i64 {
        let quantity = Quantity { calls: totals.requests, seconds: 0 };
        let worst_case = self.worst_case_of_prompts(totals.longest_prompt, totals.prompt_tokens, quantity, at);
        self.with_discount(worst_case.with_output(totals.output_tokens).into())
    }

    /// The cost of `requests` requests of a batch that was submitted at `at`, in nano-dollars, at
    /// most [`MAX_COST`].
    pub(crate) fn batch_cost(&self, usage: &Usage, requests: u64, at: i64) -> i64 {
        let cost = self.unclamped_cost(usage, Quantity { calls: requests, seconds: 0 }, at);
        self.with_discount(cost).min(MAX_COST)
    }

    /// Whether the price of a request depends on the length of its prompt, so that a batch has no
    /// price for the sum of its usage.
    pub(crate) fn depends_on_prompt(&self) -> bool {
        self.tiers.iter().any(|(tier, _)| matches!(tier, PriceTier::PromptAbove(_)))
    }

    /// The part of a cost that batches pay, rounded up.
    fn with_discount(&self, cost: i128) -> i64 {
        let factor = i128::from(self.batch_millionths);
        let cost = cost.saturating_mul(factor).saturating_add(MILLION - 1) / MILLION;
        i64::try_from(cost).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pricing::Prices;

    fn price(fields: &str) -> std::sync::Arc<Price> {
        let row = format!("[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\n{fields}");
        Prices::parse(&row).unwrap().find("p", "m").unwrap()
    }

    fn totals(longest_prompt: u64) -> BatchTotals {
        BatchTotals { requests: 3, prompt_tokens: 3000, longest_prompt, output_tokens: 500 }
    }

    #[test]
    fn a_batch_costs_its_part_of_the_price() {
        let usage = Usage { prompt_tokens: 3000, completion_tokens: 500, ..Usage::default() };
        let full = price("input=1\noutput=2\nper_call=0.1\n");
        assert_eq!(full.batch_cost(&usage, 3, 0), 3_000_000 + 1_000_000 + 300_000_000);
        assert_eq!(full.batch_worst_case(totals(2000), 0), full.batch_cost(&usage, 3, 0));
        let half = price("batch=0.5\ninput=1\noutput=2\nper_call=0.1\n");
        assert_eq!(half.batch_cost(&usage, 3, 0) * 2, full.batch_cost(&usage, 3, 0));
        let odd = price("batch=0.5\ninput=0.001\n");
        assert_eq!(odd.batch_cost(&Usage { prompt_tokens: 3, ..Usage::default() }, 1, 0), 2, "rounded up");
        assert_eq!(price("batch=0\ninput=1\n").batch_worst_case(totals(2000), 0), 0);
        for bad in ["-0.1", "1.1", "nan"] {
            let row = format!("[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\nbatch={bad}\n");
            assert!(Prices::parse(&row).unwrap_err().to_string().contains("`batch`"), "{bad}");
        }
    }

    #[test]
    fn the_longest_prompt_decides_on_the_tier() {
        let tiered = price("input=1\noutput=2\n[[price.above]]\nprompt_tokens=1000\ninput=10\noutput=2\n");
        assert!(tiered.depends_on_prompt() && !price("input=1\n").depends_on_prompt());
        assert_eq!(tiered.batch_worst_case(totals(1000), 0), 4_000_000);
        assert_eq!(tiered.batch_worst_case(totals(1001), 0), 31_000_000);
        let most = BatchTotals { output_tokens: u64::MAX, ..totals(1001) };
        assert_eq!(tiered.batch_worst_case(most, 0), i64::MAX);
    }
}
