//! One route of the admin API: the role that it requires, and the dispatch to its handler.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use bytes::Bytes;
use chat::{BoxFuture, Error};
use gateway::MemoryOwner;
use store::Role;

use super::request::{AdminRequest, AdminResponse};
use crate::app::AppState;
use crate::auth;
use crate::body;
use crate::error_response::error_response_with_id;
use crate::request_log::RequestLog;
use crate::respond::json_response;

/// The most bytes of a body. It is parsed on the async runtime, which takes at most
/// half a millisecond.
const MAX_BODY: usize = 256 << 10;

/// A route. `POST`, `PUT`, `PATCH` and `DELETE` require the role `admin`.
pub(crate) struct AdminRoute {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) required_role: Role,
    /// The name of the schema of its body; empty if it has none.
    pub(crate) body: &'static str,
    pub(crate) summary: &'static str,
    handler: Handler,
}

type Handler = fn(AdminRequest) -> BoxFuture<'static, Result<AdminResponse, Error>>;

impl AdminRoute {
    pub(super) const fn get(path: &'static str, required_role: Role, summary: &'static str, handler: Handler) -> Self {
        Self { method: "GET", path, required_role, body: "", summary, handler }
    }

    pub(super) const fn post(path: &'static str, body: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self { method: "POST", path, required_role: Role::Admin, body, summary, handler }
    }

    pub(super) const fn put(path: &'static str, body: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self { method: "PUT", path, required_role: Role::Admin, body, summary, handler }
    }

    pub(super) const fn patch(path: &'static str, body: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self { method: "PATCH", path, required_role: Role::Admin, body, summary, handler }
    }

    pub(super) const fn delete(path: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self { method: "DELETE", path, required_role: Role::Admin, body: "", summary, handler }
    }

    /// The handler for the router: authenticates the operator, reads the body, calls the
    /// handler of the route.
    pub(super) fn handler(&'static self) -> MethodRouter<Arc<AppState>> {
        let method = http::Method::from_bytes(self.method.as_bytes()).ok();
        let filter = method.and_then(|method| MethodFilter::try_from(method).ok()).expect("a test knows every method");
        let handle = move |State(app): State<Arc<AppState>>,
                           Extension(log): Extension<RequestLog>,
                           params: RawPathParams,
                           request: Request| async move {
            let params = params.iter().map(|(_, value)| value.to_owned()).collect();
            let response = handle_request(self, app, &log, params, request).await;
            response.unwrap_or_else(|error| error_response_with_id(error, &log))
        };
        on(filter, handle)
    }
}

async fn handle_request(
    route: &'static AdminRoute,
    app: Arc<AppState>,
    log: &RequestLog,
    params: Vec<String>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, request_body) = request.into_parts();
    let operator = auth::authenticate_operator(&app, &parts, route.required_role)?;
    log.set_operator(&operator);
    let body = match route.body {
        "" => Bytes::new(),
        _ => {
            let memory = app.memory.request(MemoryOwner::Key(operator.name.clone()));
            let limit = MAX_BODY.min(app.config.body_limit);
            let read_timeout = app.config.read_timeout;
            let reader = body::BodyReader { body_type: body::BodyType::Json, limit, read_timeout, memory: &memory };
            reader.read(&parts.headers, request_body).await?
        }
    };
    let query = parts.uri.query().unwrap_or_default();
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let path_param = params.into_iter().next().unwrap_or_default();
    if route.method != "GET" {
        tracing::info!(
            operator = &*operator.name,
            route = format!("{} {}", route.method, route.path),
            name = &path_param[..path_param.floor_char_boundary(128)],
            "admin change requested"
        );
    }
    let AdminResponse(status, value) = (route.handler)(AdminRequest { app, operator, path_param, query, body }).await?;
    let mut response = json_response(value.to_string());
    *response.status_mut() = status;
    // It may contain a key.
    response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok(response)
}
