//! Users, projects, keys, and what they have used.

use std::collections::HashMap;

use chat::Error;
use gateway::IpNetwork;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Key, Limits, Project, Role, UsageGroupBy, UsageRecord, UsageTotal, User, money, now_micros};

use super::request::{AdminRequest, AdminResponse, store_error};

/// The end of the year 9999, in seconds since 1970.
const MAX_TIMESTAMP: i64 = 253_402_300_799;
const DAY_MICROS: i64 = 86_400 * 1_000_000;

pub(super) async fn me(request: AdminRequest) -> Result<AdminResponse, Error> {
    Ok(json!({"name": &*request.operator.name, "role": request.operator.role.as_str()}).into())
}

/// Seconds since 1970, as clients of this API count.
fn unix_seconds(micros: i64) -> i64 {
    micros.div_euclid(1_000_000)
}

fn format_dollars(nano: i64) -> String {
    money::format(nano, 9)
}

/// US dollars, as text (exact) or as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Dollars {
    Text(String),
    Number(serde_json::Number),
}

impl Dollars {
    fn nano(&self) -> Result<i64, Error> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        };
        money::parse(&text).map_err(Error::invalid)
    }
}

/// What is there and null lifts a bound; what is not there leaves it as it is.
fn double_option<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn parse_role(text: &str) -> Result<Role, Error> {
    Role::parse(text).ok_or_else(|| Error::invalid(format!("`{text:.32}` is no role: member, viewer or admin")))
}

/// A name that logs and lists can show.
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
    let made =
        request.store()?.add_user(validate_name(&new.name)?, parse_role(&new.role)?).await.map_err(store_error)?;
    Ok(AdminResponse::created(user_json(&made)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserChange {
    role: Option<String>,
    disabled: Option<bool>,
}

pub(super) async fn change_user(request: AdminRequest) -> Result<AdminResponse, Error> {
    let change: UserChange = request.parse_body()?;
    let known = request.store()?.user(&request.path_param).await.map_err(store_error)?;
    let role = change.role.as_deref().map_or(Ok(known.role), parse_role)?;
    let disabled = change.disabled.unwrap_or(known.disabled_at.is_some());
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
    let made = request.store()?.add_project(validate_name(&new.name)?, budget).await.map_err(store_error)?;
    Ok(AdminResponse::created(project_json(&made)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectChange {
    /// Null lifts it.
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

/// What names ids stand for, of users and projects.
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
    let (names, keys) = (NameIndex::load(&request).await?, request.store()?.keys().await.map_err(store_error)?);
    Ok(json!({"data": keys.iter().map(|key| names.key_json(key)).collect::<Vec<_>>()}).into())
}

/// What a key may do. A bound that is null is none.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsBody {
    #[serde(deserialize_with = "double_option")]
    models: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "double_option")]
    networks: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "double_option")]
    budget: Option<Option<Dollars>>,
    #[serde(deserialize_with = "double_option")]
    requests_per_minute: Option<Option<i64>>,
    #[serde(deserialize_with = "double_option")]
    tokens_per_minute: Option<Option<i64>>,
    #[serde(deserialize_with = "double_option")]
    concurrency: Option<Option<i64>>,
    /// Seconds since 1970.
    #[serde(deserialize_with = "double_option")]
    expires_at: Option<Option<i64>>,
}

impl LimitsBody {
    /// These bounds in the place of those before.
    fn apply_to(self, current: Limits) -> Result<Limits, Error> {
        let positive = |name: &str, bound: Option<Option<i64>>, before| match bound {
            Some(Some(bound)) if !(1..=1_000_000_000_000).contains(&bound) => {
                Err(Error::invalid(format!("Invalid '{name}': expected a number from 1 to 1000000000000")))
            }
            bound => Ok(bound.unwrap_or(before)),
        };
        if let Some(Some(models)) = &self.models
            && let Some(odd) = models.iter().find(|model| !store::is_model_id(model))
        {
            return Err(Error::invalid(format!("Invalid 'models': {odd:.64?} is no id of a model")));
        }
        if let Some(Some(at)) = self.expires_at
            && !(1..=MAX_TIMESTAMP).contains(&at)
        {
            return Err(Error::invalid(format!(
                "Invalid 'expires_at': expected seconds since 1970, from 1 to {MAX_TIMESTAMP}"
            )));
        }
        if let Some(Some(networks)) = &self.networks
            && let Some(odd) = networks.iter().find(|network| IpNetwork::parse(network).is_none())
        {
            return Err(Error::invalid(format!(
                "Invalid 'networks': `{odd:.64}` is no address or range such as 10.0.0.0/8"
            )));
        }
        let budget = match self.budget {
            Some(budget) => budget.map(|budget| budget.nano()).transpose()?,
            None => current.budget,
        };
        let expires_at = match self.expires_at {
            Some(at) => at.map(|at| at.saturating_mul(1_000_000)),
            None => current.expires_at,
        };
        Ok(Limits {
            models: self.models.unwrap_or(current.models),
            networks: self.networks.unwrap_or(current.networks),
            budget,
            requests_per_minute: positive(
                "requests_per_minute",
                self.requests_per_minute,
                current.requests_per_minute,
            )?,
            tokens_per_minute: positive("tokens_per_minute", self.tokens_per_minute, current.tokens_per_minute)?,
            concurrency: positive("concurrency", self.concurrency, current.concurrency)?,
            expires_at,
        })
    }
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
        .map_err(|error| Error::invalid(format!("The request body is not what it should be: {error}")))?;
    let limits = limits.apply_to(Limits::default())?;
    let new_key = gateway::NewKey {
        name: validate_name(&new.name)?,
        project: new.project.as_deref(),
        user: new.user.as_deref(),
        limits,
    };
    let (key, shown) = gateway::create_key(request.store()?, new_key).await.map_err(store_error)?;
    request.refresh_accounts().await?;
    let mut made = NameIndex::load(&request).await?.key_json(&key);
    made["key"] = shown.into();
    Ok(AdminResponse::created(made))
}

pub(super) async fn change_key(request: AdminRequest) -> Result<AdminResponse, Error> {
    let change: LimitsBody = request.parse_body()?;
    let known = request.store()?.key(&request.path_param).await.map_err(store_error)?;
    let changed = request
        .store()?
        .set_key_limits(&request.path_param, &change.apply_to(known.limits)?)
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

pub(super) async fn usage(request: AdminRequest) -> Result<AdminResponse, Error> {
    let by = match request.query_param("by").unwrap_or("key") {
        "key" => UsageGroupBy::Key,
        "project" => UsageGroupBy::Project,
        "model" => UsageGroupBy::Model,
        "provider" => UsageGroupBy::Upstream,
        "day" => UsageGroupBy::Day,
        other => {
            return Err(Error::invalid(format!(
                "Invalid 'by': `{other:.32}` is not key, project, model, provider or day"
            )));
        }
    };
    let days = request.query_number("days", 30, 36_500)?;
    let totals = request.store()?.usage(now_micros() - days * DAY_MICROS, by).await.map_err(store_error)?;
    Ok(json!({"days": days, "data": totals.iter().map(total_json).collect::<Vec<_>>()}).into())
}

fn total_json(total: &UsageTotal) -> Value {
    json!({
        "of": total.group, "requests": total.requests, "prompt_tokens": total.prompt_tokens, "cached_tokens": total.cached_tokens,
        "completion_tokens": total.completion_tokens, "cost": format_dollars(total.cost),
    })
}

pub(super) async fn records(request: AdminRequest) -> Result<AdminResponse, Error> {
    let limit = request.query_number("limit", 100, 1000)?;
    let records = request.store()?.latest_records(limit).await.map_err(store_error)?;
    Ok(json!({"data": records.iter().map(record_json).collect::<Vec<_>>()}).into())
}

fn record_json(record: &UsageRecord) -> Value {
    json!({
        "id": record.id, "at": unix_seconds(record.at), "key": record.key_name, "model": record.model, "provider": record.upstream,
        "prompt_tokens": record.prompt_tokens, "cached_tokens": record.cached_tokens, "cache_write_tokens": record.cache_write_tokens,
        "completion_tokens": record.completion_tokens, "reasoning_tokens": record.reasoning_tokens, "estimated": record.estimated,
        "cost": format_dollars(record.cost), "price": record.price, "first_token_us": record.first_token_us, "total_us": record.total_us,
        "outcome": record.outcome,
    })
}
