//! The headers of requests to providers.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use wire::upstream::Dialect;

use crate::secret::Secret;
use crate::upstream::config::UpstreamError;

/// The header that identifies the trace of a request (W3C Trace Context).
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The headers of every request to a provider, its credential among them.
pub(super) fn request_headers(dialect: Dialect, key: Option<&Secret>) -> Result<HeaderMap, UpstreamError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("cachalot/", env!("CARGO_PKG_VERSION"))));
    for &(name, value) in dialect.headers() {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(key) = key.map(Secret::expose) {
        let (header, prefix) = dialect.credential_header();
        let mut value = HeaderValue::try_from(format!("{prefix}{key}")).map_err(|_| UpstreamError::Key)?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// The header that identifies the trace of a request.
pub(crate) fn traceparent_header(trace: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
    Some((TRACEPARENT, HeaderValue::try_from(trace?).ok()?))
}
