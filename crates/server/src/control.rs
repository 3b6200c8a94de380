//! The interface through which the admin API reads and changes the configuration.

use chat::{BoxFuture, Error};
use serde_json::Value;

/// The kinds of settings that the admin API changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    Provider,
    Alias,
    Price,
}

impl SettingKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Provider, Self::Alias, Self::Price];

    /// The name of the kind in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Alias => "alias",
            Self::Price => "price",
        }
    }
}

/// The origin of a setting.
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
    /// The reason why it is not active; `None` when it is.
    pub disabled_reason: Option<String>,
}

/// Reads and reloads the configuration.
pub trait ConfigController: Send + Sync {
    /// The active configuration, without secrets.
    fn config(&self) -> Value;

    /// The settings of a kind, active and disabled.
    fn settings(&self, kind: SettingKind) -> Vec<SettingEntry>;

    /// Checks whether a setting could be used.
    ///
    /// # Errors
    /// The error that the API returns for an unusable value.
    fn check(&self, kind: SettingKind, name: &str, value: &Value) -> Result<(), Error>;

    /// Reads the file and the store again. On an error the previous configuration stays active.
    ///
    /// # Errors
    /// The error that the API returns for an unusable configuration.
    fn reload(&self) -> BoxFuture<'_, Result<(), Error>>;
}
