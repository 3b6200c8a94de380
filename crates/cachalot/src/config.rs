//! The configuration file: one struct for the whole TOML file. Command line switches win over it;
//! `cachalot.example.toml` shows every setting with its default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use gateway::ATTEMPTS_DAYS;
use serde::{Deserialize, Serialize};
use server::{GuideAccess, SignupAccess};
use wire::model_rules::ModelRow;

use crate::paths::user_config_file;
use crate::renamed_settings::warn_of_former_names;
use crate::suggestion::nearest;

mod config_file;
mod engine_settings;
mod path_text;
mod provider_settings;
mod secret_text;
mod switches;

pub use config_file::ConfigFile;
pub use engine_settings::Engine;
pub use provider_settings::ProviderSettings;
pub use secret_text::SecretText;
pub use switches::Switches;

/// The whole file. Every section and setting is optional.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub server: Server,
    pub engine: Engine,
    pub cache: Cache,
    pub compat: Compat,
    pub store: Store,
    pub gateway: Gateway,
    pub telemetry: Telemetry,
    pub console: Console,
    /// Remote providers.
    #[serde(skip_serializing)]
    pub providers: Vec<ProviderSettings>,
    /// Rows of what models take, which win over the built-in ones.
    #[serde(skip_serializing)]
    pub models: Vec<ModelRow>,
    /// Further model ids, and the ids they stand for.
    #[serde(skip_serializing)]
    pub aliases: BTreeMap<String, String>,
    /// The file that this was read from.
    #[serde(skip)]
    pub file: Option<ConfigFile>,
    /// The switches that were applied.
    #[serde(skip)]
    pub switches: Switches<Config>,
    /// The section `[store]` before they were.
    #[serde(skip)]
    store_of_file: Option<Store>,
}

/// `[server]`: address, keys, times, memory of requests.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address to listen on.
    pub listen: String,
    /// API keys. Without any, a loopback address serves all, and another one refuses to start.
    pub keys: Vec<Key>,
    /// The environment variable with the admin token, which the data folder keeps when absent.
    pub admin_token_env: Option<String>,
    /// Host names of the admin API, beside those of this machine.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call this server and read its answers.
    pub cors_origins: Vec<String>,
    /// Addresses and ranges of the proxies whose `x-forwarded-for` and `x-forwarded-proto` count.
    pub proxies: Vec<String>,
    /// Seconds that open responses get after a shutdown was requested.
    #[serde(alias = "grace_s")]
    pub shutdown_grace_s: u64,
    /// Seconds until the first keep-alive of a waiting stream, then between two of them.
    pub stream_keepalive_s: u64,
    /// Seconds until the first empty line before a waiting JSON response.
    pub reply_keepalive_s: u64,
    /// Most bytes that requests in flight may hold, such as `512MiB`; a quarter of the memory when
    /// absent.
    pub inflight_bytes: Option<String>,
    /// The part of it that the requests of one key may hold; 0.25 when absent.
    pub inflight_share: Option<f64>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8000".into(),
            keys: Vec::new(),
            admin_token_env: None,
            hosts: Vec::new(),
            cors_origins: Vec::new(),
            proxies: Vec::new(),
            shutdown_grace_s: 30,
            stream_keepalive_s: 10,
            reply_keepalive_s: 30,
            inflight_bytes: None,
            inflight_share: None,
        }
    }
}

/// An API key. The secret itself stays outside the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The name of the key in logs and usage records.
    pub name: String,
    /// The environment variable that holds the secret.
    pub key_env: Option<String>,
    /// Or the secret's SHA-256, 64 hex digits: `printf %s "$KEY" | sha256sum`.
    #[serde(skip_serializing)]
    pub sha256: Option<String>,
    /// Model ids this key may use; all when absent.
    pub models: Option<Vec<String>>,
    /// Its role in the admin API: `member` (no access), `viewer`, `admin`.
    pub role: Option<String>,
}

/// `[console]`: the web console.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    /// Whether it is served.
    pub enabled: bool,
    /// The readers of its API guide.
    pub guide: GuideAccess,
    /// The people who may sign up.
    pub signup: SignupAccess,
    /// US dollars that the keys made by one member may spend together; unlimited when absent.
    pub member_budget: Option<String>,
}

impl Default for Console {
    fn default() -> Self {
        Self { enabled: true, guide: GuideAccess::Login, signup: SignupAccess::Closed, member_budget: None }
    }
}

/// `[telemetry]`: export of traces.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// The address of an OpenTelemetry collector (OTLP over HTTP) that gets a span
    /// of every request.
    pub otlp: Option<String>,
}

/// `[cache]`: the prefix cache on disk.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Whether computed prompt prefixes are kept across restarts.
    pub disk: bool,
    /// The folder; `$XDG_CACHE_HOME/cachalot/prefix`, else `~/.cache/cachalot/prefix`, when absent.
    #[serde(serialize_with = "path_text::serialize")]
    pub folder: Option<PathBuf>,
    /// Most bytes of it, such as `4GiB`.
    pub disk_bytes: String,
}

impl Default for Cache {
    fn default() -> Self {
        Self { disk: true, folder: None, disk_bytes: "4GiB".into() }
    }
}

/// `[store]`: the database of keys and usage records.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// `sqlite:PATH`, `postgres://…`, or `off`; `cachalot.db` in the data folder when absent.
    pub url: Option<SecretText>,
    /// The environment variable that holds the URL, for one with a password.
    pub url_env: Option<String>,
    /// Folder of the journal; `journal` in the data folder when absent.
    #[serde(serialize_with = "path_text::serialize")]
    pub journal: Option<PathBuf>,
    /// `redis://…` of the limits that several servers share; each counts by itself when absent.
    pub redis: Option<SecretText>,
    /// The environment variable that holds the URL of Redis, for one with a password.
    pub redis_env: Option<String>,
    /// The days for which requests to providers are kept, of requests of which one failed.
    pub attempts_days: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self { url: None, url_env: None, journal: None, redis: None, redis_env: None, attempts_days: ATTEMPTS_DAYS }
    }
}

/// `[gateway]`: routing and prices.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// The choice among providers of equal priority: by `weight`, `latency` or `price`.
    pub routing: gateway::RoutingPolicy,
    /// Whether responses name their provider in the header `x-gateway-provider`.
    pub expose_provider: bool,
    /// How far a request may take a budget below zero: `last-request`, or US dollars.
    pub overdraft: gateway::Overdraft,
    /// A file of prices that add to the built-in ones.
    #[serde(serialize_with = "path_text::serialize")]
    pub prices: Option<PathBuf>,
    /// Environment variables that may be sent as keys to further hosts, beside those of the
    /// built-in providers and of this file.
    pub key_envs: Vec<KeyEnv>,
}

/// An environment variable and the host that it may be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEnv {
    pub env: String,
    /// `api.acme.example`, with a port where it has one.
    pub host: String,
}

/// `[compat]`: compatibility with DeepSeek's own service.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compat {
    pub profile: Profile,
}

/// How closely refusals and sampling follow DeepSeek's own service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Accept requests whose refusal no program depends on, and name the difference in a header;
    /// use the sampling parameters that the model recommends, also in thinking mode.
    #[default]
    Lenient,
    /// Refuse what DeepSeek's own service refuses, and sample with its defaults.
    Deepseek,
}

impl From<Profile> for engine::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Lenient => Self::Lenient,
            Profile::Deepseek => Self::DeepSeek,
        }
    }
}

/// Most bytes of a configuration file: more than anybody writes by hand.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

impl Config {
    /// Reads `explicit`, else `./cachalot.toml`, else `cachalot.toml` in the user's configuration
    /// folder. Without a file, every setting has its default.
    ///
    /// # Errors
    /// An explicit file that is missing; a file that is not valid, with line and column.
    pub fn load(explicit: Option<&Path>) -> Result<Self> {
        let candidates = match explicit {
            Some(path) => vec![path.to_owned()],
            None => [Some(PathBuf::from("cachalot.toml")), user_config_file()].into_iter().flatten().collect(),
        };
        for path in candidates {
            match files::read_text(&path, MAX_CONFIG_BYTES) {
                Ok(text) => return Self::parse(path, &text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && explicit.is_none() => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read the configuration `{}`", path.display()));
                }
            }
        }
        Ok(Self::default())
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)
            .map_err(with_suggestion)
            .with_context(|| format!("the configuration `{}`", path.display()))?;
        tracing::info!(path = %path.display(), "configuration read");
        // An alias of serde accepts a former name silently, so the warning needs the raw file.
        let content = text.parse().unwrap_or_default();
        warn_of_former_names(&path, &content);
        let file = Some(ConfigFile::new(&path, &content));
        Ok(Self { file, ..config })
    }

    /// The same configuration with the switches of the command line, which win over it.
    pub fn with_switches(mut self, switches: Switches<Self>) -> Self {
        let store_of_file = Some(self.store.clone());
        switches.apply(&mut self);
        Self { switches, store_of_file, ..self }
    }

    /// The same configuration with the store that the file names.
    pub(crate) fn with_store_of_file(&self) -> Self {
        Self { store: self.store_of_file.as_ref().unwrap_or(&self.store).clone(), ..self.clone() }
    }
}

/// Adds the setting that an unknown one most likely means.
fn with_suggestion(error: toml::de::Error) -> anyhow::Error {
    let text = error.to_string();
    let message = error.message();
    // "unknown field `lissten`, expected one of `listen`, `keys`"
    let mut quoted = message.split('`').skip(1).step_by(2);
    match quoted.next().filter(|_| message.starts_with("unknown field")).and_then(|word| nearest(word, quoted)) {
        Some(near) => anyhow!("{}\nhint: did you mean `{near}`?", text.trim_end()),
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_shows_the_defaults() {
        let example = include_str!("../../../cachalot.example.toml");
        let config: Config = toml::from_str(example).unwrap();
        let (got, want) = (format!("{config:?}"), format!("{:?}", Config::default()));
        assert_eq!(got, want);
    }

    #[test]
    fn a_misspelt_setting_is_an_error_with_its_line() {
        let parse = |text: &str| Config::parse("c.toml".into(), text).unwrap_err();
        let error = crate::with_causes(&parse("[server]\nlissten = \"x\"\n"));
        assert!(error.contains("lissten") && error.contains("line 2"), "{error}");
        assert!(error.ends_with("hint: did you mean `listen`?"), "{error}");
        let error = crate::with_causes(&parse("[engine]\nfrobnicate = 1\n"));
        assert!(error.contains("frobnicate") && !error.contains("hint"), "{error}");
        assert!(crate::with_causes(&parse("[[provider]]\n")).contains("`providers`"));
    }
}
