//! The admin API: everything that can be changed while the server runs. `ROUTES` is the whole of
//! it: what is not in the table does not exist, and who has not the role that an entry needs is
//! refused before the entry is looked at.

mod accounts;
mod key_limits;
mod models;
mod openapi;
mod request;
mod route;
mod settings;
mod units;
mod usage;

use std::sync::Arc;

use axum::Router;
use chat::Error;
use serde_json::Value;
use store::Role;

use self::request::{AdminRequest, AdminResponse};
use self::route::AdminRoute;
use crate::app::AppState;

pub use crate::control::{ConfigController, SettingEntry, SettingKind, SettingSource};

/// Who may do what. Methods of one path stand together.
pub(crate) const ROUTES: &[AdminRoute] = &[
    AdminRoute::get("/admin/me", Role::Member, "Who you are, and what you may do", |request| {
        Box::pin(accounts::me(request))
    }),
    AdminRoute::get("/admin/openapi.json", Role::Viewer, "This description", |request| Box::pin(openapi_json(request))),
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
        Box::pin(usage::usage(request))
    }),
    AdminRoute::get("/admin/records", Role::Viewer, "List the latest requests", |request| {
        Box::pin(usage::records(request))
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

pub(crate) fn routes() -> Router<Arc<AppState>> {
    ROUTES.iter().fold(Router::new(), |router, entry| router.route(entry.path, entry.route()))
}

async fn openapi_json(_request: AdminRequest) -> Result<AdminResponse, Error> {
    Ok(openapi_document().into())
}

fn openapi_document() -> Value {
    openapi::openapi_document(ROUTES)
}
