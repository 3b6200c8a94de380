//! One struct is one TOML file. Command line switches win over it; `cachalot.example.toml` shows
//! every setting with its default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use wire::upstream::Dialect;

/// The whole file. Every section and setting is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub server: Server,
    pub engine: Engine,
    pub cache: Cache,
    pub compat: Compat,
    pub store: Store,
    pub gateway: Gateway,
    pub telemetry: Telemetry,
    /// Providers elsewhere.
    pub providers: Vec<ProviderSettings>,
    /// Further model ids, and the ids they stand for.
    pub aliases: BTreeMap<String, String>,
    /// The file this was read from.
    #[serde(skip)]
    pub source: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address to listen on.
    pub listen: String,
    /// Keys that are let in. None: everybody on a loopback address, nobody elsewhere.
    pub keys: Vec<Key>,
    /// The environment variable that holds a token for the admin API; one is made in the data
    /// folder when absent.
    pub admin_token_env: Option<String>,
    /// Names that the admin API is called by, beside those of this machine.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call this server and read its answers.
    pub cors_origins: Vec<String>,
    /// Seconds that running streams get after a shutdown was asked for.
    pub shutdown_grace_s: u64,
    /// Seconds until the first keep-alive of a waiting stream, then between them.
    pub stream_keepalive_s: u64,
    /// Seconds until the first empty line in front of a waiting whole reply.
    pub reply_keepalive_s: u64,
    /// Most bytes that requests in flight may hold, such as `512MiB`; a quarter of the
    /// memory when absent.
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
            shutdown_grace_s: 30,
            stream_keepalive_s: 10,
            reply_keepalive_s: 30,
            inflight_bytes: None,
            inflight_share: None,
        }
    }
}

/// One caller. The key itself stays outside the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What the log calls its holder.
    pub name: String,
    /// The environment variable that holds the key.
    pub key_env: Option<String>,
    /// Or the key's SHA-256, 64 hex digits: `printf %s "$KEY" | sha256sum`.
    pub sha256: Option<String>,
    /// Model ids this key may use; all when absent.
    pub models: Option<Vec<String>>,
    /// What it may do on the admin API: `member` (nothing), `viewer`, `admin`.
    pub role: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Requests that may wait; more are answered 503.
    pub queue: usize,
    /// Requests answered side by side.
    pub max_running: usize,
    /// Prompt tokens read in one step beside the running answers.
    pub batch_tokens: usize,
    /// The seed of requests that name none; each gets one of its own when absent.
    pub seed: Option<i64>,
}

impl Default for Engine {
    fn default() -> Self {
        Self { queue: 256, max_running: 64, batch_tokens: 256, seed: None }
    }
}

/// What is told to others about how this server does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// The address of a collector of OpenTelemetry (OTLP over HTTP) that gets a span
    /// of every request.
    pub otlp: Option<String>,
}

/// The prefix cache on disk.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Keep what was computed of prompts across restarts.
    pub disk: bool,
    /// Where; `$XDG_CACHE_HOME/cachalot/prefix`, else `~/.cache/cachalot/prefix`, when absent.
    pub folder: Option<PathBuf>,
    /// Most bytes of it, such as `4GiB`.
    pub disk_bytes: String,
}

impl Default for Cache {
    fn default() -> Self {
        Self { disk: true, folder: None, disk_bytes: "4GiB".into() }
    }
}

/// Where keys and usage are kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// `sqlite:PATH`, `postgres://…`, or `off`; `cachalot.db` in the data folder when absent.
    pub url: Option<String>,
    /// The environment variable that holds the URL, where it has a password in it.
    pub url_env: Option<String>,
    /// Folder of the journal; `journal` in the data folder when absent.
    pub journal: Option<PathBuf>,
    /// `redis://…` of the limits that several servers share; each counts by itself when absent.
    pub redis: Option<String>,
    /// The environment variable that holds it, where it has a password in it.
    pub redis_env: Option<String>,
}

/// A provider elsewhere. The key itself stays outside the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// A provider built in (`cachalot provider list`), or a name of one's own.
    pub name: String,
    /// The provider built in that this is one of, where `name` is another.
    pub preset: Option<String>,
    pub base_url: Option<String>,
    pub dialect: Option<Dialect>,
    /// The environment variable that holds the key.
    pub key_env: Option<String>,
    /// It may be at a private address.
    pub private: Option<bool>,
    /// Ids of its models that are offered; all of its own list when absent.
    pub models: Option<Vec<String>>,
    /// Further ids that are offered, and what the provider calls those models.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// The path on its host at which an engine says how busy it is; empty: it is not asked.
    pub metrics: Option<String>,
    /// Seconds within which it must begin an answer; 60 when absent.
    pub timeout_s: Option<u64>,
    /// Where several providers have a model, the least is asked first,
    #[serde(default)]
    pub priority: i64,
    /// and among equals each in proportion to this.
    #[serde(default = "default_weight")]
    pub weight: u32,
}

fn default_weight() -> u32 {
    1
}

/// Who is asked, and what it costs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// Which of the providers of equal priority is asked first: `weight`, `latency` or `price`.
    pub routing: gateway::RoutingPolicy,
    /// Tell callers which provider has answered, in the header `x-gateway-provider`.
    pub expose_provider: bool,
    /// How far a request may take a budget below nothing: `last-request`, or US dollars.
    pub overdraft: gateway::Overdraft,
    /// A file of prices that add to those built in.
    pub prices: Option<PathBuf>,
    /// Environment variables that may be sent as keys to hosts beside those of the providers built
    /// in and of this file.
    pub key_envs: Vec<KeyEnv>,
}

/// A variable and the host it may be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEnv {
    pub env: String,
    /// `api.acme.example`, with a port where it has one.
    pub host: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compat {
    pub profile: Profile,
}

/// How closely refusals follow DeepSeek's own service.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Accept what no program depends on being refused, and say so in a header.
    #[default]
    Lenient,
    /// Refuse what DeepSeek's own service refuses.
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

/// More than anybody writes by hand.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

impl Config {
    /// Reads `explicit`, else `./cachalot.toml`, else `cachalot.toml` in the user's configuration
    /// folder, else nothing.
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
                Ok(text) => {
                    let config: Self =
                        toml::from_str(&text).with_context(|| format!("the configuration `{}`", path.display()))?;
                    tracing::info!(path = %path.display(), "configuration read");
                    return Ok(Self { source: Some(path), ..config });
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && explicit.is_none() => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read the configuration `{}`", path.display()));
                }
            }
        }
        Ok(Self::default())
    }
}

/// Where the prefix cache goes when nobody says so.
pub fn cache_folder() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(base.join("cachalot").join("prefix"))
}

/// `$XDG_DATA_HOME/cachalot`, else `~/.local/share/cachalot`.
pub fn data_folder() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")))?;
    Some(base.join("cachalot"))
}

fn user_config_file() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
    Some(base.join("cachalot/cachalot.toml"))
}

impl Key {
    /// The SHA-256 of the key.
    ///
    /// # Errors
    /// Neither or both sources given, an unset variable, a digest that is not 64 hex digits.
    pub fn digest(&self) -> Result<[u8; 32]> {
        use sha2::{Digest, Sha256};
        let name = &self.name;
        match (&self.key_env, &self.sha256) {
            (Some(variable), None) => {
                let key = secret_from_env(variable, 16).with_context(|| format!("key `{name}`"))?;
                Ok(Sha256::digest(key.as_bytes()).into())
            }
            (None, Some(hex)) => {
                gateway::parse_sha256_hex(hex).with_context(|| format!("key `{name}`: `sha256` must be 64 hex digits"))
            }
            _ => bail!("key `{name}` needs either `key_env` or `sha256`"),
        }
    }
}

/// What an environment variable holds that must be hard to guess.
///
/// # Errors
/// One that is not set or empty, shorter than `least` characters, or made of few.
pub fn secret_from_env(variable: &str, min_chars: usize) -> Result<String> {
    let secret = std::env::var(variable).ok().filter(|secret| !secret.is_empty());
    let secret = secret.with_context(|| format!("the environment variable `{variable}` is not set"))?;
    let different: std::collections::BTreeSet<_> = secret.chars().collect();
    if secret.chars().count() < min_chars || different.len() < 6 {
        bail!(
            "the secret in `{variable}` is too easy to guess: it needs at least {min_chars} characters, such as `openssl rand -hex 24` makes"
        );
    }
    Ok(secret)
}

/// An exbibyte: what is more is a mistake.
const MAX_SIZE: u64 = 1 << 60;

/// Bytes with an optional unit: `4GiB`, `512M`, `1000000`. Units are powers of 1024.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        unit => return Err(format!("unknown unit `{unit}`: write bytes, or K, M, G, T")),
    };
    let fault = || format!("`{text}` is not a number of bytes, such as 4GiB");
    let (number, unit) = (&text[..digits], 1u64 << shift);
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(unit),
        Err(_) => {
            let number: f64 = number.parse().map_err(|_| fault())?;
            let bytes = number * unit as f64;
            (bytes <= MAX_SIZE as f64).then_some(bytes as u64)
        }
    };
    match bytes {
        Some(0) => Err(format!("`{text}` is no bytes at all")),
        Some(bytes) if bytes <= MAX_SIZE => Ok(bytes),
        _ => Err(format!("`{text}` is more than any machine has: at most {MAX_SIZE} bytes")),
    }
}

#[cfg(test)]
mod tests;
