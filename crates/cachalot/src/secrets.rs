//! Collects the secrets of this server that are not keys of providers, so that they are redacted in
//! the messages of providers.

use std::path::Path;

use gateway::Secret;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::Config;
use crate::data_folder::{DataFolder, admin_token_path};
use crate::store_url::{redis_url, store_url};

/// Variables that hold the URL of a proxy, possibly with user and password.
const PROXY_VARIABLES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
/// Variables that hold HTTP headers for the OpenTelemetry collector.
const OTLP_HEADER_VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"];

/// The secrets of the configuration and the environment. They are redacted until the returned
/// values are dropped.
pub(crate) fn collect(config: &Config, folder: Option<&DataFolder>) -> Vec<Secret> {
    let mut found: Vec<String> = Vec::new();
    let variables = config.server.keys.iter().map(|key| &key.key_env).chain([&config.server.admin_token_env]);
    found.extend(variables.flatten().filter_map(|variable| std::env::var(variable).ok()));
    found.extend(folder.and_then(|folder| read_token(&admin_token_path(folder))));
    // A setting that cannot be read is reported where it is used.
    for url in [store_url(config), redis_url(config)] {
        found.extend(url.ok().flatten().iter().flat_map(|url| url_passwords(url)));
    }
    found.extend(std::env::var("PGPASSWORD"));
    for name in PROXY_VARIABLES.iter().flat_map(|name| [(*name).to_owned(), name.to_lowercase()]) {
        found.extend(std::env::var(name).ok().iter().flat_map(|url| url_passwords(url)));
    }
    for headers in OTLP_HEADER_VARIABLES.iter().filter_map(|name| std::env::var(name).ok()) {
        let values = headers.split(',').filter_map(|pair| Some(pair.split_once('=')?.1));
        found.extend(values.flat_map(|value| header_credentials(&percent_decoded(value))));
    }
    let known = found.iter().map(|secret| secret.trim()).filter(|secret| !secret.is_empty());
    known.map(Secret::new).collect()
}

fn read_token(path: &Path) -> Option<String> {
    files::read_text(path, 64 << 10).ok()
}

/// The password of a URL, percent-encoded and decoded.
fn url_passwords(url: &str) -> Vec<String> {
    let password = |url: &str| Url::parse(url).ok()?.password().map(str::to_owned);
    // A proxy may be given without a scheme. The parser then takes its user for one.
    let password = password(url).or_else(|| password(&format!("http://{url}")));
    password.map_or_else(Vec::new, |password| vec![percent_decoded(&password), password])
}

/// The value of a header, and the credential alone where a scheme such as `Bearer` precedes it.
fn header_credentials(value: &str) -> Vec<String> {
    let credential = value.trim().split_once(' ').map(|(_, credential)| credential.trim().to_owned());
    [Some(value.trim().to_owned()), credential].into_iter().flatten().collect()
}

/// Decodes percent escapes. Text that is not an escape stays.
fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_urls_and_headers_are_found() {
        assert_eq!(url_passwords("postgres://me:p%40ss@host/db"), ["p@ss", "p%40ss"]);
        assert_eq!(url_passwords("rediss://:hunter2@host:6379"), ["hunter2", "hunter2"]);
        assert_eq!(url_passwords("me:hunter2@proxy:3128"), ["hunter2", "hunter2"]);
        assert!(url_passwords("sqlite:/a/b.db").is_empty() && url_passwords("").is_empty());
        assert_eq!(header_credentials("Basic dXNlcg=="), ["Basic dXNlcg==", "dXNlcg=="]);
        assert_eq!(percent_decoded("%41%zz%"), "A%zz%");
    }

    #[test]
    fn the_secrets_of_a_server_are_redacted_while_it_runs() {
        let mut config = Config::default();
        config.store.redis = Some("redis://:cache-password-7@127.0.0.1".into());
        config.store.url = Some("postgres://me:db-password-7@127.0.0.1/x".into());
        let secrets = collect(&config, None);
        let redacted = gateway::redact_secrets("cache-password-7 db-password-7").into_owned();
        assert_eq!(redacted, "*** ***");
        drop(secrets);
        assert_eq!(gateway::redact_secrets("db-password-7"), "db-password-7");
    }
}
