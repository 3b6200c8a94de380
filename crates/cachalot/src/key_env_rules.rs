//! The rules for which environment variable may be sent as an API key to which address. A provider
//! that is added by the admin API names both: without these rules an administrator could read every
//! secret in the environment of the server.

use anyhow::{Context, Result, bail, ensure};
use url::Url;

use crate::config::Config;

/// Variables that hold secrets of this server or its libraries, not of a provider.
const RESERVED_VARIABLES: [&str; 8] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY", "PGPASSWORD", "PGPASSFILE", "PGSSLKEY"];
/// Prefix of the variables of OpenTelemetry.
const TELEMETRY_PREFIX: &str = "OTEL_";

/// The allowed pairs of variable and address, and the variables that are never allowed.
#[derive(Clone, Debug, Default)]
pub struct KeyEnvRules {
    /// Variables of the server's own secrets, and the settings that name them.
    reserved: Vec<(String, String)>,
    allowed: Vec<(String, AllowedTarget)>,
    /// The name of the configuration file in error messages.
    file: String,
}

#[derive(Clone, Debug)]
enum AllowedTarget {
    /// Only this base URL.
    Address(Url),
    /// Every path on this host and port.
    Host(Url, Scheme),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// A host without a port means HTTPS.
    Https,
    Any,
}

/// A pair of variable and address that is not allowed.
#[derive(Debug, thiserror::Error)]
pub enum KeyEnvError {
    #[error(
        "`key_env`: the environment variable `{variable}` may not be sent to `{address}`: to allow it, add {{ env = \"{variable}\", host = \"{host}\" }} to `key_envs` in [gateway] of {file}"
    )]
    AddressNotAllowed { variable: String, address: String, host: String, file: String },
    #[error(
        "`key_env`: the environment variable `{variable}` is never sent to a provider: it belongs to {owner}; name another one ({file})"
    )]
    Reserved { variable: String, owner: String, file: String },
}

impl KeyEnvRules {
    /// The rules of a configuration file. `built_in` are the variables and base URLs of the
    /// built-in providers.
    ///
    /// # Errors
    /// An entry of `key_envs` whose host is not valid, or whose variable is never allowed.
    pub fn from_config<'a>(config: &Config, built_in: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let file = config.file.as_ref();
        let file = file.map_or("the configuration file".into(), |file| format!("`{}`", file.path.display()));
        let mut rules = Self { file, reserved: reserved_variables(config), ..Self::default() };
        for (variable, address) in built_in {
            rules.allow_address(variable, address);
        }
        for provider in &config.providers {
            if let (Some(variable), Some(address)) = (&provider.key_env, &provider.base_url) {
                rules.allow_address(variable, address);
            }
        }
        for entry in &config.gateway.key_envs {
            let target =
                parse_host(&entry.host).with_context(|| format!("`key_envs` in [gateway] of {}", rules.file))?;
            rules.refuse_reserved(&entry.env).context("`key_envs` in [gateway]")?;
            rules.allowed.push((entry.env.clone(), target));
        }
        Ok(rules)
    }

    fn allow_address(&mut self, variable: &str, address: &str) {
        // An address that cannot be parsed is refused when the provider is built.
        self.allowed.extend(Url::parse(address).ok().map(|url| (variable.to_owned(), AllowedTarget::Address(url))));
    }

    /// Refuses a variable whose secret may not go to this base URL.
    ///
    /// # Errors
    /// [`KeyEnvError`]
    pub fn check(&self, variable: &str, base_url: &str) -> Result<(), KeyEnvError> {
        self.refuse_reserved(variable)?;
        let url = Url::parse(base_url).ok();
        let fits = |url: &Url| {
            self.allowed.iter().any(|(allowed, target)| allowed.as_str() == variable && target.matches(url))
        };
        if url.as_ref().is_some_and(fits) {
            return Ok(());
        }
        // The message leaves out user, password and query of the address.
        let host = url.as_ref().and_then(host_and_port).unwrap_or_else(|| "HOST".into());
        let address = url
            .as_ref()
            .map_or("an address that cannot be read".into(), |url| format!("{}://{host}{}", url.scheme(), url.path()));
        Err(KeyEnvError::AddressNotAllowed { variable: variable.into(), address, host, file: self.file.clone() })
    }

    fn refuse_reserved(&self, variable: &str) -> Result<(), KeyEnvError> {
        // Names are case-insensitive on Windows, and proxy variables are read in either case.
        let own = self.reserved.iter().find(|(reserved, _)| reserved.eq_ignore_ascii_case(variable));
        let upper = variable.to_ascii_uppercase();
        let owner = match own {
            Some((_, setting)) => format!("{setting} of this server"),
            None if RESERVED_VARIABLES.contains(&&*upper) => "the network or the database of this server".into(),
            None if upper.starts_with(TELEMETRY_PREFIX) => "[telemetry] of this server".into(),
            None => return Ok(()),
        };
        Err(KeyEnvError::Reserved { variable: variable.into(), owner, file: self.file.clone() })
    }
}

/// The variables that the other sections name.
fn reserved_variables(config: &Config) -> Vec<(String, String)> {
    let mut named = vec![
        (&config.server.admin_token_env, "`admin_token_env` in [server]".to_owned()),
        (&config.store.url_env, "`url_env` in [store]".to_owned()),
        (&config.store.redis_env, "`redis_env` in [store]".to_owned()),
    ];
    named.extend(config.server.keys.iter().map(|key| (&key.key_env, format!("the key `{}` in [server]", key.name))));
    named.into_iter().filter_map(|(variable, setting)| Some((variable.clone()?, setting))).collect()
}

impl AllowedTarget {
    fn matches(&self, url: &Url) -> bool {
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        let same_host =
            |other: &Url| url.host() == other.host() && url.port_or_known_default() == other.port_or_known_default();
        plain
            && match self {
                Self::Address(own) => {
                    let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
                    own.scheme() == url.scheme() && same_host(own) && path(own) == path(url)
                }
                Self::Host(own, scheme) => same_host(own) && (*scheme == Scheme::Any || url.scheme() == own.scheme()),
            }
    }
}

/// `api.acme.example` (HTTPS), or with a port.
fn parse_host(text: &str) -> Result<AllowedTarget> {
    let wrong =
        || format!("`host` takes a name such as \"api.acme.example\", with a port where it has one, not `{text:.128}`");
    ensure!(!text.contains(['/', '\\', '@', '?', '#', '*']) && text.trim() == text, wrong());
    let Ok(url) = Url::parse(&format!("https://{text}/")) else { bail!(wrong()) };
    ensure!(url.has_host() && url.path() == "/", wrong());
    // The parser drops a port that HTTPS has anyway; it is HTTPS then.
    let scheme = if url.port().is_some() { Scheme::Any } else { Scheme::Https };
    Ok(AllowedTarget::Host(url, scheme))
}

/// The value of `host` that would allow this pair.
fn host_and_port(url: &Url) -> Option<String> {
    let port = url.port().or((url.scheme() == "http").then_some(80));
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some(port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<KeyEnvRules> {
        let config = toml::from_str(text).unwrap();
        KeyEnvRules::from_config(
            &config,
            [("DEEPSEEK_API_KEY", "https://api.deepseek.com"), ("X_KEY", "https://x.example/v1")],
        )
    }

    const FILE: &str = "[server]\nadmin_token_env = 'TOKEN'\nkeys = [{ name = 'a', key_env = 'ALICE' }]
        [store]\nurl_env = 'DB'\nredis_env = 'REDIS'
        [[providers]]\nname = 'own'\nbase_url = 'https://own.example/v1'\ndialect = 'openai'\nkey_env = 'OWN'
        [gateway]\nkey_envs = [{ env = 'ACME', host = 'api.acme.example' }, { env = 'LAB', host = '127.0.0.1:8080' },
            { env = 'SIX', host = '[::1]:9' }, { env = 'IDN', host = 'büro.example' }, { env = 'TLS', host = 'tls.example:443' }]";

    #[test]
    fn a_variable_goes_where_its_preset_its_block_or_the_list_allows() {
        let rules = rules(FILE).unwrap();
        for (variable, address) in [
            ("DEEPSEEK_API_KEY", "https://api.deepseek.com"),
            ("DEEPSEEK_API_KEY", "https://API.DeepSeek.com:443/"),
            ("X_KEY", "https://x.example/v1/"),
            ("OWN", "https://own.example/v1"),
            ("ACME", "https://api.acme.example/any/path"),
            ("LAB", "http://127.0.0.1:8080/v1"),
            ("LAB", "http://2130706433:8080/v1"),
            ("SIX", "http://[0:0::1]:9/v1"),
            ("IDN", "https://xn--bro-hoa.example/v1"),
            ("TLS", "https://tls.example/v1"),
        ] {
            rules.check(variable, address).unwrap_or_else(|error| panic!("{variable} to {address}: {error}"));
        }
    }

    #[test]
    fn every_other_address_is_refused() {
        let rules = rules(FILE).unwrap();
        for (variable, address) in [
            ("AWS_SECRET_ACCESS_KEY", "https://evil.example"),
            ("DEEPSEEK_API_KEY", "https://evil.example"),
            ("DEEPSEEK_API_KEY", "http://api.deepseek.com"),
            ("DEEPSEEK_API_KEY", "https://api.deepseek.com:8443"),
            ("DEEPSEEK_API_KEY", "https://api.deepseek.com."),
            ("DEEPSEEK_API_KEY", "https://api.deepseek.com@evil.example"),
            ("DEEPSEEK_API_KEY", "https://me:pw@api.deepseek.com"),
            ("DEEPSEEK_API_KEY", "https://api.deepseek.com.evil.example"),
            ("DEEPSEEK_API_KEY", "https://api.deepseek.com/other"),
            ("DEEPSEEK_API_KEY", "https://api.deepseek.com?x=1"),
            ("X_KEY", "https://api.deepseek.com"),
            ("OWN", "https://own.example/v2"),
            ("OWN", "https://x.example/v1"),
            ("own", "https://own.example/v1"),
            ("ACME", "http://api.acme.example"),
            ("ACME", "https://api.acme.example:444"),
            ("ACME", "https://acme.example"),
            ("ACME", "https://xapi.acme.example"),
            ("LAB", "http://127.0.0.1:8081/v1"),
            ("LAB", "http://127.0.0.1/v1"),
            ("TLS", "http://tls.example:443/v1"),
            ("", "https://api.deepseek.com"),
            ("ACME", "api.acme.example"),
            ("ACME", "file:///etc"),
        ] {
            let error = rules.check(variable, address).expect_err(&format!("{variable} to {address}")).to_string();
            assert!(error.contains("key_envs") && error.contains("the configuration file"), "{error}");
            assert!(!error.contains("pw"), "{error}");
        }
    }

    #[test]
    fn secrets_of_the_server_itself_go_nowhere() {
        let rules_of = rules(FILE).unwrap();
        for variable in [
            "TOKEN",
            "token",
            "ALICE",
            "DB",
            "REDIS",
            "HTTPS_PROXY",
            "https_proxy",
            "http_proxy",
            "ALL_PROXY",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "otel_exporter_otlp_headers",
            "PGPASSWORD",
        ] {
            let error = rules_of.check(variable, "https://api.deepseek.com").unwrap_err();
            assert!(matches!(error, KeyEnvError::Reserved { .. }), "{error}");
            let listed = format!("{}\n", FILE.replace("'ACME'", &format!("'{variable}'")));
            assert!(rules(&listed).is_err(), "{variable} in the list");
        }
        let in_block = FILE.replace("key_env = 'OWN'", "key_env = 'DB'");
        assert!(rules(&in_block).unwrap().check("DB", "https://own.example/v1").is_err());
    }

    #[test]
    fn a_host_is_a_host() {
        for bad in ["", "*", "*.example", "https://api.example", "a/b", "me@a", "a:99999", "a b", " a", "a?x", "a#x"] {
            let text = format!("[gateway]\nkey_envs = [{{ env = 'A', host = '{bad}' }}]");
            assert!(rules(&text).is_err(), "{bad}");
        }
    }
}
