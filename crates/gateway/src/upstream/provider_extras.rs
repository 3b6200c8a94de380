//! Additions of the operator to every request of a provider: headers, a query, changes of the
//! body.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use url::form_urlencoded;
use wire::model_rules::{ModelRow, RequestRules};
use wire::passthrough::ApiEndpoint;

use crate::model_rows::ModelRows;
use crate::upstream::config::UpstreamError;
use crate::upstream::remote_provider::Upstream;

/// Headers that carry credentials, which stay outside the configuration, or that belong to the
/// connection.
const RESERVED_HEADERS: [&str; 15] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "accept-encoding",
    "transfer-encoding",
    "upgrade",
    "te",
];
/// Parameters of a query that carry credentials.
const CREDENTIAL_PARAMETERS: [&str; 5] = ["key", "api_key", "api-key", "token", "access_token"];
/// Most bytes of the query of a provider.
const MAX_QUERY_BYTES: usize = 4096;

impl Upstream {
    /// Adds headers to every request. They win over those of the dialect.
    ///
    /// # Errors
    /// A name or value that is not that of a header, and a header for credentials.
    pub fn with_headers(mut self, headers: &BTreeMap<String, String>) -> Result<Self, UpstreamError> {
        for (name, value) in headers {
            let error = |reason: &str| UpstreamError::Header { name: format!("{name:.64}"), reason: reason.to_owned() };
            let name = HeaderName::try_from(name.as_str()).map_err(|_| error("it is not the name of a header"))?;
            if RESERVED_HEADERS.contains(&name.as_str()) {
                return Err(error("cachalot sets it itself; the credential comes from `key_env`"));
            }
            let value = HeaderValue::try_from(value).map_err(|_| error("its value is not that of a header"))?;
            self.headers.insert(name, value);
        }
        Ok(self)
    }

    /// Adds parameters to the query of every request.
    ///
    /// # Errors
    /// Parameters for credentials, and those that are too long.
    pub fn with_query(mut self, query: &BTreeMap<String, String>) -> Result<Self, UpstreamError> {
        if query.is_empty() {
            return Ok(self);
        }
        if let Some(name) = query.keys().find(|name| CREDENTIAL_PARAMETERS.contains(&name.to_lowercase().as_str())) {
            return Err(UpstreamError::QueryCredential(name.clone()));
        }
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        if text.len() > MAX_QUERY_BYTES {
            return Err(UpstreamError::Query(MAX_QUERY_BYTES));
        }
        self.query = Some(text);
        for endpoint in ApiEndpoint::ALL {
            let uri = self.endpoint_uri(endpoint.path(), None).map_err(|_| UpstreamError::Query(MAX_QUERY_BYTES))?;
            self.passthrough_uris[endpoint as usize] = uri;
        }
        Ok(self)
    }

    /// Changes every body for a chat, after the rows of the model: `drop` and `set` of `row`.
    ///
    /// # Errors
    /// A parameter that cannot be changed.
    pub fn with_body_row(mut self, row: ModelRow) -> Result<Self, UpstreamError> {
        row.validate_parameters().map_err(UpstreamError::Body)?;
        self.body_row = row;
        Ok(self)
    }

    /// The rules for the provider's `model`.
    pub(crate) fn request_rules(&self, rows: &ModelRows, model: &str) -> RequestRules {
        rows.rules_for(self.name(), self.preset(), self.dialect(), model, &self.body_row)
    }
}
