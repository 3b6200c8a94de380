//! The configuration of a remote provider, and the addresses that follow from it.

use std::io;

use http::Uri;
use url::Url;
use wire::upstream::Dialect;

use crate::secret::Secret;

/// The address of a provider, its dialect and its credential.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    pub name: String,
    /// The built-in provider that this one is. Price entries that do not name `name` are looked up
    /// by it.
    pub preset: Option<String>,
    /// With the version, as the provider documents it: `https://api.example.org/v1`.
    pub base_url: String,
    pub dialect: Dialect,
    /// `None` for engines that need no key.
    pub key: Option<Secret>,
    /// Whether the address may be private, as that of an engine in the operator's own network.
    pub private: bool,
    /// The path of the metrics on the same host, if the provider reports its load.
    pub metrics: Option<String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("`base_url` must be an http(s) URL without credentials, query or fragment: `{0}`")]
    Url(String),
    #[error("its address {0} is private: `--private`, or in a file `private = true`, allows that")]
    Private(String),
    #[error("`metrics` is a path such as `/metrics`, not `{0}`")]
    Metrics(String),
    #[error("`headers`: `{name}` cannot be sent: {reason}")]
    Header { name: String, reason: String },
    #[error("`query`: `{0}` cannot be sent: the credential comes from `key_env`")]
    QueryCredential(String),
    #[error("`query` is longer than {0} bytes")]
    Query(usize),
    /// A change of the body that is not possible.
    #[error("{0}")]
    Body(String),
    #[error("`service = \"{0}\"` does not have its dialect")]
    Service(&'static str),
    #[error("its API key contains characters that are not allowed in an HTTP header")]
    Key,
    #[error(transparent)]
    Client(#[from] io::Error),
}

/// Parses `base_url`. `None` for what [`UpstreamError::Url`] describes.
pub(super) fn parse_base_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let has_only_origin_and_path =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && has_only_origin_and_path).then_some(url)
}

/// Appends `path` to the path of `base`.
pub(super) fn join_path(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

/// Converts a URL for the HTTP client. `None` if it is longer than a `Uri` can be.
pub(super) fn to_uri(url: &Url) -> Option<Uri> {
    Uri::try_from(url.as_str()).ok()
}
