//! The caller, users and projects.

use std::collections::{BTreeMap, BTreeSet};

use chat::Error;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{BudgetOwner, BudgetState, Project, Role, User};

use super::budgets::{BudgetBody, budget_states, budgets_json, read_budgets, set_budgets};
use super::errors::{invalid_field, name_error, store_error};
use super::key_limits::double_option;
use super::request::{AdminRequest, AdminResponse};
use super::units::{Dollars, format_dollars, unix_seconds};

pub(super) async fn me(request: AdminRequest) -> Result<AdminResponse, Error> {
    let AdminRequest { app, operator, .. } = &request;
    let accounting = app.gateway.accounting();
    let projects = match (accounting.store(), &operator.user_id) {
        (Some(store), _) if operator.role == Role::Admin => store.projects().await.map_err(store_error)?,
        (Some(store), Some(user_id)) => store.projects_of_user(user_id).await.map_err(store_error)?,
        _ => Vec::new(),
    };
    let ids = |user_id| accounting.keys.of_user(user_id).iter().map(|key| key.id().to_owned()).collect::<Vec<_>>();
    let keys = match (&operator.user_id, &operator.session) {
        (Some(user_id), _) => ids(Some(user_id)),
        // A session of the admin token calls models as the keys without a user.
        (None, Some(_)) => ids(None),
        (None, None) => operator.key_id.iter().map(|id| id.to_string()).collect(),
    };
    let session = operator.session.as_ref().map(|session| {
        let (created_at, expires_at) = (unix_seconds(session.created_at), unix_seconds(session.expires_at()));
        json!({"id": session.id, "created_at": created_at, "expires_at": expires_at})
    });
    let is_local = |route: &gateway::RouteInfo| route.targets.iter().any(|target| &*target.provider == gateway::LOCAL);
    let features = json!({
        "store": accounting.store().is_some(), "local_model": app.gateway.route_table().iter().any(is_local),
        "traces": app.config.tracer.is_some(),
    });
    Ok(json!({
        "name": &*operator.name, "role": operator.role.as_str(), "session": session,
        "projects": projects.iter().map(|project| &project.name).collect::<Vec<_>>(), "keys": keys, "features": features,
    })
    .into())
}

pub(super) fn parse_role(text: &str) -> Result<Role, Error> {
    let not_a_role = || format!("`{text:.32}` is not a role: expected member, viewer or admin");
    Role::parse(text).ok_or_else(|| invalid_field("role", not_a_role()))
}

/// Checks that logs and lists can show a name.
pub(super) fn validate_name(name: &str) -> Result<&str, Error> {
    let rule = || format!("A name has {}", store::NAME_RULE);
    store::is_name(name).then_some(name).ok_or_else(|| invalid_field("name", rule()))
}

fn user_json(user: &User, budgets: &BTreeMap<String, Vec<BudgetState>>) -> Value {
    json!({
        "name": user.name, "role": user.role.as_str(), "disabled": user.disabled_at.is_some(),
        "budget": user.budget.map(format_dollars), "budgets": budgets_json(budgets.get(&user.id).map_or(&[], Vec::as_slice)),
        "created_at": unix_seconds(user.created_at),
    })
}

pub(super) async fn users(request: AdminRequest) -> Result<AdminResponse, Error> {
    let users = request.store()?.users().await.map_err(store_error)?;
    let budgets = budget_states(&request).await?;
    Ok(json!({"data": users.iter().map(|user| user_json(user, &budgets)).collect::<Vec<_>>()}).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    name: String,
    role: String,
}

pub(super) async fn add_user(request: AdminRequest) -> Result<AdminResponse, Error> {
    let new: NewUser = request.parse_body()?;
    let added =
        request.store()?.add_user(validate_name(&new.name)?, parse_role(&new.role)?).await.map_err(name_error)?;
    Ok(AdminResponse::created(user_json(&added, &BTreeMap::new())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserChange {
    role: Option<String>,
    disabled: Option<bool>,
    /// Null: the one of the configuration.
    #[serde(default, deserialize_with = "double_option")]
    budget: Option<Option<Dollars>>,
    budgets: Option<Vec<BudgetBody>>,
}

pub(super) async fn change_user(request: AdminRequest) -> Result<AdminResponse, Error> {
    let change: UserChange = request.parse_body()?;
    let current = request.store()?.user(&request.path_param).await.map_err(store_error)?;
    let role = change.role.as_deref().map_or(Ok(current.role), parse_role)?;
    let disabled = change.disabled.unwrap_or(current.disabled_at.is_some());
    let budget = change.budget.map(|budget| budget.map(|budget| budget.nano()).transpose()).transpose()?;
    let budgets = read_budgets(&request, change.budgets, false)?;
    let mut changed = request.store()?.update_user(&request.path_param, role, disabled).await.map_err(store_error)?;
    if let Some(budget) = budget {
        changed = request.store()?.set_user_budget(&request.path_param, budget).await.map_err(store_error)?;
    }
    set_budgets(&request, BudgetOwner::User(&changed), budgets).await?;
    request.refresh_accounts().await?;
    Ok(user_json(&changed, &budget_states(&request).await?).into())
}

fn project_json(project: &Project, budgets: &BTreeMap<String, Vec<BudgetState>>) -> Value {
    json!({
        "name": project.name, "budget": project.budget.map(format_dollars), "spent": format_dollars(project.spent),
        "budgets": budgets_json(budgets.get(&project.id).map_or(&[], Vec::as_slice)),
        "created_at": unix_seconds(project.created_at),
    })
}

pub(super) async fn projects(request: AdminRequest) -> Result<AdminResponse, Error> {
    let projects = request.store()?.projects().await.map_err(store_error)?;
    let members = request.store()?.project_members().await.map_err(store_error)?;
    let budgets = budget_states(&request).await?;
    let listed = projects.iter().map(|project| {
        let mut json = project_json(project, &budgets);
        let members = members.iter().filter(|(project_id, _)| *project_id == project.id);
        json["members"] = members.map(|(_, name)| name.as_str()).collect();
        json
    });
    Ok(json!({"data": listed.collect::<Vec<_>>()}).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProject {
    name: String,
    budget: Option<Dollars>,
    budgets: Option<Vec<BudgetBody>>,
}

pub(super) async fn add_project(request: AdminRequest) -> Result<AdminResponse, Error> {
    let new: NewProject = request.parse_body()?;
    let budget = new.budget.map(|budget| budget.nano()).transpose()?;
    let budgets = read_budgets(&request, new.budgets, false)?;
    let added = request.store()?.add_project(validate_name(&new.name)?, budget).await.map_err(name_error)?;
    set_budgets(&request, BudgetOwner::Project(&added), budgets).await?;
    Ok(AdminResponse::created(project_json(&added, &budget_states(&request).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectChange {
    /// Null removes the budget.
    #[serde(default, deserialize_with = "double_option")]
    budget: Option<Option<Dollars>>,
    budgets: Option<Vec<BudgetBody>>,
}

pub(super) async fn change_project(request: AdminRequest) -> Result<AdminResponse, Error> {
    let change: ProjectChange = request.parse_body()?;
    if change.budget.is_none() && change.budgets.is_none() {
        return Err(invalid_field("budget", "The request body has neither `budget` nor `budgets`"));
    }
    let budget = change.budget.map(|budget| budget.map(|budget| budget.nano()).transpose()).transpose()?;
    let budgets = read_budgets(&request, change.budgets, false)?;
    let mut changed = request.store()?.project(&request.path_param).await.map_err(store_error)?;
    if let Some(budget) = budget {
        changed = request.store()?.set_budget(&request.path_param, budget).await.map_err(store_error)?;
    }
    set_budgets(&request, BudgetOwner::Project(&changed), budgets).await?;
    request.refresh_accounts().await?;
    Ok(project_json(&changed, &budget_states(&request).await?).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    users: BTreeSet<String>,
}

pub(super) async fn set_members(request: AdminRequest) -> Result<AdminResponse, Error> {
    let Members { users } = request.parse_body()?;
    let project = request.store()?.set_project_members(&request.path_param, &users).await.map_err(store_error)?;
    Ok(json!({"name": project.name, "members": users}).into())
}
