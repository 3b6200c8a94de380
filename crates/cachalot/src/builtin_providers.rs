//! The built-in providers of `providers.toml`: the base URL of each, its dialect, and the
//! environment variable that usually holds its API key.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use wire::upstream::Dialect;

const BUILTIN_PROVIDERS_TOML: &str = include_str!("../../../providers.toml");

/// A cloud that serves the models of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudService {
    /// Azure OpenAI.
    Azure,
    /// Vertex AI of Google Cloud.
    Vertex,
    /// Amazon Bedrock.
    Bedrock,
}

/// A built-in provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuiltinProvider {
    pub(crate) name: String,
    pub(crate) base_url: String,
    pub(crate) dialect: Dialect,
    /// The cloud that it is one of. Its `base_url` is an example then, and has names in capitals.
    pub(crate) service: Option<CloudService>,
    /// `None` for engines, which need no key.
    pub(crate) key_env: Option<String>,
    /// Whether its address may be private: an engine in the operator's own network.
    #[serde(default)]
    pub(crate) private: bool,
    /// The path of an engine's metrics on its host.
    pub(crate) metrics: Option<String>,
    /// `fake`: tested against a fake of the service. `untested`: written from its documentation.
    pub(crate) status: String,
}

impl BuiltinProvider {
    /// The status in words.
    pub(crate) fn status_text(&self) -> &'static str {
        if self.status == "fake" { "tested with a simulated server" } else { "not verified against the service" }
    }
}

/// All built-in providers, in the order of the file.
pub(crate) fn builtin_providers() -> &'static [BuiltinProvider] {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        provider: Vec<BuiltinProvider>,
    }
    static READ: LazyLock<Vec<BuiltinProvider>> = LazyLock::new(|| {
        toml::from_str::<File>(BUILTIN_PROVIDERS_TOML).expect("a test reads the built-in file").provider
    });
    &READ
}

/// Whether a provider of this name is built in.
pub fn is_builtin(name: &str) -> bool {
    builtin_providers().iter().any(|builtin| builtin.name == name)
}

/// Whether the built-in provider of this name is one of a cloud, whose address is the operator's.
pub fn is_cloud(name: &str) -> bool {
    builtin_providers().iter().any(|builtin| builtin.name == name && builtin.service.is_some())
}

/// Whether the built-in provider of this name needs no API key.
pub fn needs_no_key(name: &str) -> bool {
    builtin_providers().iter().any(|builtin| builtin.name == name && builtin.key_env.is_none())
}

/// The variable that usually holds the API key of the built-in provider of this name.
pub fn key_env_of(name: &str) -> Option<&'static str> {
    builtin_providers().iter().find(|builtin| builtin.name == name)?.key_env.as_deref()
}
