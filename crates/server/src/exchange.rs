//! What surrounds every request: a tidy path, an id, CORS, one line in the log, and no panic that ends the connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use chat::Error;
use futures_util::FutureExt;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use hyper::body::Incoming;
use tower::ServiceExt;

use crate::body::Drained;
use crate::line::Line;
use crate::server::App;
use crate::trace::Trace;
use crate::{api, auth, cors, reply};

/// The headers that say the id of a request (API document 0.3).
static IDS: [HeaderName; 3] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-ds-trace-id"),
];

/// Answers one request.
pub(crate) async fn exchange(
    router: Router,
    app: &App,
    request: http::Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response, Infallible> {
    let mut request: Request = request.map(Drained::over);
    let id = request_id(request.headers());
    *request.uri_mut() = tidy(request.uri());
    let trace =
        app.config.tracer.as_ref().and_then(|tracer| Trace::begin(tracer, request.headers(), request.uri().path()));
    let line = Line::begin(id.clone(), peer, request.method(), request.uri().path(), trace);
    request.extensions_mut().insert(line.clone());
    let origin = cors::Origin::of(&request, &app.config.cors_origins);

    let mut response = match origin.preflight(&request) {
        Some(response) => response,
        None if let Err(error) = auth::one_host(request.headers(), request.uri()) => {
            api::in_its_shape(&error, &line, &request)
        }
        None => match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
            Ok(answered) => answered?,
            Err(_) => reply::refusal(&Error::internal("Internal server error")),
        },
    };
    origin.allow(response.headers_mut());
    response.headers_mut().extend(IDS.iter().map(|name| (name.clone(), id.clone())));
    line.tell(app.gateway.exposes_provider(), response.headers_mut());
    line.status(response.status());
    Ok(response.map(|body| line.until_the_end_of(body)))
}

/// The caller's own id when it is harmless, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let harmless = |id: &&HeaderValue| {
        (1..=128).contains(&id.len())
            && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    headers.get("x-request-id").filter(harmless).cloned().unwrap_or_else(|| {
        let mut id = *b"req_00000000000000000000000000000000";
        uuid::Uuid::now_v7().simple().encode_lower(&mut id[4..]);
        HeaderValue::from_bytes(&id).expect("hex digits make a header")
    })
}

/// Without duplicate and trailing slashes: clients join a base URL that ends with one.
fn tidy(uri: &Uri) -> Uri {
    let path = uri.path();
    if !path.contains("//") && (path.len() < 2 || !path.ends_with('/')) {
        return uri.clone();
    }
    let mut tidied: String = path.split('/').filter(|part| !part.is_empty()).flat_map(|part| ["/", part]).collect();
    if tidied.is_empty() {
        tidied.push('/');
    }
    if let Some(query) = uri.query() {
        tidied.push('?');
        tidied.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    // What was a path before is one without its empty parts.
    parts.path_and_query = Some(PathAndQuery::try_from(tidied).expect("a shorter path is still a path"));
    Uri::from_parts(parts).expect("only the path has changed")
}

/// A response of plain JSON.
pub(crate) fn json(text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_slashes_do_not_matter() {
        for (path, tidied) in [
            ("/v1/models", "/v1/models"),
            ("//v1//chat/completions/", "/v1/chat/completions"),
            ("/", "/"),
            ("///", "/"),
            ("/models//a%2Fb/?x=//", "/models/a%2Fb?x=//"),
            ("http://h:1//v1/models/", "http://h:1/v1/models"),
        ] {
            assert_eq!(tidy(&path.parse().unwrap()).to_string(), tidied.parse::<Uri>().unwrap().to_string());
        }
    }
}
