//! The overdraft policy: how far a request may take a budget below zero.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::billing::plausibility::MAX_COST;
use crate::billing::usage_estimate::UsageEstimate;
use crate::billing::worst_case_cost::WorstCaseCost;
use crate::limits::budget::{Budget, BudgetRequest};
use crate::limits::key_limits::{ReservationRequest, available_budget};
use crate::routing::target::Target;

/// The most tokens of an answer whose request has no output limit and whose model has no known one.
pub(crate) const DEFAULT_MAX_OUTPUT_TOKENS: u64 = 1 << 17;

/// The setting `[gateway] overdraft`. A fixed price, which is known beforehand, is never paid by an
/// overdraft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overdraft {
    /// A request is admitted while the budget is above zero. The part of its cost that the budget
    /// does not cover becomes debt.
    #[default]
    LastRequest,
    /// A request is admitted if its worst case is at most what is left plus this many nano-dollars.
    AtMost(i64),
}

impl FromStr for Overdraft {
    type Err = String;

    /// Parses `last-request`, or US dollars such as `0` or `0.5`.
    ///
    /// # Errors
    /// Other text, or an amount above $1,000,000.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "last-request" {
            return Ok(Self::LastRequest);
        }
        let amount = store::money::parse(text).ok().filter(|amount| *amount <= MAX_COST);
        amount.map(Self::AtMost).ok_or_else(|| {
            format!("`overdraft` takes \"last-request\" or US dollars from 0 to 1000000, such as 0.5, not `{text:.64}`")
        })
    }
}

impl fmt::Display for Overdraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastRequest => f.write_str("last-request"),
            Self::AtMost(amount) => f.write_str(&store::money::format(*amount, 9)),
        }
    }
}

impl Serialize for Overdraft {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Overdraft {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Setting {
            Whole(i64),
            Dollars(f64),
            Text(String),
        }
        let text = match Setting::deserialize(deserializer)? {
            Setting::Whole(dollars) => dollars.to_string(),
            // The shortest text of the number, which is how it was written.
            Setting::Dollars(dollars) => dollars.to_string(),
            Setting::Text(text) => text,
        };
        text.parse().map_err(D::Error::custom)
    }
}

impl Overdraft {
    /// The amounts that a request needs to be admitted. `estimated_cost` is in nano-dollars.
    pub(crate) fn budget_request(
        self,
        worst_case: WorstCaseCost,
        estimated_cost: i64,
        estimate: &UsageEstimate,
        targets: &[Target],
    ) -> BudgetRequest {
        let fixed = worst_case.fixed.min(MAX_COST.into()) as i64;
        let clamped = |amount: i64| amount.min(MAX_COST);
        match self {
            Self::LastRequest => {
                BudgetRequest { amount: estimated_cost.max(fixed), minimum: fixed.max(1), overdraft: 0 }
            }
            // The whole cost is fixed.
            Self::AtMost(_) if !estimate.is_text() => {
                let amount = clamped(worst_case.with_output(0));
                BudgetRequest { amount, minimum: amount, overdraft: 0 }
            }
            Self::AtMost(overdraft) => {
                let (max_tokens, min_tokens) = match estimate.is_unbounded() {
                    true => (
                        estimate
                            .default_output_tokens
                            .or_else(|| max_answer_tokens(targets))
                            .unwrap_or(DEFAULT_MAX_OUTPUT_TOKENS),
                        1,
                    ),
                    false => (estimate.max_output_tokens.unwrap_or(0), estimate.max_output_tokens.unwrap_or(0)),
                };
                let cost_with_output =
                    |tokens: u64| clamped(worst_case.with_output(tokens.saturating_mul(estimate.answers)));
                // The fixed part must be paid without the overdraft.
                let fixed_minimum = if fixed > 0 { fixed.saturating_add(overdraft) } else { 0 };
                let minimum = cost_with_output(min_tokens).max(fixed_minimum);
                BudgetRequest { amount: cost_with_output(max_tokens).max(minimum), minimum, overdraft }
            }
        }
    }

    /// The output limit of each answer for a request without one, in tokens: what `reserved`
    /// nano-dollars pay for. `None` where they pay for the longest answer of each target.
    pub(crate) fn output_cap(
        self,
        worst_case: WorstCaseCost,
        reserved: i64,
        estimate: &UsageEstimate,
        targets: &[Target],
    ) -> Option<u64> {
        if self == Self::LastRequest || !estimate.is_unbounded() {
            return None;
        }
        let affordable = worst_case.affordable_tokens(reserved)? / estimate.answers.max(1);
        let limit = max_answer_tokens(targets);
        if estimate.default_output_tokens.is_none() && limit.is_some_and(|limit| affordable >= limit) {
            return None;
        }
        // Providers refuse an output limit that does not fit into the context with the prompt.
        let contexts = targets.iter().filter_map(Target::context);
        let room = contexts.min().map_or(u64::MAX, |context| context.saturating_sub(estimate.prompt_tokens));
        let limit = estimate.default_output_tokens.into_iter().chain(limit).min().unwrap_or(DEFAULT_MAX_OUTPUT_TOKENS);
        Some(affordable.min(limit).min(room).max(1))
    }

    /// The largest `max_tokens` with which a refused request would be admitted; `None` where a
    /// smaller one would not help.
    pub(crate) fn affordable_max_tokens(
        self,
        worst_case: WorstCaseCost,
        budgets: &[Arc<Budget>],
        estimate: &UsageEstimate,
    ) -> Option<u64> {
        if self == Self::LastRequest || estimate.is_unbounded() {
            return None;
        }
        let tokens = worst_case.affordable_tokens(available_budget(budgets)?)? / estimate.answers.max(1);
        (tokens > 0 && tokens < estimate.max_output_tokens?).then_some(tokens)
    }
}

/// The longest answer of any target, in tokens; `None` unless it is known of all.
fn max_answer_tokens(targets: &[Target]) -> Option<u64> {
    targets.iter().map(Target::max_output_tokens).collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// The tokens and the amounts that a request at `at` reserves.
pub(crate) fn reservation_request(estimate: &UsageEstimate, budget: BudgetRequest, at: i64) -> ReservationRequest {
    ReservationRequest { tokens: estimate.rate_limited_tokens(), budget, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_a_word_or_dollars() {
        let read = |json: &str| serde_json::from_str::<Overdraft>(json).map_err(|error| error.to_string());
        assert_eq!(read("\"last-request\""), Ok(Overdraft::LastRequest));
        assert_eq!((read("0"), read("0.5")), (Ok(Overdraft::AtMost(0)), Ok(Overdraft::AtMost(500_000_000))));
        assert_eq!(
            (read("\"0.25\""), read("1000000")),
            (Ok(Overdraft::AtMost(250_000_000)), Ok(Overdraft::AtMost(MAX_COST)))
        );
        for bad in ["-1", "1000001", "1e300", "\"unlimited\"", "\"\"", "\"NaN\"", "-0.5"] {
            assert!(read(bad).unwrap_err().contains("last-request"), "{bad}");
        }
        assert_eq!(
            (Overdraft::LastRequest.to_string(), Overdraft::AtMost(1).to_string()),
            ("last-request".into(), "0.000000001".into())
        );
    }
}
