//! The limits of a key as the body of a request.

use chat::Error;
use gateway::{Gateway, IpNetwork};
use serde::Deserialize;
use store::{Limits, now_micros};

use super::budgets::BudgetBody;
use super::errors::invalid_field;
use super::units::{Dollars, unix_seconds};

/// The end of the year 9999, in seconds since 1970.
const MAX_TIMESTAMP: i64 = 253_402_300_799;

/// Distinguishes a field that is null, which removes a limit, from an absent one, which keeps it.
pub(super) fn double_option<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The limits of a key. Null removes a limit; an absent field keeps it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsBody {
    #[serde(deserialize_with = "double_option")]
    models: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "double_option")]
    networks: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "double_option")]
    budget: Option<Option<Dollars>>,
    #[serde(deserialize_with = "double_option")]
    requests_per_minute: Option<Option<i64>>,
    #[serde(deserialize_with = "double_option")]
    tokens_per_minute: Option<Option<i64>>,
    #[serde(deserialize_with = "double_option")]
    concurrency: Option<Option<i64>>,
    /// Seconds since 1970.
    #[serde(deserialize_with = "double_option")]
    expires_at: Option<Option<i64>>,
    /// The budgets with a period, which replace those of the key. They are not a
    /// part of [`Limits`].
    pub(super) budgets: Option<Vec<BudgetBody>>,
}

impl LimitsBody {
    /// Returns `current` with the changes of this body. A model or a time that `current` has
    /// already stays valid.
    ///
    /// # Errors
    /// `InvalidRequest` that names the field, for a value out of range, a model that `gateway` does
    /// not have, a time in the past.
    pub(super) fn apply_to(self, current: Limits, gateway: &Gateway) -> Result<Limits, Error> {
        let invalid = |field: &str, reason: String| invalid_field(field, format!("Invalid '{field}': {reason}"));
        let positive = |name: &str, limit: Option<Option<i64>>, current| match limit {
            Some(Some(limit)) if !(1..=1_000_000_000_000).contains(&limit) => {
                Err(invalid(name, "expected a number from 1 to 1000000000000".into()))
            }
            limit => Ok(limit.unwrap_or(current)),
        };
        for model in self.models.iter().flatten().flatten() {
            if !store::is_model_id(model) {
                return Err(invalid("models", format!("{model:.64?} is not a model id")));
            }
            let is_kept = current.models.as_ref().is_some_and(|models| models.contains(model));
            if !is_kept && !gateway.has_model(model) {
                return Err(invalid("models", format!("`{model:.64}` is not a model of this server")));
            }
        }
        if let Some(Some(at)) = self.expires_at {
            if !(1..=MAX_TIMESTAMP).contains(&at) {
                return Err(invalid("expires_at", format!("expected seconds since 1970, from 1 to {MAX_TIMESTAMP}")));
            }
            if at <= unix_seconds(now_micros()) && Some(at) != current.expires_at.map(unix_seconds) {
                return Err(invalid("expires_at", "the time is in the past".into()));
            }
        }
        for network in self.networks.iter().flatten().flatten() {
            if IpNetwork::parse(network).is_none() {
                let reason = format!("`{network:.64}` is not an address or a range such as 10.0.0.0/8");
                return Err(invalid("networks", reason));
            }
        }
        let budget = match self.budget {
            Some(budget) => budget.map(|budget| budget.nano()).transpose()?,
            None => current.budget,
        };
        let expires_at = match self.expires_at {
            Some(at) => at.map(|at| at.saturating_mul(1_000_000)),
            None => current.expires_at,
        };
        Ok(Limits {
            models: self.models.unwrap_or(current.models),
            networks: self.networks.unwrap_or(current.networks),
            budget,
            requests_per_minute: positive(
                "requests_per_minute",
                self.requests_per_minute,
                current.requests_per_minute,
            )?,
            tokens_per_minute: positive("tokens_per_minute", self.tokens_per_minute, current.tokens_per_minute)?,
            concurrency: positive("concurrency", self.concurrency, current.concurrency)?,
            expires_at,
        })
    }
}
