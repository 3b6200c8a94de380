//! The settings of a remote provider.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::upstream::Dialect;

use crate::builtin_providers::CloudService;

/// `[[providers]]`: a remote provider. Its API key stays outside the file. Also the JSON of the
/// admin API and of the store, where `preset` has its former name `row`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// A built-in provider (`cachalot provider list`), or a name of one's own.
    pub name: String,
    /// The built-in provider that this is an instance of, where `name` is another.
    #[serde(rename(serialize = "row"), alias = "row")]
    pub preset: Option<String>,
    pub base_url: Option<String>,
    pub dialect: Option<Dialect>,
    /// The cloud that it is one of: `azure`, `vertex` or `bedrock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<CloudService>,
    /// The version of Azure's API, whose paths then have deployments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Bedrock's region; that of `base_url` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The environment variable that holds the id of Bedrock's access key, whose secret `key_env`
    /// has; `AWS_ACCESS_KEY_ID` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_env: Option<String>,
    /// The environment variable that holds the token of a temporary key of Bedrock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token_env: Option<String>,
    /// The environment variable that holds the API key.
    pub key_env: Option<String>,
    /// Whether its address may be private.
    pub private: Option<bool>,
    /// Model ids that are offered; the provider's own list when absent.
    pub models: Option<Vec<String>>,
    /// Further ids that are offered, and the provider's names of these models.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// The path of an engine's metrics on its host; when empty, they are not requested.
    pub metrics: Option<String>,
    /// Seconds until the first byte of an answer; 60 when absent.
    pub timeout_s: Option<u64>,
    /// Parameters that are set in every chat, whatever the request has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Value>,
    /// Parameters that are left out of every chat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Parameters of the query of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Where several providers offer a model, the one with the lowest priority comes first.
    #[serde(default)]
    pub priority: i64,
    /// Providers of equal priority share the requests in proportion to this.
    #[serde(default = "default_weight")]
    pub weight: u32,
}

fn default_weight() -> u32 {
    1
}
