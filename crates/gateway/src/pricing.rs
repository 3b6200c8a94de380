//! What tokens cost. Money is integer: prices in nano-dollars per million tokens, costs
//! in nano-dollars.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use chat::Usage;
use serde::Deserialize;

use crate::billing::plausibility::{MAX_CONTEXT_TOKENS, MAX_COST};
use crate::billing::worst_case_cost::WorstCaseCost;

/// The name of the local engine among the providers.
pub const LOCAL: &str = "local";

const MILLION: i128 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * 1_000_000;

/// What one model of one provider costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// `provider/model@date`: what records name it.
    pub name: Arc<str>,
    /// The model's context in tokens, and most tokens of an answer, where the row says them.
    pub(crate) context: Option<u64>,
    pub(crate) max_output: Option<u64>,
    base: UnitPrices,
    /// Other amounts in some tiers; the first that fits counts.
    tiers: Vec<(PriceTier, UnitPrices)>,
}

/// What is not paid by the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    /// Pictures, tasks; 1 for an answer in text.
    pub(crate) calls: u64,
    /// Of video.
    pub(crate) seconds: u64,
}

impl Default for Quantity {
    fn default() -> Self {
        Self { calls: 1, seconds: 0 }
    }
}

/// Nano-dollars per million tokens, per call, and per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct UnitPrices {
    input: i64,
    cached: i64,
    cache_write: i64,
    output: i64,
    reasoning: i64,
    per_call: i64,
    per_second: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PriceTier {
    /// Between two minutes of the UTC day; `until` before `from` reaches over midnight.
    Period { from: u32, until: u32 },
    /// The prompt has more tokens than this. All of the request is paid at these amounts.
    PromptAbove(u64),
}

impl PriceTier {
    fn matches(self, usage: &Usage, minute: u32) -> bool {
        match self {
            Self::Period { from, until } if from <= until => (from..until).contains(&minute),
            Self::Period { from, until } => minute >= from || minute < until,
            Self::PromptAbove(tokens) => usage.prompt_tokens > tokens,
        }
    }
}

impl Price {
    /// The cost of a call at `at` (microseconds since 1970) that used these tokens and quantity, at
    /// most [`MOST_COST`].
    pub(crate) fn cost(&self, usage: &Usage, quantity: Quantity, at: i64) -> i64 {
        i64::try_from(self.unclamped_cost(usage, quantity, at)).map_or(MAX_COST, |cost| cost.min(MAX_COST))
    }

    /// The same without a bound, which no count takes beyond an `i128`. Rounded once, half
    /// a nano-dollar up.
    pub(crate) fn unclamped_cost(&self, usage: &Usage, quantity: Quantity, at: i64) -> i128 {
        let amounts = self.unit_prices(usage, at);
        let cached = usage.cached_tokens.min(usage.prompt_tokens);
        let written = usage.cache_write_tokens.min(usage.prompt_tokens - cached);
        let reasoning = usage.reasoning_tokens.unwrap_or(0).min(usage.completion_tokens);
        let parts = [
            (usage.prompt_tokens - cached - written, amounts.input),
            (cached, amounts.cached),
            (written, amounts.cache_write),
            (usage.completion_tokens - reasoning, amounts.output),
            (reasoning, amounts.reasoning),
        ];
        let sum: i128 = parts.iter().map(|&(tokens, price)| i128::from(tokens) * i128::from(price)).sum();
        (sum + MILLION / 2) / MILLION + amounts.fixed_cost(quantity)
    }

    /// The most that a call at `at` can cost whose prompt has at most so many tokens.
    pub(crate) fn worst_case(&self, prompt: u64, quantity: Quantity, at: i64) -> WorstCaseCost {
        let minute = minute_of_day(at);
        let mut worst_case = WorstCaseCost::default();
        for (tier, amounts) in &self.tiers {
            match tier {
                PriceTier::PromptAbove(tokens) if prompt <= *tokens => continue,
                // It may be shorter.
                PriceTier::PromptAbove(_) => worst_case = worst_case.max(amounts.worst_case(prompt, quantity)),
                period if period.matches(&Usage::default(), minute) => {
                    return worst_case.max(amounts.worst_case(prompt, quantity));
                }
                PriceTier::Period { .. } => {}
            }
        }
        worst_case.max(self.base.worst_case(prompt, quantity))
    }

    /// Seconds have a price.
    pub(crate) fn is_per_second(&self) -> bool {
        self.tiers.iter().map(|(_, amounts)| amounts).chain([&self.base]).any(|amounts| amounts.per_second > 0)
    }

    /// The seconds that were paid for with `cost` by a call at `at`.
    pub(crate) fn paid_seconds(&self, cost: i64, at: i64) -> Option<u64> {
        let amounts = self.unit_prices(&Usage::default(), at);
        let seconds = cost.checked_sub(amounts.per_call)?.checked_div(amounts.per_second)?;
        u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)
    }

    /// Input, cached input and output in US dollars per million tokens, and dollars per call and
    /// per second; where no tier fits.
    pub fn dollars(&self) -> [f64; 5] {
        let UnitPrices { input, cached, output, per_call, per_second, .. } = self.base;
        [input, cached, output, per_call, per_second].map(|nano| nano as f64 / 1e9)
    }

    fn unit_prices(&self, usage: &Usage, at: i64) -> &UnitPrices {
        let minute = minute_of_day(at);
        let tier = self.tiers.iter().find(|(tier, _)| tier.matches(usage, minute));
        tier.map_or(&self.base, |(_, amounts)| amounts)
    }
}

impl UnitPrices {
    /// The part of the cost that does not depend on tokens.
    fn fixed_cost(&self, quantity: Quantity) -> i128 {
        i128::from(quantity.calls) * i128::from(self.per_call)
            + i128::from(quantity.seconds) * i128::from(self.per_second)
    }

    fn worst_case(&self, prompt: u64, quantity: Quantity) -> WorstCaseCost {
        let input = self.input.max(self.cached).max(self.cache_write);
        let prompt = (i128::from(prompt) * i128::from(input) + MILLION - 1) / MILLION;
        WorstCaseCost { fixed: self.fixed_cost(quantity), prompt, output_per_million: self.output.max(self.reasoning) }
    }
}

fn minute_of_day(at: i64) -> u32 {
    (at.rem_euclid(MICROS_PER_DAY) / 60_000_000) as u32
}

/// Every price, by provider and model.
#[derive(Clone, Debug, Default)]
pub struct Prices(HashMap<(String, String), Arc<Price>>);

/// Why a price file is refused.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("the price of `{model}`: {what}")]
    Row { model: String, what: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFile {
    #[serde(default)]
    price: Vec<PriceRow>,
}

/// One `[[price]]`: US dollars per million tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceRow {
    provider: String,
    model: String,
    source: String,
    date: String,
    /// The model's context, and most tokens of an answer.
    context: Option<u64>,
    max_output: Option<u64>,
    #[serde(flatten)]
    amounts: DollarPrices,
    #[serde(default)]
    period: Vec<PeriodRow>,
    #[serde(default)]
    above: Vec<AboveRow>,
}

/// Other amounts at some time of the day.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeriodRow {
    from: String,
    until: String,
    #[serde(flatten)]
    amounts: DollarPrices,
}

/// Other amounts for long prompts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AboveRow {
    prompt_tokens: u64,
    #[serde(flatten)]
    amounts: DollarPrices,
}

#[derive(Deserialize)]
struct DollarPrices {
    #[serde(default)]
    input: f64,
    /// Absent: as `input`.
    cached: Option<f64>,
    /// Absent: as `input`.
    cache_write: Option<f64>,
    #[serde(default)]
    output: f64,
    /// Absent: as `output`.
    reasoning: Option<f64>,
    #[serde(default)]
    per_call: f64,
    #[serde(default)]
    per_second: f64,
}

impl Prices {
    /// Reads the rows of a price file.
    ///
    /// # Errors
    /// Text that is not of this form, with line and column; an amount that is negative or beyond a
    /// million dollars; a time that is not `HH:MM`.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let mut prices = Self::default();
        for row in toml::from_str::<PriceFile>(text)?.price {
            prices.add(row)?;
        }
        Ok(prices)
    }

    /// Reads one row whose other fields are `fields`.
    ///
    /// # Errors
    /// As [`Prices::read`].
    pub fn from_fields(provider: &str, model: &str, mut fields: serde_json::Value) -> Result<Self, PriceError> {
        let mut prices = Self::default();
        let row_error = |what: String| PriceError::Row { model: model.to_owned(), what };
        if !fields.is_object() {
            return Err(row_error("it is no object".into()));
        }
        (fields["provider"], fields["model"]) = (provider.into(), model.into());
        prices.add(serde_json::from_value(fields).map_err(|error| row_error(error.to_string()))?)?;
        Ok(prices)
    }

    fn add(&mut self, row: PriceRow) -> Result<(), PriceError> {
        let row_error = |what| PriceError::Row { model: row.model.clone(), what };
        let period = |period: &PeriodRow| {
            let tier = PriceTier::Period { from: parse_minute(&period.from)?, until: parse_minute(&period.until)? };
            Ok((tier, period.amounts.to_nano_dollars()?))
        };
        let above =
            |above: &AboveRow| Ok((PriceTier::PromptAbove(above.prompt_tokens), above.amounts.to_nano_dollars()?));
        let mut sizes: Vec<_> = row.above.iter().collect();
        sizes.sort_by_key(|above| Reverse(above.prompt_tokens));
        if row.source.is_empty() {
            return Err(row_error("`source` says where it was read".into()));
        }
        let tokens = |name: &str, tokens: Option<u64>| match tokens {
            Some(tokens) if !(1..=MAX_CONTEXT_TOKENS).contains(&tokens) => {
                Err(row_error(format!("`{name}` takes 1 to {MAX_CONTEXT_TOKENS} tokens, not {tokens}")))
            }
            tokens => Ok(tokens),
        };
        let price = Price {
            context: tokens("context", row.context)?,
            max_output: tokens("max_output", row.max_output)?,
            name: format!("{}/{}@{}", row.provider, row.model, row.date).into(),
            base: row.amounts.to_nano_dollars().map_err(row_error)?,
            tiers: (row.period.iter().map(period).chain(sizes.into_iter().map(above)))
                .collect::<Result<_, _>>()
                .map_err(row_error)?,
        };
        self.0.insert((row.provider, row.model.to_lowercase()), Arc::new(price));
        Ok(())
    }

    /// Adds rows; one of the same provider and model replaces the older.
    pub fn extend(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }

    /// The price of a provider's model, in any tier, else that of all its models (`*`).
    pub fn find(&self, provider: &str, model: &str) -> Option<Arc<Price>> {
        let row = |model: String| self.0.get(&(provider.to_owned(), model)).cloned();
        row(model.to_lowercase()).or_else(|| row("*".into()))
    }
}

impl DollarPrices {
    fn to_nano_dollars(&self) -> Result<UnitPrices, String> {
        let nano = |name: &str, dollars: f64| match (0.0..=1e6).contains(&dollars) {
            true => Ok((dollars * 1e9).round() as i64),
            false => Err(format!("`{name}` takes 0 to 1000000 dollars, not {dollars}")),
        };
        Ok(UnitPrices {
            input: nano("input", self.input)?,
            cached: nano("cached", self.cached.unwrap_or(self.input))?,
            cache_write: nano("cache_write", self.cache_write.unwrap_or(self.input))?,
            output: nano("output", self.output)?,
            reasoning: nano("reasoning", self.reasoning.unwrap_or(self.output))?,
            per_call: nano("per_call", self.per_call)?,
            per_second: nano("per_second", self.per_second)?,
        })
    }
}

/// The minute of the day that `HH:MM` names.
fn parse_minute(text: &str) -> Result<u32, String> {
    let parsed = || {
        let (hours, minutes) = text.split_once(':')?;
        let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
    };
    parsed().ok_or_else(|| format!("`{text}` is no time of the day such as 16:30 (UTC)"))
}

#[cfg(test)]
mod tests;
