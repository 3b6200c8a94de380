//! The rows of what models take: the built-in ones, and those of the configuration.

use std::sync::{Arc, LazyLock};

use serde::Deserialize;
use wire::model_rules::{ModelRow, RequestRules};
use wire::upstream::Dialect;

/// The built-in rows, parsed once.
static BUILT_IN: LazyLock<Arc<[ModelRow]>> = LazyLock::new(|| {
    let rows = ModelRows::parse(include_str!("../../../models.toml")).expect("a test reads the built-in file");
    rows.0
});

/// Rows in the order in which they apply: a later one wins.
#[derive(Clone, Debug)]
pub struct ModelRows(Arc<[ModelRow]>);

/// Why rows cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelRowError {
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    #[error("the row for {models}: {reason}")]
    Row { models: String, reason: String },
}

impl Default for ModelRows {
    /// The built-in rows.
    fn default() -> Self {
        Self(BUILT_IN.clone())
    }
}

impl ModelRows {
    /// Parses a file of rows in TOML.
    ///
    /// # Errors
    /// Invalid TOML, with line and column; a row that [`ModelRow::validate`] refuses.
    pub fn parse(text: &str) -> Result<Self, ModelRowError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            models: Vec<ModelRow>,
        }
        let rows = toml::from_str::<File>(text)?.models;
        rows.iter().try_for_each(check)?;
        Ok(Self(rows.into()))
    }

    /// The built-in rows, followed by those of the configuration, which win.
    ///
    /// # Errors
    /// A row that [`ModelRow::validate`] refuses.
    pub fn with_configured(rows: &[ModelRow]) -> Result<Self, ModelRowError> {
        rows.iter().try_for_each(check)?;
        Ok(Self(BUILT_IN.iter().chain(rows).cloned().collect()))
    }

    /// The rules for a model of a provider, whose own row comes last.
    pub(crate) fn rules_for(
        &self,
        provider: &str,
        preset: Option<&str>,
        dialect: Dialect,
        model: &str,
        own: &ModelRow,
    ) -> RequestRules {
        let is_for = |row: &ModelRow, name: &str| row.matches(provider, preset, dialect, name);
        let like = self.0.iter().filter(|row| is_for(row, model)).filter_map(|row| row.like.as_deref()).next_back();
        let rows = self.0.iter().filter(|row| is_for(row, model) || like.is_some_and(|like| is_for(row, like)));
        RequestRules::combine(rows.chain([own]))
    }
}

fn check(row: &ModelRow) -> Result<(), ModelRowError> {
    row.validate().map_err(|reason| {
        let models: Vec<_> = row.patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
        ModelRowError::Row { models: if models.is_empty() { "no model".into() } else { models.join(", ") }, reason }
    })
}

#[cfg(test)]
mod tests;
