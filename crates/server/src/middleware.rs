//! The layers around the route of every request: path normalization, request id, trace span, CORS,
//! the check of the `Host` header, panic handling and one log line.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use chat::{Error, ErrorKind};
use futures_util::FutureExt;
use gateway::RequestId;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use hyper::body::Incoming;
use tower::ServiceExt;

use crate::api::fallback;
use crate::app::AppState;
use crate::auth::{self, Credential};
use crate::console;
use crate::cors;
use crate::drain::DrainOnDrop;
use crate::error_response::error_response;
use crate::local_access;
use crate::request_log::RequestLog;
use crate::request_span::RequestSpan;

/// The headers that return the id of a request (docs/api.md 0.3).
static REQUEST_ID_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-ds-trace-id"),
];

/// Responds to one request.
pub(crate) async fn handle(
    router: Router,
    app: &AppState,
    request: http::Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response, Infallible> {
    let mut request: Request = request.map(DrainOnDrop::wrap);
    let (request_id, id) = request_id(request.headers());
    *request.uri_mut() = normalize_path(request.uri());
    let span = app
        .config
        .tracer
        .as_ref()
        .and_then(|tracer| RequestSpan::start(tracer, request.headers(), request.uri().path()));
    let log = RequestLog::start(request_id, peer, request.method(), request.uri().path(), span);
    request.extensions_mut().insert(log.clone());
    let origin = cors::CorsOrigin::from_request(&request, &app.config.cors_origins);

    let mut response = match origin.preflight(&request) {
        Some(response) => response,
        None if let Err(error) = local_access::check_host_header(request.headers(), request.uri()) => {
            fallback::surface_error(&error, &log, &request)
        }
        None => match AssertUnwindSafe(route(router, app, request, peer)).catch_unwind().await {
            Ok(response) => response?,
            Err(_) => error_response(&Error::internal("Internal server error")),
        },
    };
    if let (&Method::POST, Some(kind), Some(caller)) =
        (log.method(), response.extensions().get::<ErrorKind>(), log.caller())
    {
        app.gateway.record_refusal(&caller, *kind);
    }
    origin.write_headers(response.headers_mut());
    response.headers_mut().extend(REQUEST_ID_HEADERS.iter().map(|name| (name.clone(), id.clone())));
    log.add_response_headers(app.gateway.exposes_provider(), response.headers_mut());
    log.set_status(response.status());
    Ok(response.map(|body| log.log_when_sent(body)))
}

/// Finds the credential of a request and the session that its cookie names, and calls its route.
async fn route(router: Router, app: &AppState, request: Request, peer: SocketAddr) -> Result<Response, Infallible> {
    let (mut parts, body) = request.into_parts();
    // The files of the console are for everybody.
    let is_file = console::is_file(parts.uri.path());
    if let Some(credential) = Credential::of(&parts) {
        if !is_file {
            auth::search_key(app, &credential).await;
        }
        parts.extensions.insert(credential);
    }
    if !is_file && let Some(session) = auth::find_cookie_session(app, &parts.headers, peer.ip()).await {
        parts.extensions.insert(session);
    }
    router.oneshot(Request::from_parts(parts, body)).await
}

/// The id that the caller sent if it has at most 128 characters and only safe ones, else a new one;
/// and the same as the value of a header.
fn request_id(headers: &HeaderMap) -> (Arc<RequestId>, HeaderValue) {
    let is_safe = |id: &&HeaderValue| {
        (1..=128).contains(&id.len())
            && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    match headers.get("x-request-id").filter(is_safe) {
        Some(id) => (RequestId::from_caller(id.to_str().unwrap_or_default()), id.clone()),
        None => {
            let id = RequestId::generate();
            let value = HeaderValue::from_str(id.as_str()).expect("a generated id is a valid header value");
            (id, value)
        }
    }
}

/// Removes duplicate and trailing slashes. Clients produce them when they append a path to a base
/// URL that ends with a slash.
fn normalize_path(uri: &Uri) -> Uri {
    let path = uri.path();
    if !path.contains("//") && (path.len() < 2 || !path.ends_with('/')) {
        return uri.clone();
    }
    let mut normalized: String = path.split('/').filter(|part| !part.is_empty()).flat_map(|part| ["/", part]).collect();
    if normalized.is_empty() {
        normalized.push('/');
    }
    if let Some(query) = uri.query() {
        normalized.push('?');
        normalized.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(normalized).expect("joined segments are a valid path"));
    Uri::from_parts(parts).expect("scheme and authority are unchanged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_slashes_do_not_matter() {
        for (path, normalized) in [
            ("/v1/models", "/v1/models"),
            ("//v1//chat/completions/", "/v1/chat/completions"),
            ("/", "/"),
            ("///", "/"),
            ("/models//a%2Fb/?x=//", "/models/a%2Fb?x=//"),
            ("http://h:1//v1/models/", "http://h:1/v1/models"),
        ] {
            assert_eq!(
                normalize_path(&path.parse().unwrap()).to_string(),
                normalized.parse::<Uri>().unwrap().to_string()
            );
        }
    }
}
