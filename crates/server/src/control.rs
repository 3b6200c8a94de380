//! The interface through which the admin API reads and changes the configuration.

use chat::{BoxFuture, Error};
use serde_json::Value;

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    Provider,
    Alias,
    Price,
}

impl SettingKind {
    pub const ALL: [Self; 3] = [Self::Provider, Self::Alias, Self::Price];

    /// What the store calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Alias => "alias",
            Self::Price => "price",
        }
    }
}

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingSource {
    File,
    Store,
}

/// One setting.
#[derive(Clone, Debug)]
pub struct SettingEntry {
    pub name: String,
    pub value: Value,
    pub source: SettingSource,
    /// Why it is not in force.
    pub disabled_reason: Option<String>,
}

/// Whoever has read the configuration, and can read it again.
pub trait ConfigController: Send + Sync {
    /// What is in force, without secrets.
    fn config(&self) -> Value;

    /// The settings of a kind, in force or disabled.
    fn settings(&self, kind: SettingKind) -> Vec<SettingEntry>;

    /// Whether a setting could be used.
    ///
    /// # Errors
    /// The error that the API returns for a value that cannot be used.
    fn check(&self, kind: SettingKind, name: &str, value: &Value) -> Result<(), Error>;

    /// Reads file and store again. What cannot be used leaves all as it was.
    ///
    /// # Errors
    /// The error that the API returns for a configuration that cannot be used.
    fn reload(&self) -> BoxFuture<'_, Result<(), Error>>;
}
