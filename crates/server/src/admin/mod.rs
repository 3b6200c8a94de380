//! The admin API: everything that can be changed while the server runs. [`ROUTES`] is the whole of it: what is not in the table
//! does not exist, and who has not the role that an entry needs is refused before the entry is looked at.

mod accounts;
mod openapi;
mod routing;
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
use crate::exchange::json;
use crate::line::Line;
use crate::server::App;
use crate::{body, reply};

pub use settings::{Control, Kind, Origin, Row};

/// Most bytes of a body. It is read where it arrives, which takes half a millisecond.
const MAX_BODY: usize = 256 << 10;

/// Who may do what. Methods of one path stand together.
pub(crate) const ROUTES: &[Entry] = &[
    Entry::get("/admin/me", Role::Member, "Who you are, and what you may do", |ask| Box::pin(accounts::me(ask))),
    Entry::get("/admin/openapi.json", Role::Viewer, "This description", |ask| Box::pin(openapi::show(ask))),
    Entry::get("/admin/users", Role::Viewer, "List the users", |ask| Box::pin(accounts::users(ask))),
    Entry::post("/admin/users", "NewUser", "Make a user", |ask| Box::pin(accounts::add_user(ask))),
    Entry::patch("/admin/users/{name}", "UserChange", "Change a user's role, or disable its keys", |ask| {
        Box::pin(accounts::change_user(ask))
    }),
    Entry::get("/admin/projects", Role::Viewer, "List the projects", |ask| Box::pin(accounts::projects(ask))),
    Entry::post("/admin/projects", "NewProject", "Make a project", |ask| Box::pin(accounts::add_project(ask))),
    Entry::patch("/admin/projects/{name}", "ProjectChange", "Change a project's budget", |ask| {
        Box::pin(accounts::change_project(ask))
    }),
    Entry::get("/admin/keys", Role::Viewer, "List the keys", |ask| Box::pin(accounts::keys(ask))),
    Entry::post("/admin/keys", "NewKey", "Make a key, which is shown this once", |ask| {
        Box::pin(accounts::add_key(ask))
    }),
    Entry::patch("/admin/keys/{id}", "Limits", "Change what a key may do; what is left out stays", |ask| {
        Box::pin(accounts::change_key(ask))
    }),
    Entry::delete("/admin/keys/{id}", "Revoke a key", |ask| Box::pin(accounts::revoke_key(ask))),
    Entry::get("/admin/usage", Role::Viewer, "Sum usage by key, project, model, provider or day", |ask| {
        Box::pin(accounts::usage(ask))
    }),
    Entry::get("/admin/records", Role::Viewer, "List the latest requests", |ask| Box::pin(accounts::records(ask))),
    Entry::get("/admin/models", Role::Viewer, "List the models, who answers them, and how that goes", |ask| {
        Box::pin(routing::models(ask))
    }),
    Entry::get("/admin/config", Role::Viewer, "Show the configuration that is in force", |ask| {
        Box::pin(settings::config(ask))
    }),
    Entry::post("/admin/reload", "", "Read the configuration file again", |ask| Box::pin(settings::reload(ask))),
    Entry::get("/admin/providers", Role::Viewer, "List the providers", |ask| {
        Box::pin(settings::list(ask, Kind::Provider))
    }),
    Entry::put("/admin/providers/{name}", "Provider", "Add or replace a provider", |ask| {
        Box::pin(settings::put(ask, Kind::Provider))
    }),
    Entry::delete("/admin/providers/{name}", "Remove a provider", |ask| {
        Box::pin(settings::remove(ask, Kind::Provider))
    }),
    Entry::get("/admin/aliases", Role::Viewer, "List the aliases", |ask| Box::pin(settings::list(ask, Kind::Alias))),
    Entry::put("/admin/aliases/{name}", "Alias", "Let an id mean what another means", |ask| {
        Box::pin(settings::put(ask, Kind::Alias))
    }),
    Entry::delete("/admin/aliases/{name}", "Remove an alias", |ask| Box::pin(settings::remove(ask, Kind::Alias))),
    Entry::get("/admin/prices", Role::Viewer, "List the prices that were set here", |ask| {
        Box::pin(settings::list(ask, Kind::Price))
    }),
    Entry::put("/admin/prices/{name}", "Price", "Set what a model costs; the name is `provider:model`", |ask| {
        Box::pin(settings::put(ask, Kind::Price))
    }),
    Entry::delete("/admin/prices/{name}", "Remove a price that was set here", |ask| {
        Box::pin(settings::remove(ask, Kind::Price))
    }),
];

/// Method, path and needed role of every call.
pub fn calls() -> impl Iterator<Item = (&'static str, &'static str, Role)> {
    ROUTES.iter().map(|entry| (entry.method, entry.path, entry.needs))
}

/// One call.
pub(crate) struct Entry {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) needs: Role,
    /// The schema of its body; empty when it has none.
    body: &'static str,
    summary: &'static str,
    handle: Handler,
}

type Handler = fn(Ask) -> BoxFuture<'static, Result<Answer, Error>>;

impl Entry {
    const fn get(path: &'static str, needs: Role, summary: &'static str, handle: Handler) -> Self {
        Self { method: "GET", path, needs, body: "", summary, handle }
    }

    const fn post(path: &'static str, body: &'static str, summary: &'static str, handle: Handler) -> Self {
        Self { method: "POST", path, needs: Role::Admin, body, summary, handle }
    }

    const fn put(path: &'static str, body: &'static str, summary: &'static str, handle: Handler) -> Self {
        Self { method: "PUT", path, needs: Role::Admin, body, summary, handle }
    }

    const fn patch(path: &'static str, body: &'static str, summary: &'static str, handle: Handler) -> Self {
        Self { method: "PATCH", path, needs: Role::Admin, body, summary, handle }
    }

    const fn delete(path: &'static str, summary: &'static str, handle: Handler) -> Self {
        Self { method: "DELETE", path, needs: Role::Admin, body: "", summary, handle }
    }

    fn route(&'static self) -> MethodRouter<Arc<App>> {
        let method = http::Method::from_bytes(self.method.as_bytes()).ok();
        let filter = method.and_then(|method| MethodFilter::try_from(method).ok()).expect("a test knows every method");
        let handle = move |State(app): State<Arc<App>>,
                           Extension(line): Extension<Line>,
                           params: RawPathParams,
                           request: Request| async move {
            let params = params.iter().map(|(_, value)| value.to_owned()).collect();
            let answered = answer(self, app, &line, params, request).await;
            answered.unwrap_or_else(|error| reply::failure(error, &line))
        };
        on(filter, handle)
    }
}

/// A call whose caller may make it.
pub(crate) struct Ask {
    pub(crate) app: Arc<App>,
    pub(crate) operator: Operator,
    /// The part of the path that has a name.
    name: String,
    query: Vec<(String, String)>,
    body: Bytes,
}

/// What is answered.
pub(crate) struct Answer(StatusCode, Value);

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self(StatusCode::OK, value)
    }
}

impl Answer {
    fn created(value: Value) -> Self {
        Self(StatusCode::CREATED, value)
    }
}

pub(crate) fn routes() -> Router<Arc<App>> {
    ROUTES.iter().fold(Router::new(), |router, entry| router.route(entry.path, entry.route()))
}

async fn answer(
    entry: &'static Entry,
    app: Arc<App>,
    line: &Line,
    params: Vec<String>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, whole) = request.into_parts();
    let operator = auth::operator(&app, &parts, entry.needs)?;
    line.operator(&operator);
    let body = match entry.body {
        "" => Bytes::new(),
        _ => {
            let memory = app.memory.request(MemoryOwner::Key(operator.name.clone()));
            let (limit, patience) = (MAX_BODY.min(app.config.body_limit), app.config.read_timeout);
            let reading = body::Reading { kind: body::Kind::Json, limit, patience, memory: &memory };
            reading.read(&parts.headers, whole).await?
        }
    };
    let query = parts.uri.query().unwrap_or_default();
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let name = params.into_iter().next().unwrap_or_default();
    if entry.method != "GET" {
        tracing::info!(
            operator = &*operator.name,
            call = format!("{} {}", entry.method, entry.path),
            name = &name[..name.floor_char_boundary(128)],
            "administered"
        );
    }
    let Answer(status, value) = (entry.handle)(Ask { app, operator, name, query, body }).await?;
    let mut response = json(value.to_string());
    *response.status_mut() = status;
    // It may hold a key.
    response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Ask {
    /// The body, which has no fields that are not known.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::invalid(format!("The request body is not what it should be: {error}")))
    }

    fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// A whole number of the query.
    fn number(&self, key: &str, otherwise: i64, most: i64) -> Result<i64, Error> {
        let Some(text) = self.query(key) else { return Ok(otherwise) };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| Error::invalid(format!("Invalid '{key}': expected a number from 1 to {most}")))
    }

    fn store(&self) -> Result<&Store, Error> {
        let off =
            || Error::new(ErrorKind::Conflict, "The store is off: start the server with one to keep keys and settings");
        self.app.gateway.accounting().store().ok_or_else(off)
    }

    /// What was changed in the store counts here from now on, and elsewhere within a second.
    async fn changed(&self) -> Result<(), Error> {
        self.app.gateway.accounting().refresh_keys().await.map_err(fault)
    }
}

/// What the store refuses or cannot do.
fn fault(error: StoreError) -> Error {
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
