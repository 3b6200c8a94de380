//! Prices of models. Money is integer: prices in nano-dollars per million tokens, costs
//! in nano-dollars.

use std::collections::HashMap;
use std::sync::Arc;

use self::file::{PriceFile, PriceRow};

mod batch;
mod cost_lines;
mod file;
mod price;

pub(crate) use batch::BatchTotals;
pub use file::PriceError;
pub(crate) use price::Quantity;
pub use price::{CostLine, Price};

/// The provider name of the local engine.
pub const LOCAL: &str = "local";

/// All prices, by provider and model.
#[derive(Clone, Debug, Default)]
pub struct Prices(HashMap<(String, String), Arc<Price>>);

impl Prices {
    /// Parses a price file in TOML.
    ///
    /// # Errors
    /// Invalid TOML, with line and column; a negative amount or one above a million dollars; a time
    /// that is not `HH:MM`.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let mut prices = Self::default();
        for row in toml::from_str::<PriceFile>(text)?.price {
            prices.add(row)?;
        }
        Ok(prices)
    }

    /// Parses one row, of which `fields` has all but `provider` and `model`.
    ///
    /// # Errors
    /// As [`Prices::parse`].
    pub fn from_fields(provider: &str, model: &str, mut fields: serde_json::Value) -> Result<Self, PriceError> {
        let mut prices = Self::default();
        let row_error = |what: String| PriceError::Row { model: model.to_owned(), what };
        if !fields.is_object() {
            return Err(row_error("it is not an object".into()));
        }
        fields["provider"] = provider.into();
        fields["model"] = model.into();
        prices.add(serde_json::from_value(fields).map_err(|error| row_error(error.to_string()))?)?;
        Ok(prices)
    }

    fn add(&mut self, row: PriceRow) -> Result<(), PriceError> {
        let price = row.to_price()?;
        self.0.insert((row.provider, row.model.to_lowercase()), Arc::new(price));
        Ok(())
    }

    /// Adds the prices of `newer`, which replace those of the same provider and model.
    pub fn extend(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }

    /// Whether a model of this provider has a price.
    pub fn has_provider(&self, provider: &str) -> bool {
        self.0.keys().any(|(name, _)| name == provider)
    }

    /// The price with this name, as records have it.
    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Price>> {
        self.0.values().find(|price| &*price.name == name).cloned()
    }

    /// The price of a model, in any case of its letters, else that of all models of the
    /// provider (`*`).
    pub fn find(&self, provider: &str, model: &str) -> Option<Arc<Price>> {
        let row = |model: String| self.0.get(&(provider.to_owned(), model)).cloned();
        row(model.to_lowercase()).or_else(|| row("*".into()))
    }
}

#[cfg(test)]
mod tests;
