//! One route of the admin API: the role that it requires, and the dispatch to its handler.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use bytes::Bytes;
use chat::{BoxFuture, Error};
use gateway::MemoryOwner;
use http::{HeaderValue, header};
use store::Role;

use super::query::Query;
use super::request::{AdminBody, AdminRequest, AdminResponse};
use crate::app::AppState;
use crate::auth;
use crate::body;
use crate::error_response::error_response_with_id;
use crate::operator::Operator;
use crate::request_log::RequestLog;
use crate::respond::{body_response, json_response};
use crate::sign_in::client::Client;

/// The most bytes of a body. It is parsed on the async runtime, which takes at most
/// half a millisecond.
const MAX_BODY: usize = 256 << 10;

/// The most bytes of a body that anybody may send.
const MAX_PUBLIC_BODY: usize = 4 << 10;

/// The callers of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody: the body has the credential.
    Public,
    /// Every role. Members read and change what belongs to their own keys only.
    Own,
    /// A role, and those above it.
    Role(Role),
}

/// A route. `POST`, `PUT`, `PATCH` and `DELETE` require the role `admin`, unless their access says
/// otherwise.
pub(crate) struct AdminRoute {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    /// The status of a success.
    pub(crate) success: u16,
    /// The name of the schema of its body; empty if it has none.
    pub(crate) body: &'static str,
    /// The name of the schema of a success; empty if it is not described.
    pub(crate) answer: &'static str,
    /// Whether a success is a stream of server-sent events.
    pub(crate) sends_events: bool,
    /// The parameters of its query. A route that has some refuses others.
    pub(crate) query: &'static [&'static str],
    pub(crate) summary: &'static str,
    handler: Handler,
}

const ADMIN: Access = Access::Role(Role::Admin);

type Handler = fn(AdminRequest) -> BoxFuture<'static, Result<AdminResponse, Error>>;

impl AdminRoute {
    /// A route without body, parameters and a described answer.
    const fn new(method: &'static str, path: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self {
            method,
            path,
            access: ADMIN,
            success: 200,
            body: "",
            answer: "",
            sends_events: false,
            query: &[],
            summary,
            handler,
        }
    }

    pub(super) const fn get(path: &'static str, required_role: Role, summary: &'static str, handler: Handler) -> Self {
        Self { access: Access::Role(required_role), ..Self::new("GET", path, summary, handler) }
    }

    /// The same route with another access.
    pub(super) const fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// The same route with another status of a success.
    pub(super) const fn with_success(self, success: u16) -> Self {
        Self { success, ..self }
    }

    /// The same route with these parameters of its query.
    pub(super) const fn with_query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    /// The same route with the schema of a success.
    pub(super) const fn with_answer(self, answer: &'static str) -> Self {
        Self { answer, ..self }
    }

    /// The same route, whose success is a stream of server-sent events.
    pub(super) const fn with_events(self) -> Self {
        Self { sends_events: true, ..self }
    }

    pub(super) const fn post(path: &'static str, body: &'static str, summary: &'static str, handler: Handler) -> Self {
        let success = if body.is_empty() { 200 } else { 201 };
        Self { success, body, ..Self::new("POST", path, summary, handler) }
    }

    pub(super) const fn put(path: &'static str, body: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self { body, ..Self::new("PUT", path, summary, handler) }
    }

    pub(super) const fn patch(path: &'static str, body: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self { body, ..Self::new("PATCH", path, summary, handler) }
    }

    pub(super) const fn delete(path: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self::new("DELETE", path, summary, handler)
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
    let operator = match route.access {
        Access::Public => match auth::find_session(&app, &parts)? {
            Some(session) => auth::operator_of_session(session),
            None => Operator::new("anybody", Role::Member),
        },
        Access::Own => auth::authenticate_operator(&app, &parts, Role::Member)?,
        Access::Role(role) => auth::authenticate_operator(&app, &parts, role)?,
    };
    log.set_operator(&operator);
    let client = Client::from_request(&parts, log.client_addr(), &app.config.proxies);
    let body = match route.body {
        "" => Bytes::new(),
        _ => {
            let is_public = route.access == Access::Public;
            let owner = match is_public {
                true => MemoryOwner::Peer(client.address),
                false => MemoryOwner::Key(operator.name.clone()),
            };
            let memory = app.memory.request(owner);
            let limit = if is_public { MAX_PUBLIC_BODY } else { MAX_BODY.min(app.config.body_limit) };
            let read_timeout = app.config.read_timeout;
            let reader = body::BodyReader { body_type: body::BodyType::Json, limit, read_timeout, memory: &memory };
            reader.read(&parts.headers, request_body).await?
        }
    };
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    if !route.query.is_empty() {
        query.check_names(route.query)?;
    }
    let path_param = params.into_iter().next().unwrap_or_default();
    if route.method != "GET" {
        tracing::info!(
            operator = &*operator.name,
            route = format!("{} {}", route.method, route.path),
            name = &path_param[..path_param.floor_char_boundary(128)],
            "admin change requested"
        );
    }
    let request = AdminRequest { app, operator, client, parts, path_param, query, body };
    let AdminResponse { status, body, cookie } = (route.handler)(request).await?;
    let mut response = match body {
        AdminBody::Empty => Response::new(Body::empty()),
        AdminBody::Json(value) => json_response(value.to_string()),
        AdminBody::Csv(text) => {
            body_response(Body::from(text), HeaderValue::from_static("text/csv; charset=utf-8"), false)
        }
        AdminBody::Events(events) => {
            body_response(events, HeaderValue::from_static("text/event-stream; charset=utf-8"), true)
        }
    };
    *response.status_mut() = status;
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    // It may contain a key.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
