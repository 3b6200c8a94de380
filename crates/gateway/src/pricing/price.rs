//! The price of one model, and the cost of a request.

use std::sync::Arc;

use chat::{ExtraCount, ServiceTier, Total, Usage};

use crate::billing::plausibility::MAX_COST;
use crate::billing::worst_case_cost::WorstCaseCost;

const MILLION: i128 = 1_000_000;

/// The price of one model of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// The name in usage records: `provider/model@date`.
    pub name: Arc<str>,
    /// The context of the model in tokens, if the row has it.
    pub(crate) context: Option<u64>,
    /// The longest answer of the model in tokens, if the row has it.
    pub(crate) max_output: Option<u64>,
    pub(super) base: UnitPrices,
    /// The part of these prices that requests of a batch cost, in millionths.
    pub(super) batch_millionths: i64,
    /// Prices that replace `base`. The first tier that matches applies.
    pub(super) tiers: Vec<(PriceTier, UnitPrices)>,
}

/// The part of a request that is not priced by the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    /// Images or tasks; 1 for an answer in text.
    pub(crate) calls: u64,
    /// Seconds of video.
    pub(crate) seconds: u64,
}

impl Default for Quantity {
    fn default() -> Self {
        Self { calls: 1, seconds: 0 }
    }
}

/// One part of a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostLine {
    /// The thing that is counted: the field of the usage, `calls`, `seconds` or `rounding`.
    pub of: &'static str,
    pub quantity: u64,
    /// Nano-dollars for `per` of them.
    pub price: i64,
    pub per: u64,
    /// Nano-dollars.
    pub cost: i64,
}

/// Prices in nano-dollars per million tokens, per call, and per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitPrices {
    pub(super) input: i64,
    pub(super) cached: i64,
    pub(super) cache_write: i64,
    pub(super) cache_write_1h: i64,
    pub(super) output: i64,
    pub(super) reasoning: i64,
    pub(super) per_call: i64,
    pub(super) per_second: i64,
    /// The prices of [`ExtraCount::ALL`]: per million tokens, or for each where it is not a
    /// part of the tokens.
    pub(super) extra: [i64; ExtraCount::ALL.len()],
}

/// The condition of other prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PriceTier {
    /// Between two minutes of the UTC day. If `until` is before `from`, the period spans midnight.
    Period { from: u32, until: u32 },
    /// The prompt has more tokens than this. The tier applies to the whole request.
    PromptAbove(u64),
    /// The answer is of this service tier, and the prompt has at least this number of tokens.
    Service { tier: ServiceTier, prompt_tokens: u64 },
}

impl PriceTier {
    fn matches(self, usage: &Usage, minute: u32) -> bool {
        match self {
            Self::Period { from, until } if from <= until => (from..until).contains(&minute),
            Self::Period { from, until } => minute >= from || minute < until,
            Self::PromptAbove(tokens) => usage.prompt_tokens > tokens,
            Self::Service { tier, prompt_tokens } => {
                usage.service_tier == Some(tier) && usage.prompt_tokens >= prompt_tokens
            }
        }
    }
}

impl Price {
    /// The cost of a request at `at` (microseconds since 1970), in nano-dollars, at most
    /// [`MAX_COST`].
    pub(crate) fn cost(&self, usage: &Usage, quantity: Quantity, at: i64) -> i64 {
        i64::try_from(self.unclamped_cost(usage, quantity, at)).map_or(MAX_COST, |cost| cost.min(MAX_COST))
    }

    /// The cost without the maximum. It fits into an `i128` for all counts. It is rounded once,
    /// half a nano-dollar up.
    pub(crate) fn unclamped_cost(&self, usage: &Usage, quantity: Quantity, at: i64) -> i128 {
        let prices = self.unit_prices(usage, at);
        let parts = prices.token_parts(usage);
        let sum: i128 = parts.iter().map(|&(_, tokens, price)| i128::from(tokens) * i128::from(price)).sum();
        let counted: i128 =
            prices.counted_parts(usage).map(|(_, count, price)| i128::from(count) * i128::from(price)).sum();
        (sum + MILLION / 2) / MILLION + counted + prices.fixed_cost(quantity)
    }

    /// The most that a request at `at` can cost whose prompt has at most `prompt_tokens`, in any
    /// service tier. The searches of a provider have no maximum, and are not part of it.
    pub(crate) fn worst_case(&self, prompt_tokens: u64, quantity: Quantity, at: i64) -> WorstCaseCost {
        let services = self.tiers.iter().filter(
            |(tier, _)| matches!(tier, PriceTier::Service { prompt_tokens: least, .. } if prompt_tokens >= *least),
        );
        let worst_case = self.worst_case_of_prompts(prompt_tokens, prompt_tokens, quantity, at);
        services.fold(worst_case, |most, (_, prices)| most.max(prices.worst_case(prompt_tokens, quantity)))
    }

    /// The same for several requests in the standard tier, whose longest prompt has at most
    /// `longest_prompt` tokens, and all prompts together `prompt_tokens`.
    pub(super) fn worst_case_of_prompts(
        &self,
        longest_prompt: u64,
        prompt_tokens: u64,
        quantity: Quantity,
        at: i64,
    ) -> WorstCaseCost {
        let minute = minute_of_day(at);
        let mut worst_case = WorstCaseCost::default();
        for (tier, prices) in &self.tiers {
            match tier {
                PriceTier::PromptAbove(tokens) if longest_prompt <= *tokens => continue,
                // The prompt may be shorter than that, so the following tiers count as well.
                PriceTier::PromptAbove(_) => worst_case = worst_case.max(prices.worst_case(prompt_tokens, quantity)),
                period if period.matches(&Usage::default(), minute) => {
                    return worst_case.max(prices.worst_case(prompt_tokens, quantity));
                }
                PriceTier::Period { .. } | PriceTier::Service { .. } => {}
            }
        }
        worst_case.max(self.base.worst_case(prompt_tokens, quantity))
    }

    /// Whether seconds have a price.
    pub(crate) fn is_per_second(&self) -> bool {
        self.tiers.iter().map(|(_, prices)| prices).chain([&self.base]).any(|prices| prices.per_second > 0)
    }

    /// The seconds that a call at `at` paid for with `cost`; `None` if it is not a
    /// price of seconds.
    pub(crate) fn paid_seconds(&self, cost: i64, at: i64) -> Option<u64> {
        let prices = self.unit_prices(&Usage::default(), at);
        let seconds = cost.checked_sub(prices.per_call)?.checked_div(prices.per_second)?;
        u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)
    }

    /// The calls that `cost` pays for at `at`; `None` if calls have no price.
    pub(super) fn paid_calls(&self, cost: i64, at: i64) -> Option<u64> {
        let calls = cost.checked_div(self.unit_prices(&Usage::default(), at).per_call)?;
        u64::try_from(calls).ok().filter(|calls| *calls > 0)
    }

    /// The parts of a cost that are not 0, each rounded down to a nano-dollar. `None` for one that
    /// is out of range.
    pub(super) fn cost_lines(&self, usage: &Usage, quantity: Quantity, at: i64) -> Option<Vec<CostLine>> {
        let prices = self.unit_prices(usage, at);
        let tokens = prices.token_parts(usage).map(|(of, count, price)| (of, count, price, MILLION as u64));
        let fixed =
            [("calls", quantity.calls, prices.per_call, 1), ("seconds", quantity.seconds, prices.per_second, 1)];
        let mut lines = Vec::new();
        let counted = prices.counted_parts(usage).map(|(of, count, price)| (of, count, price, 1));
        for (of, quantity, price, per) in tokens.into_iter().chain(counted).chain(fixed) {
            let cost = i64::try_from(i128::from(quantity) * i128::from(price) / i128::from(per)).ok()?;
            if cost != 0 {
                lines.push(CostLine { of, quantity, price, per, cost });
            }
        }
        Some(lines)
    }

    /// The base prices in US dollars: input, cached input and output per million tokens, per call,
    /// and per second.
    pub fn dollars(&self) -> [f64; 5] {
        let UnitPrices { input, cached, output, per_call, per_second, .. } = self.base;
        [input, cached, output, per_call, per_second].map(|nano| nano as f64 / 1e9)
    }

    fn unit_prices(&self, usage: &Usage, at: i64) -> &UnitPrices {
        let minute = minute_of_day(at);
        let tier = self.tiers.iter().find(|(tier, _)| tier.matches(usage, minute));
        tier.map_or(&self.base, |(_, prices)| prices)
    }
}

impl UnitPrices {
    /// The tokens of the usage that are priced, each without the others, and their prices.
    fn token_parts(&self, usage: &Usage) -> [(&'static str, u64, i64); 6 + ExtraCount::ALL.len()] {
        let cached = usage.cached_tokens.min(usage.prompt_tokens);
        let written = usage.cache_write_tokens.min(usage.prompt_tokens - cached);
        let written_1h = usage.cache_write_1h_tokens.min(written);
        let reasoning = usage.reasoning_tokens.unwrap_or(0).min(usage.completion_tokens);
        let (mut prompt, mut completion) =
            (usage.prompt_tokens - cached - written, usage.completion_tokens - reasoning);
        let mut parts = [("", 0, 0); 6 + ExtraCount::ALL.len()];
        for (part, (index, count)) in parts[6..].iter_mut().zip(ExtraCount::ALL.iter().enumerate()) {
            let rest = match count.part_of {
                Some(Total::Prompt) => &mut prompt,
                Some(Total::Completion) => &mut completion,
                None => continue,
            };
            let tokens = usage.extra.0[index].min(*rest);
            *rest -= tokens;
            *part = (count.name, tokens, self.extra[index]);
        }
        parts[..6].copy_from_slice(&[
            ("prompt_tokens", prompt, self.input),
            ("cached_tokens", cached, self.cached),
            ("cache_write_tokens", written - written_1h, self.cache_write),
            ("cache_write_1h_tokens", written_1h, self.cache_write_1h),
            ("completion_tokens", completion, self.output),
            ("reasoning_tokens", reasoning, self.reasoning),
        ]);
        parts
    }

    /// The counts of the usage that are not tokens, and the price of each.
    fn counted_parts(&self, usage: &Usage) -> impl Iterator<Item = (&'static str, u64, i64)> {
        let counts = ExtraCount::ALL.iter().zip(usage.extra.0).zip(self.extra);
        counts
            .filter(|((count, _), _)| count.part_of.is_none())
            .map(|((count, value), price)| (count.name, value, price))
    }

    /// The part of the cost that does not depend on tokens.
    fn fixed_cost(&self, quantity: Quantity) -> i128 {
        i128::from(quantity.calls) * i128::from(self.per_call)
            + i128::from(quantity.seconds) * i128::from(self.per_second)
    }

    fn worst_case(&self, prompt_tokens: u64, quantity: Quantity) -> WorstCaseCost {
        let highest = |base: i64, total| {
            let extra = ExtraCount::ALL.iter().zip(self.extra).filter(|(count, _)| count.part_of == Some(total));
            extra.fold(base, |highest, (_, price)| highest.max(price))
        };
        let input = highest(self.input, Total::Prompt).max(self.cached).max(self.cache_write).max(self.cache_write_1h);
        let output = highest(self.output, Total::Completion).max(self.reasoning);
        let prompt = (i128::from(prompt_tokens) * i128::from(input) + MILLION - 1) / MILLION;
        WorstCaseCost { fixed: self.fixed_cost(quantity), prompt, output_per_million: output }
    }
}

/// The minute of the UTC day of a time in microseconds since 1970.
fn minute_of_day(at: i64) -> u32 {
    (at.rem_euclid(store::DAY_MICROS) / 60_000_000) as u32
}
