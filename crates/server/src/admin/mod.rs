//! The admin API: everything that can be changed while the server runs. `ROUTES` is the whole of
//! it: what is not in the table does not exist, and who has not the role that an entry needs is
//! refused before the entry is looked at.

mod accounts;
mod models;
mod openapi;
mod settings;

use std::sync::Arc;

use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Extension, Router};
use bytes::Bytes;
use chat::{BoxFuture, Error, ErrorKind};
use gateway::MemoryOwner;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::{Role, Store, StoreError};

use crate::auth::{self, Operator};
use crate::body;
use crate::middleware::json_response;
use crate::request_log::RequestLog;
use crate::respond;
use crate::server::AppState;

pub use settings::{ConfigController, SettingEntry, SettingKind, SettingSource};

/// Most bytes of a body. It is read where it arrives, which takes half a millisecond.
const MAX_BODY: usize = 256 << 10;

/// Who may do what. Methods of one path stand together.
pub(crate) const ROUTES: &[AdminRoute] = &[
    AdminRoute::get("/admin/me", Role::Member, "Who you are, and what you may do", |request| {
        Box::pin(accounts::me(request))
    }),
    AdminRoute::get("/admin/openapi.json", Role::Viewer, "This description", |request| {
        Box::pin(openapi::show(request))
    }),
    AdminRoute::get("/admin/users", Role::Viewer, "List the users", |request| Box::pin(accounts::users(request))),
    AdminRoute::post("/admin/users", "NewUser", "Make a user", |request| Box::pin(accounts::add_user(request))),
    AdminRoute::patch("/admin/users/{name}", "UserChange", "Change a user's role, or disable its keys", |request| {
        Box::pin(accounts::change_user(request))
    }),
    AdminRoute::get("/admin/projects", Role::Viewer, "List the projects", |request| {
        Box::pin(accounts::projects(request))
    }),
    AdminRoute::post("/admin/projects", "NewProject", "Make a project", |request| {
        Box::pin(accounts::add_project(request))
    }),
    AdminRoute::patch("/admin/projects/{name}", "ProjectChange", "Change a project's budget", |request| {
        Box::pin(accounts::change_project(request))
    }),
    AdminRoute::get("/admin/keys", Role::Viewer, "List the keys", |request| Box::pin(accounts::keys(request))),
    AdminRoute::post("/admin/keys", "NewKey", "Make a key, which is shown this once", |request| {
        Box::pin(accounts::add_key(request))
    }),
    AdminRoute::patch("/admin/keys/{id}", "Limits", "Change what a key may do; what is left out stays", |request| {
        Box::pin(accounts::change_key(request))
    }),
    AdminRoute::delete("/admin/keys/{id}", "Revoke a key", |request| Box::pin(accounts::revoke_key(request))),
    AdminRoute::get("/admin/usage", Role::Viewer, "Sum usage by key, project, model, provider or day", |request| {
        Box::pin(accounts::usage(request))
    }),
    AdminRoute::get("/admin/records", Role::Viewer, "List the latest requests", |request| {
        Box::pin(accounts::records(request))
    }),
    AdminRoute::get("/admin/models", Role::Viewer, "List the models, who answers them, and how that goes", |request| {
        Box::pin(models::models(request))
    }),
    AdminRoute::get("/admin/config", Role::Viewer, "Show the configuration that is in force", |request| {
        Box::pin(settings::config(request))
    }),
    AdminRoute::post("/admin/reload", "", "Read the configuration file again", |request| {
        Box::pin(settings::reload(request))
    }),
    AdminRoute::get("/admin/providers", Role::Viewer, "List the providers", |request| {
        Box::pin(settings::list(request, SettingKind::Provider))
    }),
    AdminRoute::put("/admin/providers/{name}", "Provider", "Add or replace a provider", |request| {
        Box::pin(settings::put(request, SettingKind::Provider))
    }),
    AdminRoute::delete("/admin/providers/{name}", "Remove a provider", |request| {
        Box::pin(settings::remove(request, SettingKind::Provider))
    }),
    AdminRoute::get("/admin/aliases", Role::Viewer, "List the aliases", |request| {
        Box::pin(settings::list(request, SettingKind::Alias))
    }),
    AdminRoute::put("/admin/aliases/{name}", "Alias", "Let an id mean what another means", |request| {
        Box::pin(settings::put(request, SettingKind::Alias))
    }),
    AdminRoute::delete("/admin/aliases/{name}", "Remove an alias", |request| {
        Box::pin(settings::remove(request, SettingKind::Alias))
    }),
    AdminRoute::get("/admin/prices", Role::Viewer, "List the prices that were set here", |request| {
        Box::pin(settings::list(request, SettingKind::Price))
    }),
    AdminRoute::put(
        "/admin/prices/{name}",
        "Price",
        "Set what a model costs; the name is `provider:model`",
        |request| Box::pin(settings::put(request, SettingKind::Price)),
    ),
    AdminRoute::delete("/admin/prices/{name}", "Remove a price that was set here", |request| {
        Box::pin(settings::remove(request, SettingKind::Price))
    }),
];

/// Method, path and needed role of every call.
pub fn endpoints() -> impl Iterator<Item = (&'static str, &'static str, Role)> {
    ROUTES.iter().map(|entry| (entry.method, entry.path, entry.required_role))
}

/// One call.
pub(crate) struct AdminRoute {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) required_role: Role,
    /// The schema of its body; empty when it has none.
    body: &'static str,
    summary: &'static str,
    handler: Handler,
}

type Handler = fn(AdminRequest) -> BoxFuture<'static, Result<AdminResponse, Error>>;

impl AdminRoute {
    const fn get(path: &'static str, required_role: Role, summary: &'static str, handler: Handler) -> Self {
        Self { method: "GET", path, required_role, body: "", summary, handler }
    }

    const fn post(path: &'static str, body: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self { method: "POST", path, required_role: Role::Admin, body, summary, handler }
    }

    const fn put(path: &'static str, body: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self { method: "PUT", path, required_role: Role::Admin, body, summary, handler }
    }

    const fn patch(path: &'static str, body: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self { method: "PATCH", path, required_role: Role::Admin, body, summary, handler }
    }

    const fn delete(path: &'static str, summary: &'static str, handler: Handler) -> Self {
        Self { method: "DELETE", path, required_role: Role::Admin, body: "", summary, handler }
    }

    fn route(&'static self) -> MethodRouter<Arc<AppState>> {
        let method = http::Method::from_bytes(self.method.as_bytes()).ok();
        let filter = method.and_then(|method| MethodFilter::try_from(method).ok()).expect("a test knows every method");
        let handle = move |State(app): State<Arc<AppState>>,
                           Extension(log): Extension<RequestLog>,
                           params: RawPathParams,
                           request: Request| async move {
            let params = params.iter().map(|(_, value)| value.to_owned()).collect();
            let answered = handle_request(self, app, &log, params, request).await;
            answered.unwrap_or_else(|error| respond::error_response_with_id(error, &log))
        };
        on(filter, handle)
    }
}

/// A call whose caller may make it.
pub(crate) struct AdminRequest {
    pub(crate) app: Arc<AppState>,
    pub(crate) operator: Operator,
    /// The part of the path that has a name.
    path_param: String,
    query: Vec<(String, String)>,
    body: Bytes,
}

/// What is answered.
pub(crate) struct AdminResponse(StatusCode, Value);

impl From<Value> for AdminResponse {
    fn from(value: Value) -> Self {
        Self(StatusCode::OK, value)
    }
}

impl AdminResponse {
    fn created(value: Value) -> Self {
        Self(StatusCode::CREATED, value)
    }
}

pub(crate) fn routes() -> Router<Arc<AppState>> {
    ROUTES.iter().fold(Router::new(), |router, entry| router.route(entry.path, entry.route()))
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
            let (limit, read_timeout) = (MAX_BODY.min(app.config.body_limit), app.config.read_timeout);
            let reading = body::BodyReader { body_type: body::BodyType::Json, limit, read_timeout, memory: &memory };
            reading.read(&parts.headers, request_body).await?
        }
    };
    let query = parts.uri.query().unwrap_or_default();
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let path_param = params.into_iter().next().unwrap_or_default();
    if route.method != "GET" {
        tracing::info!(
            operator = &*operator.name,
            call = format!("{} {}", route.method, route.path),
            name = &path_param[..path_param.floor_char_boundary(128)],
            "administered"
        );
    }
    let AdminResponse(status, value) = (route.handler)(AdminRequest { app, operator, path_param, query, body }).await?;
    let mut response = json_response(value.to_string());
    *response.status_mut() = status;
    // It may hold a key.
    response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok(response)
}

impl AdminRequest {
    /// The body, which has no fields that are not known.
    fn parse_body<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::invalid(format!("The request body is not what it should be: {error}")))
    }

    fn query_param(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// A whole number of the query.
    fn query_number(&self, key: &str, default: i64, max: i64) -> Result<i64, Error> {
        let Some(text) = self.query_param(key) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (1..=max).contains(number));
        number.ok_or_else(|| Error::invalid(format!("Invalid '{key}': expected a number from 1 to {max}")))
    }

    fn store(&self) -> Result<&Store, Error> {
        let store_off =
            || Error::new(ErrorKind::Conflict, "The store is off: start the server with one to keep keys and settings");
        self.app.gateway.accounting().store().ok_or_else(store_off)
    }

    /// What was changed in the store counts here from now on, and elsewhere within a second.
    async fn refresh_accounts(&self) -> Result<(), Error> {
        self.app.gateway.accounting().refresh_keys().await.map_err(store_error)
    }
}

/// What the store refuses or cannot do.
fn store_error(error: StoreError) -> Error {
    match error {
        StoreError::Conflict(message) => Error::new(ErrorKind::Conflict, message),
        StoreError::NotFound(message) => Error::new(ErrorKind::NotFound, message),
        StoreError::IdFileNotUpdated(..) => {
            tracing::error!("{error}");
            let message = "The change is made, but it cannot be noted beside the database: the server's log says why";
            Error::new(ErrorKind::Overloaded, message)
        }
        error => {
            tracing::error!(%error, "the store cannot be used");
            Error::new(ErrorKind::Overloaded, "The store cannot be used right now, please try again later")
        }
    }
}
