//! Users, projects and keys.

use std::collections::HashMap;

use chat::Error;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Key, Limits, Project, Role, User};

use super::key_limits::LimitsBody;
use super::request::{AdminRequest, AdminResponse, store_error};
use super::units::{Dollars, format_dollars, unix_seconds};

pub(super) async fn me(request: AdminRequest) -> Result<AdminResponse, Error> {
    Ok(json!({"name": &*request.operator.name, "role": request.operator.role.as_str()}).into())
}

fn parse_role(text: &str) -> Result<Role, Error> {
    Role::parse(text)
        .ok_or_else(|| Error::invalid(format!("`{text:.32}` is not a role: expected member, viewer or admin")))
}

/// Checks that logs and lists can show a name.
fn validate_name(name: &str) -> Result<&str, Error> {
    store::is_name(name).then_some(name).ok_or_else(|| Error::invalid(format!("A name has {}", store::NAME_RULE)))
}

fn user_json(user: &User) -> Value {
    json!({"name": user.name, "role": user.role.as_str(), "disabled": user.disabled_at.is_some(), "created_at": unix_seconds(user.created_at)})
}

pub(super) async fn users(request: AdminRequest) -> Result<AdminResponse, Error> {
    let users = request.store()?.users().await.map_err(store_error)?;
    Ok(json!({"data": users.iter().map(user_json).collect::<Vec<_>>()}).into())
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
        request.store()?.add_user(validate_name(&new.name)?, parse_role(&new.role)?).await.map_err(store_error)?;
    Ok(AdminResponse::created(user_json(&added)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserChange {
    role: Option<String>,
    disabled: Option<bool>,
}

pub(super) async fn change_user(request: AdminRequest) -> Result<AdminResponse, Error> {
    let change: UserChange = request.parse_body()?;
    let current = request.store()?.user(&request.path_param).await.map_err(store_error)?;
    let role = change.role.as_deref().map_or(Ok(current.role), parse_role)?;
    let disabled = change.disabled.unwrap_or(current.disabled_at.is_some());
    let changed = request.store()?.update_user(&request.path_param, role, disabled).await.map_err(store_error)?;
    request.refresh_accounts().await?;
    Ok(user_json(&changed).into())
}

fn project_json(project: &Project) -> Value {
    json!({
        "name": project.name, "budget": project.budget.map(format_dollars), "spent": format_dollars(project.spent),
        "created_at": unix_seconds(project.created_at),
    })
}

pub(super) async fn projects(request: AdminRequest) -> Result<AdminResponse, Error> {
    let projects = request.store()?.projects().await.map_err(store_error)?;
    Ok(json!({"data": projects.iter().map(project_json).collect::<Vec<_>>()}).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProject {
    name: String,
    budget: Option<Dollars>,
}

pub(super) async fn add_project(request: AdminRequest) -> Result<AdminResponse, Error> {
    let new: NewProject = request.parse_body()?;
    let budget = new.budget.map(|budget| budget.nano()).transpose()?;
    let added = request.store()?.add_project(validate_name(&new.name)?, budget).await.map_err(store_error)?;
    Ok(AdminResponse::created(project_json(&added)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectChange {
    /// Null removes the budget.
    #[serde(deserialize_with = "Option::deserialize")]
    budget: Option<Dollars>,
}

pub(super) async fn change_project(request: AdminRequest) -> Result<AdminResponse, Error> {
    let change: ProjectChange = request.parse_body()?;
    let budget = change.budget.map(|budget| budget.nano()).transpose()?;
    let changed = request.store()?.set_budget(&request.path_param, budget).await.map_err(store_error)?;
    request.refresh_accounts().await?;
    Ok(project_json(&changed).into())
}

/// The names of users and projects by their ids.
struct NameIndex {
    users: HashMap<String, String>,
    projects: HashMap<String, String>,
}

impl NameIndex {
    async fn load(request: &AdminRequest) -> Result<Self, Error> {
        let users = request.store()?.users().await.map_err(store_error)?;
        let projects = request.store()?.projects().await.map_err(store_error)?;
        Ok(Self {
            users: users.into_iter().map(|user| (user.id, user.name)).collect(),
            projects: projects.into_iter().map(|project| (project.id, project.name)).collect(),
        })
    }

    fn key_json(&self, key: &Key) -> Value {
        let Limits { models, networks, budget, requests_per_minute, tokens_per_minute, concurrency, expires_at } =
            &key.limits;
        json!({
            "id": key.id, "name": key.name, "tail": key.tail,
            "project": self.projects.get(&key.project_id), "user": key.user_id.as_ref().and_then(|id| self.users.get(id)),
            "models": models, "networks": networks, "budget": budget.map(format_dollars), "spent": format_dollars(key.spent),
            "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute, "concurrency": concurrency,
            "expires_at": expires_at.map(unix_seconds), "created_at": unix_seconds(key.created_at), "revoked_at": key.revoked_at.map(unix_seconds),
        })
    }
}

pub(super) async fn keys(request: AdminRequest) -> Result<AdminResponse, Error> {
    let names = NameIndex::load(&request).await?;
    let keys = request.store()?.keys().await.map_err(store_error)?;
    Ok(json!({"data": keys.iter().map(|key| names.key_json(key)).collect::<Vec<_>>()}).into())
}

#[derive(Deserialize)]
struct NewKey {
    name: String,
    project: Option<String>,
    user: Option<String>,
    #[serde(flatten)]
    limits: Value,
}

pub(super) async fn add_key(request: AdminRequest) -> Result<AdminResponse, Error> {
    let new: NewKey = request.parse_body()?;
    let limits: LimitsBody = serde_json::from_value(new.limits)
        .map_err(|error| Error::invalid(format!("The request body is not valid: {error}")))?;
    let limits = limits.apply_to(Limits::default())?;
    let new_key = gateway::NewKey {
        name: validate_name(&new.name)?,
        project: new.project.as_deref(),
        user: new.user.as_deref(),
        limits,
    };
    let (key, secret) = gateway::create_key(request.store()?, new_key).await.map_err(store_error)?;
    request.refresh_accounts().await?;
    let mut added = NameIndex::load(&request).await?.key_json(&key);
    added["key"] = secret.into();
    Ok(AdminResponse::created(added))
}

pub(super) async fn change_key(request: AdminRequest) -> Result<AdminResponse, Error> {
    let change: LimitsBody = request.parse_body()?;
    let current = request.store()?.key(&request.path_param).await.map_err(store_error)?;
    let changed = request
        .store()?
        .set_key_limits(&request.path_param, &change.apply_to(current.limits)?)
        .await
        .map_err(store_error)?;
    request.refresh_accounts().await?;
    Ok(NameIndex::load(&request).await?.key_json(&changed).into())
}

pub(super) async fn revoke_key(request: AdminRequest) -> Result<AdminResponse, Error> {
    request.store()?.revoke_key(&request.path_param).await.map_err(store_error)?;
    request.refresh_accounts().await?;
    Ok(json!({"revoked": request.path_param}).into())
}
