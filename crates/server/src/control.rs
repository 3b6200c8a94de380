//! The interface through which the admin API reads and changes the configuration.

use chat::{BoxFuture, Error};
use gateway::ProviderTest;
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
    /// The reason why the models of a provider could not be listed; `None` since they could, and
    /// for other settings.
    pub last_error: Option<String>,
}

/// Reads and reloads the configuration.
pub trait ConfigController: Send + Sync {
    /// The settings in force, by their sections, each with its origin. Without secrets.
    ///
    /// # Errors
    /// `Internal` for a setting that cannot be written.
    fn config(&self) -> Result<Value, Error>;

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

    /// Tests a provider.
    ///
    /// # Errors
    /// `NotFound`; `RateLimited` while another test of it runs.
    fn test_provider(&self, name: String) -> BoxFuture<'_, Result<ProviderTest, Error>>;
}
