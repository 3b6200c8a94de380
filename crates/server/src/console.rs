//! The web console below `/console`: files of the crate `console`, with the headers of a static
//! file server.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use chat::ErrorKind;
use console::Asset;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use store::Role;

use crate::accept::names;
use crate::api::fallback;
use crate::app::AppState;
use crate::auth;
use crate::config::{GuideAccess, SignupAccess};
use crate::request_log::RequestLog;
use crate::respond::json_response;

/// `GET /`: a browser is sent to the console; everybody else gets what an unknown path answers.
pub(crate) async fn root(State(app): State<Arc<AppState>>, log: Extension<RequestLog>, request: Request) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !app.config.console.enabled || !is_read || !names(request.headers(), header::ACCEPT, "text/html") {
        return fallback::not_found(log, request).await;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/console/"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Everything below `/console`.
pub(crate) async fn show(State(app): State<Arc<AppState>>, log: Extension<RequestLog>, request: Request) -> Response {
    if !app.config.console.enabled {
        return fallback::not_found(log, request).await;
    }
    let mut response = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = fallback::method_not_allowed(log, request).await;
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        refused
    } else {
        match request.uri().path() {
            SETTINGS_PATH => settings(&app, request).await,
            path => match console::find(path.strip_prefix("/console").unwrap_or(path).trim_start_matches('/')) {
                Some(asset) => file_response(&asset, request.headers()),
                None => fallback::not_found(log, request).await,
            },
        }
    };
    for (name, value) in console::HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// The path of [`settings`].
const SETTINGS_PATH: &str = "/console/settings.json";

/// Whether a path is that of the console or of a file of it, whose response is the same for
/// everybody.
pub(crate) fn is_file(path: &str) -> bool {
    let is_below = path.strip_prefix("/console").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_below && path != SETTINGS_PATH
}

/// The settings that a page needs before anybody has logged in, whether somebody has, so that it
/// need not ask `/admin/me` and be refused, and whether there is anybody who can.
async fn settings(app: &AppState, request: Request) -> Response {
    let operator = auth::authenticate_operator(app, &request.into_parts().0, Role::Member);
    // Another fault, such as a store that cannot be used, is for `/admin/me` to tell.
    let signed_in =
        operator.err().is_none_or(|error| !matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::Forbidden));
    let guide = match app.config.console.guide {
        GuideAccess::Login => "login",
        GuideAccess::Public => "public",
    };
    let signup = match app.config.console.signup {
        SignupAccess::Closed => "closed",
        SignupAccess::Open => "open",
    };
    let has_owner = match app.gateway.accounting().store() {
        Some(store) => store.has_passwords().await.ok(),
        None => None,
    };
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"), "guide": guide, "signup": signup, "signed_in": signed_in, "has_owner": has_owner,
    });
    let mut response = json_response(body.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A file, compressed for a client that accepts it; 304 for one that has it.
fn file_response(asset: &Asset, request: &HeaderMap) -> Response {
    let gzip = asset.gzip.as_ref().filter(|_| names(request, header::ACCEPT_ENCODING, "gzip"));
    let etag = asset.etag(gzip.is_some());
    let is_known = request.get_all(header::IF_NONE_MATCH).iter().any(|known| {
        let known = known.to_str().unwrap_or_default();
        known.trim() == "*" || known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag)
    });
    let mut response = if is_known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        // The embedded bytes live as long as the program; those of a debug build are copied.
        Response::new(Body::from(gzip.cloned().unwrap_or_else(|| asset.bytes.to_vec())))
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(asset.cache_control));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::ETAG, HeaderValue::try_from(etag).expect("hex digits are a valid header value"));
    if gzip.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_console_need_no_session() {
        assert!(["/console", "/console/", "/console/app.js", "/console/guide/start.md"].into_iter().all(is_file));
        assert!(!["/", "/consoles", "/console/settings.json", "/admin/me", "/v1/models"].into_iter().any(is_file));
    }

    #[test]
    fn only_a_client_that_names_html_is_a_browser() {
        let html = |value: &'static str| {
            names(
                &HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))]),
                header::ACCEPT,
                "text/html",
            )
        };
        assert!(html("text/html,application/xhtml+xml,*/*;q=0.8") && html("application/json, Text/HTML;q=0.1"));
        assert!(!html("*/*") && !html("text/*") && !html("application/json") && !html("text/html;q=0"));
        assert!(!names(&HeaderMap::new(), header::ACCEPT, "text/html"));
    }
}
