//! Cross-origin resource sharing (CORS): the web pages that may read responses.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

const VARY: &str = "origin, access-control-request-method, access-control-request-headers";

/// The decision on the `Origin` of one request. Without configured origins no CORS
/// headers are sent.
pub(crate) struct CorsOrigin {
    enabled: bool,
    allowed: Option<HeaderValue>,
}

impl CorsOrigin {
    /// Allows the origin of `request` if `origins` lists it and the route is not one of operators.
    pub(crate) fn from_request(request: &Request, origins: &[String]) -> Self {
        let allowed = request.headers().get(header::ORIGIN).filter(|origin| is_listed(origin, origins));
        let allowed = allowed.filter(|_| !is_operator_path(request.uri().path())).cloned();
        Self { enabled: !origins.is_empty(), allowed }
    }

    /// The response to `OPTIONS`, if CORS is on.
    pub(crate) fn preflight(&self, request: &Request) -> Option<Response> {
        if !self.enabled || request.method() != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if self.allowed.is_some() {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
            if let Some(requested) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, requested.clone());
            }
        }
        Some(response)
    }

    /// Adds the headers that let a page of an allowed origin read the response.
    pub(crate) fn write_headers(&self, headers: &mut HeaderMap) {
        if !self.enabled {
            return;
        }
        let mut insert = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
        insert(header::VARY, VARY);
        if let Some(origin) = &self.allowed {
            insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
            insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, "x-request-id, x-compat-note, retry-after");
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }
}

/// Whether the route is one of operators, which web pages of other origins may not call even if
/// `cors_origins` lists them.
fn is_operator_path(path: &str) -> bool {
    path == "/metrics" || path == "/admin" || path.starts_with("/admin/")
}

/// Whether `origins` contains `origin`, in any case.
pub(crate) fn is_listed(origin: &HeaderValue, origins: &[String]) -> bool {
    origins.iter().any(|listed| listed.trim_end_matches('/').as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}
