//! The rows of a price file.

use std::cmp::Reverse;
use std::fmt;

use chat::{ExtraCount, ServiceTier, Total};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::price::{Price, PriceTier, UnitPrices};
use crate::billing::plausibility::MAX_CONTEXT_TOKENS;

/// An error in a price file.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("the price of `{model}`: {what}")]
    Row { model: String, what: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceFile {
    #[serde(default)]
    pub(super) price: Vec<PriceRow>,
}

/// One `[[price]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceRow {
    pub(super) provider: String,
    pub(super) model: String,
    source: String,
    date: String,
    /// The context of the model, in tokens.
    context: Option<u64>,
    /// The longest answer of the model, in tokens.
    max_output: Option<u64>,
    /// The part of these prices that requests of a batch cost, such as 0.5. Absent: all of it.
    batch: Option<f64>,
    #[serde(flatten)]
    prices: DollarPrices,
    #[serde(flatten)]
    extra: ExtraPrices,
    #[serde(default)]
    period: Vec<PeriodRow>,
    #[serde(default)]
    above: Vec<AboveRow>,
    #[serde(default)]
    service: Vec<ServiceRow>,
}

/// Other prices during a period of the day.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeriodRow {
    from: String,
    until: String,
    #[serde(flatten)]
    prices: DollarPrices,
    #[serde(flatten)]
    extra: ExtraPrices,
}

/// Other prices for long prompts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AboveRow {
    prompt_tokens: u64,
    #[serde(flatten)]
    prices: DollarPrices,
    #[serde(flatten)]
    extra: ExtraPrices,
}

/// Other prices of a service tier: `flex` or `priority`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceRow {
    tier: String,
    /// The prompt has more tokens than this.
    prompt_tokens: Option<u64>,
    #[serde(flatten)]
    prices: DollarPrices,
    #[serde(flatten)]
    extra: ExtraPrices,
}

/// Prices in US dollars per million tokens, per call, and per second.
#[derive(Deserialize)]
struct DollarPrices {
    #[serde(default)]
    input: f64,
    /// Absent: as `input`.
    cached: Option<f64>,
    /// Absent: as `input`.
    cache_write: Option<f64>,
    /// Absent: twice `input` where `cache_write` costs more than `input`, as Anthropic has it, else
    /// as `cache_write`.
    cache_write_1h: Option<f64>,
    #[serde(default)]
    output: f64,
    /// Absent: as `output`.
    reasoning: Option<f64>,
    #[serde(default)]
    per_call: f64,
    #[serde(default)]
    per_second: f64,
}

impl PriceRow {
    pub(super) fn to_price(&self) -> Result<Price, PriceError> {
        let row_error = |what| PriceError::Row { model: self.model.clone(), what };
        if self.source.is_empty() {
            return Err(row_error("`source` takes the place where the price was read".into()));
        }
        let tokens = |name: &str, tokens: Option<u64>| match tokens {
            Some(tokens) if !(1..=MAX_CONTEXT_TOKENS).contains(&tokens) => {
                Err(row_error(format!("`{name}` takes 1 to {MAX_CONTEXT_TOKENS} tokens, not {tokens}")))
            }
            tokens => Ok(tokens),
        };
        let batch = self.batch.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&batch) {
            return Err(row_error(format!(
                "`batch` takes 0 to 1, the part of the price that batches cost, not {batch}"
            )));
        }
        Ok(Price {
            batch_millionths: (batch * 1e6).round() as i64,
            context: tokens("context", self.context)?,
            max_output: tokens("max_output", self.max_output)?,
            name: format!("{}/{}@{}", self.provider, self.model, self.date).into(),
            base: self.prices.to_nano_dollars(&self.extra).map_err(row_error)?,
            tiers: self.tiers().map_err(row_error)?,
        })
    }

    /// Service tiers first, then periods, then the tiers of long prompts, the longest first.
    fn tiers(&self) -> Result<Vec<(PriceTier, UnitPrices)>, String> {
        let service = |row: &&ServiceRow| {
            let tier = ServiceTier::parse(&row.tier);
            let tier = tier.ok_or_else(|| format!("`tier` takes flex or priority, not `{}`", row.tier))?;
            let prompt_tokens = row.prompt_tokens.map_or(0, |tokens| tokens.saturating_add(1));
            Ok((PriceTier::Service { tier, prompt_tokens }, row.prices.to_nano_dollars(&row.extra)?))
        };
        let period = |row: &PeriodRow| {
            let tier = PriceTier::Period { from: parse_minute(&row.from)?, until: parse_minute(&row.until)? };
            Ok((tier, row.prices.to_nano_dollars(&row.extra)?))
        };
        let above =
            |row: &&AboveRow| Ok((PriceTier::PromptAbove(row.prompt_tokens), row.prices.to_nano_dollars(&row.extra)?));
        let mut services: Vec<_> = self.service.iter().collect();
        services.sort_by_key(|row| Reverse(row.prompt_tokens));
        let mut longest_first: Vec<_> = self.above.iter().collect();
        longest_first.sort_by_key(|row| Reverse(row.prompt_tokens));
        let services = services.iter().map(service);
        services.chain(self.period.iter().map(period)).chain(longest_first.iter().map(above)).collect()
    }
}

impl DollarPrices {
    fn to_nano_dollars(&self, extra: &ExtraPrices) -> Result<UnitPrices, String> {
        let nano = |name: &str, dollars: f64| match (0.0..=1e6).contains(&dollars) {
            true => Ok((dollars * 1e9).round() as i64),
            false => Err(format!("`{name}` takes 0 to 1000000 dollars, not {dollars}")),
        };
        let cache_write = self.cache_write.unwrap_or(self.input);
        let cache_write_1h = if cache_write > self.input { 2.0 * self.input } else { cache_write };
        let mut extra_prices = [0; ExtraCount::ALL.len()];
        for ((price, count), dollars) in extra_prices.iter_mut().zip(&ExtraCount::ALL).zip(extra.0) {
            let of_text = match count.part_of {
                Some(Total::Prompt) => self.input,
                Some(Total::Completion) => self.output,
                None => 0.0,
            };
            *price = nano(count.price, dollars.unwrap_or(of_text))?;
        }
        Ok(UnitPrices {
            extra: extra_prices,
            input: nano("input", self.input)?,
            cached: nano("cached", self.cached.unwrap_or(self.input))?,
            cache_write: nano("cache_write", cache_write)?,
            cache_write_1h: nano("cache_write_1h", self.cache_write_1h.unwrap_or(cache_write_1h))?,
            output: nano("output", self.output)?,
            reasoning: nano("reasoning", self.reasoning.unwrap_or(self.output))?,
            per_call: nano("per_call", self.per_call)?,
            per_second: nano("per_second", self.per_second)?,
        })
    }
}

/// The prices of [`ExtraCount::ALL`]. An absent price is that of text, and 0 for a count that is
/// not a part of the tokens.
struct ExtraPrices([Option<f64>; ExtraCount::ALL.len()]);

impl<'de> Deserialize<'de> for ExtraPrices {
    fn deserialize<D: Deserializer<'de>>(row: D) -> Result<Self, D::Error> {
        const NAMES: [&str; ExtraCount::ALL.len()] = {
            let mut names = [""; ExtraCount::ALL.len()];
            let mut index = 0;
            while index < names.len() {
                names[index] = ExtraCount::ALL[index].price;
                index += 1;
            }
            names
        };
        // Of a flattened row, this takes the fields with these names and no others.
        row.deserialize_struct("ExtraPrices", &NAMES, ExtraPricesVisitor)
    }
}

struct ExtraPricesVisitor;

impl<'de> Visitor<'de> for ExtraPricesVisitor {
    type Value = ExtraPrices;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("prices")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> Result<ExtraPrices, A::Error> {
        let mut prices = ExtraPrices([None; ExtraCount::ALL.len()]);
        while let Some(name) = row.next_key::<String>()? {
            match ExtraCount::ALL.iter().position(|count| count.price == name) {
                Some(index) => prices.0[index] = row.next_value()?,
                None => _ = row.next_value::<IgnoredAny>()?,
            }
        }
        Ok(prices)
    }
}

/// The minute of the day of `HH:MM`.
fn parse_minute(text: &str) -> Result<u32, String> {
    let parsed = || {
        let (hours, minutes) = text.split_once(':')?;
        let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
    };
    parsed().ok_or_else(|| format!("`{text}` is not a time of the day such as 16:30 (UTC)"))
}
