//! The admin API: reads usage and health, and changes users, projects, keys and the configuration
//! while the server runs.
//!
//! Routes absent from the table `ROUTES` return 404. A caller without the required role is refused
//! before the request body is read.

mod accounts;
mod budgets;
mod csv;
mod engine;
mod errors;
mod health;
mod key_limits;
mod keys;
mod models;
mod one_time_links;
mod openapi;
mod query;
mod records;
mod request;
mod route;
mod series;
mod settings;
mod sign_in;
mod tail;
mod units;
mod usage;
mod usage_filters;

use std::sync::Arc;

use axum::Router;
use chat::Error;
use serde_json::Value;
use store::Role;

use self::request::{AdminRequest, AdminResponse};
use self::route::AdminRoute;
use crate::app::AppState;

pub use self::budgets::budgets_json;
pub use self::keys::key_json;
pub use self::route::Access;
pub use crate::control::{ConfigController, SettingEntry, SettingKind, SettingSource};

/// Every route, with its required role, the schema of its body, and its summary in the OpenAPI
/// document. Methods of one path are adjacent.
pub(crate) const ROUTES: &[AdminRoute] = &[
    AdminRoute::post("/admin/setup", "Setup", "Make the first admin with the link of the first start", |request| {
        Box::pin(one_time_links::set_up(request))
    })
    .with_access(Access::Public),
    AdminRoute::post("/admin/session", "SignIn", "Sign in with a password or a key", |request| {
        Box::pin(sign_in::sign_in(request))
    })
    .with_access(Access::Public),
    AdminRoute::delete("/admin/session", "Sign out; with `all=true` everywhere", |request| {
        Box::pin(sign_in::sign_out(request))
    })
    .with_access(Access::Public)
    .with_query(&["all"])
    .with_success(204),
    AdminRoute::post("/admin/signup", "SignUp", "Make a user with an invitation", |request| {
        Box::pin(one_time_links::sign_up(request))
    })
    .with_access(Access::Public),
    AdminRoute::post("/admin/password", "NewPassword", "Set a password with a link, and sign in", |request| {
        Box::pin(one_time_links::set_password(request))
    })
    .with_access(Access::Public),
    AdminRoute::get("/admin/me", Role::Member, "The caller, its role, projects and keys", |request| {
        Box::pin(accounts::me(request))
    }),
    AdminRoute::post("/admin/me/password", "PasswordChange", "Change one's own password", |request| {
        Box::pin(sign_in::change_password(request))
    })
    .with_access(Access::Own)
    .with_success(204),
    AdminRoute::get("/admin/sessions", Role::Member, "List the sessions", |request| {
        Box::pin(sign_in::sessions(request))
    })
    .with_access(Access::Own),
    AdminRoute::delete("/admin/sessions/{id}", "End a session", |request| Box::pin(sign_in::end_session(request)))
        .with_access(Access::Own)
        .with_success(204),
    AdminRoute::post("/admin/invitations", "NewInvitation", "Make a link to sign up with, shown once", |request| {
        Box::pin(one_time_links::invite(request))
    }),
    AdminRoute::get("/admin/openapi.json", Role::Viewer, "This description", |request| Box::pin(show_openapi(request))),
    AdminRoute::get("/admin/users", Role::Viewer, "List the users", |request| Box::pin(accounts::users(request))),
    AdminRoute::post("/admin/users", "NewUser", "Create a user", |request| Box::pin(accounts::add_user(request))),
    AdminRoute::patch("/admin/users/{name}", "UserChange", "Change a user's role, or disable its keys", |request| {
        Box::pin(accounts::change_user(request))
    }),
    AdminRoute::post(
        "/admin/users/{name}/link",
        "",
        "Make a link to set a password, valid for 15 minutes",
        |request| Box::pin(one_time_links::add_password_link(request)),
    )
    .with_success(201),
    AdminRoute::get("/admin/projects", Role::Viewer, "List the projects", |request| {
        Box::pin(accounts::projects(request))
    }),
    AdminRoute::post("/admin/projects", "NewProject", "Create a project", |request| {
        Box::pin(accounts::add_project(request))
    }),
    AdminRoute::patch("/admin/projects/{name}", "ProjectChange", "Change a project's budgets", |request| {
        Box::pin(accounts::change_project(request))
    }),
    AdminRoute::put("/admin/projects/{name}/members", "Members", "Replace the members of a project", |request| {
        Box::pin(accounts::set_members(request))
    }),
    AdminRoute::get("/admin/keys", Role::Viewer, "List the keys", |request| Box::pin(keys::keys(request)))
        .with_access(Access::Own),
    AdminRoute::post("/admin/keys", "NewKey", "Create a key, which only this response shows", |request| {
        Box::pin(keys::add_key(request))
    })
    .with_access(Access::Own),
    AdminRoute::patch("/admin/keys/{id}", "Limits", "Change the limits of a key; absent fields stay", |request| {
        Box::pin(keys::change_key(request))
    })
    .with_access(Access::Own),
    AdminRoute::get(
        "/admin/keys/{id}/end-users",
        Role::Viewer,
        "List what end users have spent of their budgets now, the most first",
        |request| Box::pin(keys::end_users(request)),
    )
    .with_access(Access::Own),
    AdminRoute::delete("/admin/keys/{id}", "Revoke a key", |request| Box::pin(keys::revoke_key(request)))
        .with_access(Access::Own),
    AdminRoute::get(
        "/admin/usage",
        Role::Viewer,
        "Sum usage by key, project, user, model, provider or day",
        |request| Box::pin(usage::usage(request)),
    )
    .with_access(Access::Own)
    .with_query(&["by", "days"]),
    AdminRoute::get("/admin/series", Role::Viewer, "Sum usage over time; as CSV where it is accepted", |request| {
        Box::pin(series::series(request))
    })
    .with_access(Access::Own)
    .with_query(series::PARAMETERS)
    .with_answer("Series"),
    AdminRoute::get(
        "/admin/records",
        Role::Viewer,
        "List requests, the newest first; as CSV where it is accepted",
        |request| Box::pin(records::records(request)),
    )
    .with_access(Access::Own)
    .with_query(records::PARAMETERS)
    .with_answer("RecordPage"),
    AdminRoute::get(
        "/admin/records/{id}",
        Role::Viewer,
        "Show a request by its id, its attempts and its cost",
        |request| Box::pin(records::record(request)),
    )
    .with_access(Access::Own)
    .with_answer("RecordDetail"),
    AdminRoute::get(
        "/admin/health",
        Role::Viewer,
        "Show the requests and failures of each provider by hours",
        |request| Box::pin(health::health(request)),
    )
    .with_query(&["hours"])
    .with_answer("Health"),
    AdminRoute::get("/admin/models", Role::Viewer, "List the models, their targets and their health", |request| {
        Box::pin(models::models(request))
    })
    .with_access(Access::Own),
    AdminRoute::get("/admin/tail", Role::Viewer, "Follow the requests as they start and end", |request| {
        Box::pin(tail::tail(request))
    })
    .with_access(Access::Own)
    .with_query(usage_filters::FILTERS)
    .with_events(),
    AdminRoute::get("/admin/engine", Role::Viewer, "Show the state of the local model", |request| {
        Box::pin(engine::engine(request))
    })
    .with_answer("Engine"),
    AdminRoute::get("/admin/config", Role::Viewer, "Show the active configuration", |request| {
        Box::pin(settings::config(request))
    })
    .with_answer("Config"),
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
    AdminRoute::post(
        "/admin/providers/{name}/test",
        "",
        "Test a provider: its address, its key and its models",
        |request| Box::pin(settings::test_provider(request)),
    )
    .with_answer("ProviderTest"),
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

/// The method, path and callers of every route.
pub fn route_table() -> impl Iterator<Item = (&'static str, &'static str, Access)> {
    ROUTES.iter().map(|route| (route.method, route.path, route.access))
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
