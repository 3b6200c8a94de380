//! The error for a caller whose request a provider refuses.

use std::time::SystemTime;

use chat::{Error, ErrorKind};
use http::StatusCode;
use wire::upstream::map_error;

use super::Upstream;
use crate::upstream::body_prefix::read_prefix;
use crate::upstream::error::redact_error;
use crate::upstream::http_client::Response;
use crate::upstream::retry_headers::parse_retry_after;

/// Most bytes that are read of a refusal.
pub(in crate::upstream) const MAX_ERROR_BODY_BYTES: usize = 16 << 10;

impl Upstream {
    /// Whether requests have a credential: a key, a token or a signature.
    pub(in crate::upstream) fn has_key(&self) -> bool {
        self.key.is_some() || self.service.as_ref().is_some_and(|service| service.has_credential())
    }

    /// The hint for the operator of a provider that refuses requests without a key; `None` for any
    /// other refusal.
    pub(in crate::upstream) fn missing_key(&self, status: StatusCode) -> Option<String> {
        let is_credential = matches!(status.as_u16(), 401 | 403 | 407);
        (is_credential && !self.has_key()).then(|| {
            format!(
                "no API key is configured for the provider `{}`, which refuses requests without one: name the environment variable that has it in `key_env`",
                self.name
            )
        })
    }

    /// The error that a refusal maps to (API document 4.5). That no key is configured concerns the
    /// operator, and is logged.
    pub(super) async fn refusal(&self, response: Response) -> Error {
        let status = response.status;
        if let Some(reason) = self.missing_key(status) {
            tracing::error!(provider = &*self.name, status = status.as_u16(), "{reason}");
            let message = format!("The provider `{}` is not available right now", self.name);
            return Error::new(ErrorKind::Overloaded, message);
        }
        let retry_after = parse_retry_after(&response.headers, SystemTime::now());
        tracing::warn!(provider = &*self.name, status = status.as_u16(), "provider refused request");
        let body = read_prefix(response, MAX_ERROR_BODY_BYTES).await;
        redact_error(map_error(&self.name, status.as_u16(), retry_after, &body))
    }
}
