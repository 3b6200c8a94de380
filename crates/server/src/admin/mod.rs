//! The admin API: reads usage and health, and changes users, projects, keys and the configuration
//! while the server runs.
//!
//! Routes absent from the table `ROUTES` return 404. A caller without the required role is refused
//! before the request body is read.

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

/// Every route, with its required role, the schema of its body, and its summary in the OpenAPI
/// document. Methods of one path are adjacent.
pub(crate) const ROUTES: &[AdminRoute] = &[
    AdminRoute::get("/admin/me", Role::Member, "The caller and its role", |request| Box::pin(accounts::me(request))),
    AdminRoute::get("/admin/openapi.json", Role::Viewer, "This description", |request| Box::pin(show_openapi(request))),
    AdminRoute::get("/admin/users", Role::Viewer, "List the users", |request| Box::pin(accounts::users(request))),
    AdminRoute::post("/admin/users", "NewUser", "Create a user", |request| Box::pin(accounts::add_user(request))),
    AdminRoute::patch("/admin/users/{name}", "UserChange", "Change a user's role, or disable its keys", |request| {
        Box::pin(accounts::change_user(request))
    }),
    AdminRoute::get("/admin/projects", Role::Viewer, "List the projects", |request| {
        Box::pin(accounts::projects(request))
    }),
    AdminRoute::post("/admin/projects", "NewProject", "Create a project", |request| {
        Box::pin(accounts::add_project(request))
    }),
    AdminRoute::patch("/admin/projects/{name}", "ProjectChange", "Change a project's budget", |request| {
        Box::pin(accounts::change_project(request))
    }),
    AdminRoute::get("/admin/keys", Role::Viewer, "List the keys", |request| Box::pin(accounts::keys(request))),
    AdminRoute::post("/admin/keys", "NewKey", "Create a key, which only this response shows", |request| {
        Box::pin(accounts::add_key(request))
    }),
    AdminRoute::patch("/admin/keys/{id}", "Limits", "Change the limits of a key; absent fields stay", |request| {
        Box::pin(accounts::change_key(request))
    }),
    AdminRoute::delete("/admin/keys/{id}", "Revoke a key", |request| Box::pin(accounts::revoke_key(request))),
    AdminRoute::get("/admin/usage", Role::Viewer, "Sum usage by key, project, model, provider or day", |request| {
        Box::pin(usage::usage(request))
    }),
    AdminRoute::get("/admin/records", Role::Viewer, "List the latest requests", |request| {
        Box::pin(usage::records(request))
    }),
    AdminRoute::get("/admin/models", Role::Viewer, "List the models, their targets and their health", |request| {
        Box::pin(models::models(request))
    }),
    AdminRoute::get("/admin/config", Role::Viewer, "Show the active configuration", |request| {
        Box::pin(settings::config(request))
    }),
    AdminRoute::post("/admin/reload", "", "Reload the configuration", |request| Box::pin(settings::reload(request))),
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
    AdminRoute::put("/admin/aliases/{name}", "Alias", "Add or replace an alias", |request| {
        Box::pin(settings::put(request, SettingKind::Alias))
    }),
    AdminRoute::delete("/admin/aliases/{name}", "Remove an alias", |request| {
        Box::pin(settings::remove(request, SettingKind::Alias))
    }),
    AdminRoute::get("/admin/prices", Role::Viewer, "List the prices of the store", |request| {
        Box::pin(settings::list(request, SettingKind::Price))
    }),
    AdminRoute::put(
        "/admin/prices/{name}",
        "Price",
        "Set the price of a model; the name is `provider:model`",
        |request| Box::pin(settings::put(request, SettingKind::Price)),
    ),
    AdminRoute::delete("/admin/prices/{name}", "Remove a price of the store", |request| {
        Box::pin(settings::remove(request, SettingKind::Price))
    }),
];

/// The method, path and required role of every route.
pub fn route_table() -> impl Iterator<Item = (&'static str, &'static str, Role)> {
    ROUTES.iter().map(|route| (route.method, route.path, route.required_role))
}

pub(crate) fn routes() -> Router<Arc<AppState>> {
    ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, route.handler()))
}

async fn show_openapi(_request: AdminRequest) -> Result<AdminResponse, Error> {
    Ok(openapi_document().into())
}

fn openapi_document() -> Value {
    openapi::document(ROUTES)
}
