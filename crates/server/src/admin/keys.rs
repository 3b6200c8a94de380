//! Keys: those of everybody for admins, their own for others.

use std::collections::{BTreeMap, HashMap};

use chat::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{BudgetOwner, BudgetState, Key, Limits, Project, Role};

use super::accounts::validate_name;
use super::budgets::{budget_states, budgets_json, end_users_json, read_budgets, set_budgets};
use super::errors::{invalid_field, name_error, role_error, store_error};
use super::key_limits::LimitsBody;
use super::request::{AdminRequest, AdminResponse};
use super::units::{format_dollars, unix_seconds};

/// The contents of a key's JSON beside its own row: the names of users and projects, and
/// budgets, by ids.
struct KeyIndex {
    users: HashMap<String, String>,
    projects: HashMap<String, String>,
    budgets: BTreeMap<String, Vec<BudgetState>>,
}

impl KeyIndex {
    async fn load(request: &AdminRequest) -> Result<Self, Error> {
        let users = request.store()?.users().await.map_err(store_error)?;
        let projects = request.store()?.projects().await.map_err(store_error)?;
        Ok(Self {
            users: users.into_iter().map(|user| (user.id, user.name)).collect(),
            projects: projects.into_iter().map(|project| (project.id, project.name)).collect(),
            budgets: budget_states(request).await?,
        })
    }

    fn key_json(&self, key: &Key) -> Value {
        let user = key.user_id.as_ref().and_then(|id| self.users.get(id));
        let project = self.projects.get(&key.project_id);
        let budgets = self.budgets.get(&key.id).map(Vec::as_slice).unwrap_or_default();
        key_json(key, project.map(String::as_str), user.map(String::as_str), budgets)
    }
}

/// A key of the store with the names of its project and its user, and its budgets with a period.
/// Money is in US dollars, times are in seconds since 1970.
pub fn key_json(key: &Key, project: Option<&str>, user: Option<&str>, budgets: &[BudgetState]) -> Value {
    let Limits { models, networks, budget, requests_per_minute, tokens_per_minute, concurrency, expires_at } =
        &key.limits;
    json!({
        "id": key.id, "name": key.name, "tail": key.tail, "project": project, "user": user,
        "models": models, "networks": networks, "budget": budget.map(format_dollars), "spent": format_dollars(key.spent),
        "budgets": budgets_json(budgets),
        "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute, "concurrency": concurrency,
        "expires_at": expires_at.map(unix_seconds), "created_at": unix_seconds(key.created_at), "revoked_at": key.revoked_at.map(unix_seconds),
    })
}

pub(super) async fn keys(request: AdminRequest) -> Result<AdminResponse, Error> {
    let index = KeyIndex::load(&request).await?;
    let mut keys = request.store()?.keys().await.map_err(store_error)?;
    keys.retain(|key| request.operator.role >= Role::Viewer || is_own(&request, key));
    Ok(json!({"data": keys.iter().map(|key| index.key_json(key)).collect::<Vec<_>>()}).into())
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
    let admin = request.operator.role == Role::Admin;
    if !admin && request.operator.user_id.is_none() {
        return Err(role_error("A key without a user cannot make keys"));
    }
    let new: NewKey = request.parse_body()?;
    let mut limits: LimitsBody = serde_json::from_value(new.limits)
        .map_err(|error| Error::invalid(format!("The request body is not valid: {error}")))?;
    let budgets = read_budgets(&request, limits.budgets.take(), true)?;
    let limits = limits.apply_to(Limits::default(), &request.app.gateway)?;
    let name = validate_name(&new.name)?;
    let user = match &request.operator.user_id {
        Some(user_id) if !admin => {
            Some(check_own_key(&request, user_id, new.user.as_deref(), new.project.as_deref(), &limits).await?)
        }
        _ => new.user,
    };
    let new_key = gateway::NewKey { name, project: new.project.as_deref(), user: user.as_deref(), limits };
    let (key, secret) = gateway::create_key(request.store()?, new_key).await.map_err(name_error)?;
    set_budgets(&request, BudgetOwner::Key(&key), budgets).await?;
    request.refresh_accounts().await?;
    let mut added = KeyIndex::load(&request).await?.key_json(&key);
    added["key"] = secret.into();
    Ok(AdminResponse::created(added))
}

pub(super) async fn change_key(request: AdminRequest) -> Result<AdminResponse, Error> {
    let mut change: LimitsBody = request.parse_body()?;
    let current = find_key(&request).await?;
    let budgets = read_budgets(&request, change.budgets.take(), true)?;
    let limits = change.apply_to(current.limits.clone(), &request.app.gateway)?;
    if request.operator.role < Role::Admin {
        check_own_change(&request, &current, &limits).await?;
    }
    let changed = request.store()?.set_key_limits(&current.id, &limits).await.map_err(store_error)?;
    set_budgets(&request, BudgetOwner::Key(&changed), budgets).await?;
    request.refresh_accounts().await?;
    Ok(KeyIndex::load(&request).await?.key_json(&changed).into())
}

pub(super) async fn revoke_key(request: AdminRequest) -> Result<AdminResponse, Error> {
    let key = find_key(&request).await?;
    request.store()?.revoke_key(&key.id).await.map_err(store_error)?;
    request.refresh_accounts().await?;
    Ok(json!({"revoked": request.path_param}).into())
}

/// The amounts that end users have spent of the budgets of a key that count each of them alone.
pub(super) async fn end_users(request: AdminRequest) -> Result<AdminResponse, Error> {
    let key = visible_key(&request).await?;
    let budgets = budget_states(&request).await?.remove(&key.id).unwrap_or_default();
    let spends = request.store()?.end_user_spend(&key.id).await.map_err(store_error)?;
    Ok(json!({"data": end_users_json(&budgets, &spends)}).into())
}

/// Whether a key belongs to the operator: it has the operator's user, or is the operator's own.
fn is_own(request: &AdminRequest, key: &Key) -> bool {
    let operator = &request.operator;
    let is_of_user = key.user_id.is_some() && key.user_id.as_deref() == operator.user_id.as_deref();
    is_of_user || operator.key_id.as_deref() == Some(key.id.as_str())
}

/// The key of the path, if the operator may see it.
///
/// # Errors
/// `NotFound` for a key of somebody else too.
async fn visible_key(request: &AdminRequest) -> Result<Key, Error> {
    let key = request.store()?.key(&request.path_param).await.map_err(store_error)?;
    if request.operator.role >= Role::Viewer || is_own(request, &key) {
        return Ok(key);
    }
    Err(Error::new(ErrorKind::NotFound, format!("no key in use is called `{}`", request.path_param)))
}

/// The key of the path, which an admin or its owner may change.
///
/// # Errors
/// As [`visible_key`]; `Forbidden` for a key that the operator may only see.
async fn find_key(request: &AdminRequest) -> Result<Key, Error> {
    let key = visible_key(request).await?;
    if request.operator.role == Role::Admin || is_own(request, &key) {
        return Ok(key);
    }
    Err(role_error("This needs the role `admin`: the key is not yours"))
}

/// Checks a key that a user makes for itself. Returns the name of the user.
///
/// # Errors
/// `Forbidden` for a key of another user; `NotFound` for a project that the user is not a member
/// of; `InvalidRequest` for a budget beyond the project's or the user's.
async fn check_own_key(
    request: &AdminRequest,
    user_id: &str,
    user: Option<&str>,
    project: Option<&str>,
    limits: &Limits,
) -> Result<String, Error> {
    let users = request.store()?.users().await.map_err(store_error)?;
    let own = users.iter().find(|own| own.id == user_id);
    let own = own.ok_or_else(|| role_error("Your user does not exist any more"))?;
    if user.is_some_and(|user| user != own.name) {
        return Err(role_error("This needs the role `admin`: the key would be of another user"));
    }
    let project = project.unwrap_or(gateway::DEFAULT_PROJECT);
    let projects = request.store()?.projects_of_user(user_id).await.map_err(store_error)?;
    let not_member = || Error::new(ErrorKind::NotFound, format!("You are not a member of a project `{project:.64}`"));
    let project = projects.iter().find(|own| own.name == project).ok_or_else(not_member)?;
    check_budget(request, own, project, limits, "").await?;
    Ok(own.name.clone())
}

/// Checks a change of one's own key.
///
/// # Errors
/// As [`check_own_key`]; `Forbidden` for a key in a project that the user is not a member of.
async fn check_own_change(request: &AdminRequest, key: &Key, limits: &Limits) -> Result<(), Error> {
    let Some(user_id) = &request.operator.user_id else {
        return Err(role_error("This needs the role `admin`: a key without a user cannot change itself"));
    };
    let users = request.store()?.users().await.map_err(store_error)?;
    let projects = request.store()?.projects_of_user(user_id).await.map_err(store_error)?;
    let project = projects.iter().find(|project| project.id == key.project_id);
    let (Some(own), Some(project)) = (users.iter().find(|own| own.id == **user_id), project) else {
        return Err(role_error("This needs the role `admin`: you are not a member of the project of this key"));
    };
    check_budget(request, own, project, limits, &key.id).await
}

/// Checks that a key's budget is within its project's, and together with the user's other keys
/// within the user's. A revoked key counts with what it has spent. `id` is the key that changes.
async fn check_budget(
    request: &AdminRequest,
    user: &store::User,
    project: &Project,
    limits: &Limits,
    id: &str,
) -> Result<(), Error> {
    let invalid = |message: String| invalid_field("budget", message);
    if let (Some(budget), Some(of_project)) = (limits.budget, project.budget)
        && budget > of_project
    {
        let of_project = format_dollars(of_project);
        return Err(invalid(format!("Invalid 'budget': the project `{}` has ${of_project}", project.name)));
    }
    let Some(of_user) = user.budget.or(request.app.config.console.member_budget) else { return Ok(()) };
    let keys = request.store()?.keys_of_user(&user.id).await.map_err(store_error)?;
    let committed = keys.iter().filter(|key| key.id != id).map(|key| match (key.revoked_at, key.limits.budget) {
        (None, Some(budget)) => i128::from(budget.max(key.spent)),
        // The budget of an admin's key without one is the project's.
        (Some(_), _) | (None, None) => i128::from(key.spent),
    });
    let left = (i128::from(of_user) - committed.sum::<i128>()).max(0);
    if limits.budget.is_none_or(|budget| i128::from(budget) > left) {
        let left = format_dollars(i64::try_from(left).unwrap_or(i64::MAX));
        return Err(invalid(format!(
            "Invalid 'budget': your keys may have ${left} more together, so each needs a budget"
        )));
    }
    Ok(())
}
