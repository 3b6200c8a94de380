//! The limits of a key as the body of a request.

use chat::Error;
use gateway::IpNetwork;
use serde::Deserialize;
use store::Limits;

use super::units::Dollars;

/// The end of the year 9999, in seconds since 1970.
const MAX_TIMESTAMP: i64 = 253_402_300_799;

/// Distinguishes a field that is null, which removes a limit, from an absent one, which keeps it.
fn double_option<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
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
}

impl LimitsBody {
    /// Returns `current` with the changes of this body.
    ///
    /// # Errors
    /// `InvalidRequest` for a value out of range.
    pub(super) fn apply_to(self, current: Limits) -> Result<Limits, Error> {
        let positive = |name: &str, limit: Option<Option<i64>>, current| match limit {
            Some(Some(limit)) if !(1..=1_000_000_000_000).contains(&limit) => {
                Err(Error::invalid(format!("Invalid '{name}': expected a number from 1 to 1000000000000")))
            }
            limit => Ok(limit.unwrap_or(current)),
        };
        if let Some(Some(models)) = &self.models
            && let Some(invalid) = models.iter().find(|model| !store::is_model_id(model))
        {
            return Err(Error::invalid(format!("Invalid 'models': {invalid:.64?} is not a model id")));
        }
        if let Some(Some(at)) = self.expires_at
            && !(1..=MAX_TIMESTAMP).contains(&at)
        {
            return Err(Error::invalid(format!(
                "Invalid 'expires_at': expected seconds since 1970, from 1 to {MAX_TIMESTAMP}"
            )));
        }
        if let Some(Some(networks)) = &self.networks
            && let Some(invalid) = networks.iter().find(|network| IpNetwork::parse(network).is_none())
        {
            return Err(Error::invalid(format!(
                "Invalid 'networks': `{invalid:.64}` is not an address or a range such as 10.0.0.0/8"
            )));
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
