//! Users, projects, keys, and what they have used.

use std::collections::HashMap;

use chat::Error;
use gateway::IpNetwork;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Key, Limits, Project, Role, UsageGroupBy, UsageRecord, UsageTotal, User, money, now_micros};

use super::{Answer, Ask, fault};

/// The end of the year 9999, in seconds since 1970.
const LATEST: i64 = 253_402_300_799;
const DAY: i64 = 86_400 * 1_000_000;

pub(super) async fn me(ask: Ask) -> Result<Answer, Error> {
    Ok(json!({"name": &*ask.operator.name, "role": ask.operator.role.as_str()}).into())
}

/// Seconds since 1970, as clients of this API count.
fn seconds(micros: i64) -> i64 {
    micros.div_euclid(1_000_000)
}

fn dollars(nano: i64) -> String {
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
fn some<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn role(text: &str) -> Result<Role, Error> {
    Role::parse(text).ok_or_else(|| Error::invalid(format!("`{text:.32}` is no role: member, viewer or admin")))
}

/// A name that logs and lists can show.
fn named(name: &str) -> Result<&str, Error> {
    store::is_name(name).then_some(name).ok_or_else(|| Error::invalid(format!("A name has {}", store::NAME_RULE)))
}

fn user(user: &User) -> Value {
    json!({"name": user.name, "role": user.role.as_str(), "disabled": user.disabled_at.is_some(), "created_at": seconds(user.created_at)})
}

pub(super) async fn users(ask: Ask) -> Result<Answer, Error> {
    let users = ask.store()?.users().await.map_err(fault)?;
    Ok(json!({"data": users.iter().map(user).collect::<Vec<_>>()}).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    name: String,
    role: String,
}

pub(super) async fn add_user(ask: Ask) -> Result<Answer, Error> {
    let new: NewUser = ask.read()?;
    let made = ask.store()?.add_user(named(&new.name)?, role(&new.role)?).await.map_err(fault)?;
    Ok(Answer::created(user(&made)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserChange {
    role: Option<String>,
    disabled: Option<bool>,
}

pub(super) async fn change_user(ask: Ask) -> Result<Answer, Error> {
    let change: UserChange = ask.read()?;
    let known = ask.store()?.user(&ask.name).await.map_err(fault)?;
    let role = change.role.as_deref().map_or(Ok(known.role), role)?;
    let disabled = change.disabled.unwrap_or(known.disabled_at.is_some());
    let changed = ask.store()?.update_user(&ask.name, role, disabled).await.map_err(fault)?;
    ask.changed().await?;
    Ok(user(&changed).into())
}

fn project(project: &Project) -> Value {
    json!({
        "name": project.name, "budget": project.budget.map(dollars), "spent": dollars(project.spent),
        "created_at": seconds(project.created_at),
    })
}

pub(super) async fn projects(ask: Ask) -> Result<Answer, Error> {
    let projects = ask.store()?.projects().await.map_err(fault)?;
    Ok(json!({"data": projects.iter().map(project).collect::<Vec<_>>()}).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProject {
    name: String,
    budget: Option<Dollars>,
}

pub(super) async fn add_project(ask: Ask) -> Result<Answer, Error> {
    let new: NewProject = ask.read()?;
    let budget = new.budget.map(|budget| budget.nano()).transpose()?;
    let made = ask.store()?.add_project(named(&new.name)?, budget).await.map_err(fault)?;
    Ok(Answer::created(project(&made)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectChange {
    /// Null lifts it.
    #[serde(deserialize_with = "Option::deserialize")]
    budget: Option<Dollars>,
}

pub(super) async fn change_project(ask: Ask) -> Result<Answer, Error> {
    let change: ProjectChange = ask.read()?;
    let budget = change.budget.map(|budget| budget.nano()).transpose()?;
    let changed = ask.store()?.set_budget(&ask.name, budget).await.map_err(fault)?;
    ask.changed().await?;
    Ok(project(&changed).into())
}

/// What names ids stand for, of users and projects.
struct Names {
    users: HashMap<String, String>,
    projects: HashMap<String, String>,
}

impl Names {
    async fn of(ask: &Ask) -> Result<Self, Error> {
        let users = ask.store()?.users().await.map_err(fault)?;
        let projects = ask.store()?.projects().await.map_err(fault)?;
        Ok(Self {
            users: users.into_iter().map(|user| (user.id, user.name)).collect(),
            projects: projects.into_iter().map(|project| (project.id, project.name)).collect(),
        })
    }

    fn key(&self, key: &Key) -> Value {
        let Limits { models, networks, budget, requests_per_minute, tokens_per_minute, concurrency, expires_at } =
            &key.limits;
        json!({
            "id": key.id, "name": key.name, "tail": key.tail,
            "project": self.projects.get(&key.project_id), "user": key.user_id.as_ref().and_then(|id| self.users.get(id)),
            "models": models, "networks": networks, "budget": budget.map(dollars), "spent": dollars(key.spent),
            "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute, "concurrency": concurrency,
            "expires_at": expires_at.map(seconds), "created_at": seconds(key.created_at), "revoked_at": key.revoked_at.map(seconds),
        })
    }
}

pub(super) async fn keys(ask: Ask) -> Result<Answer, Error> {
    let (names, keys) = (Names::of(&ask).await?, ask.store()?.keys().await.map_err(fault)?);
    Ok(json!({"data": keys.iter().map(|key| names.key(key)).collect::<Vec<_>>()}).into())
}

/// What a key may do. A bound that is null is none.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsBody {
    #[serde(deserialize_with = "some")]
    models: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "some")]
    networks: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "some")]
    budget: Option<Option<Dollars>>,
    #[serde(deserialize_with = "some")]
    requests_per_minute: Option<Option<i64>>,
    #[serde(deserialize_with = "some")]
    tokens_per_minute: Option<Option<i64>>,
    #[serde(deserialize_with = "some")]
    concurrency: Option<Option<i64>>,
    /// Seconds since 1970.
    #[serde(deserialize_with = "some")]
    expires_at: Option<Option<i64>>,
}

impl LimitsBody {
    /// These bounds in the place of those before.
    fn over(self, before: Limits) -> Result<Limits, Error> {
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
            && !(1..=LATEST).contains(&at)
        {
            return Err(Error::invalid(format!(
                "Invalid 'expires_at': expected seconds since 1970, from 1 to {LATEST}"
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
            None => before.budget,
        };
        let expires_at = match self.expires_at {
            Some(at) => at.map(|at| at.saturating_mul(1_000_000)),
            None => before.expires_at,
        };
        Ok(Limits {
            models: self.models.unwrap_or(before.models),
            networks: self.networks.unwrap_or(before.networks),
            budget,
            requests_per_minute: positive("requests_per_minute", self.requests_per_minute, before.requests_per_minute)?,
            tokens_per_minute: positive("tokens_per_minute", self.tokens_per_minute, before.tokens_per_minute)?,
            concurrency: positive("concurrency", self.concurrency, before.concurrency)?,
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

pub(super) async fn add_key(ask: Ask) -> Result<Answer, Error> {
    let new: NewKey = ask.read()?;
    let limits: LimitsBody = serde_json::from_value(new.limits)
        .map_err(|error| Error::invalid(format!("The request body is not what it should be: {error}")))?;
    let limits = limits.over(Limits::default())?;
    let wanted =
        gateway::NewKey { name: named(&new.name)?, project: new.project.as_deref(), user: new.user.as_deref(), limits };
    let (key, shown) = gateway::create_key(ask.store()?, wanted).await.map_err(fault)?;
    ask.changed().await?;
    let mut made = Names::of(&ask).await?.key(&key);
    made["key"] = shown.into();
    Ok(Answer::created(made))
}

pub(super) async fn change_key(ask: Ask) -> Result<Answer, Error> {
    let change: LimitsBody = ask.read()?;
    let known = ask.store()?.key(&ask.name).await.map_err(fault)?;
    let changed = ask.store()?.set_key_limits(&ask.name, &change.over(known.limits)?).await.map_err(fault)?;
    ask.changed().await?;
    Ok(Names::of(&ask).await?.key(&changed).into())
}

pub(super) async fn revoke_key(ask: Ask) -> Result<Answer, Error> {
    ask.store()?.revoke_key(&ask.name).await.map_err(fault)?;
    ask.changed().await?;
    Ok(json!({"revoked": ask.name}).into())
}

pub(super) async fn usage(ask: Ask) -> Result<Answer, Error> {
    let by = match ask.query("by").unwrap_or("key") {
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
    let days = ask.number("days", 30, 36_500)?;
    let totals = ask.store()?.usage(now_micros() - days * DAY, by).await.map_err(fault)?;
    Ok(json!({"days": days, "data": totals.iter().map(total).collect::<Vec<_>>()}).into())
}

fn total(total: &UsageTotal) -> Value {
    json!({
        "of": total.group, "requests": total.requests, "prompt_tokens": total.prompt_tokens, "cached_tokens": total.cached_tokens,
        "completion_tokens": total.completion_tokens, "cost": dollars(total.cost),
    })
}

pub(super) async fn records(ask: Ask) -> Result<Answer, Error> {
    let limit = ask.number("limit", 100, 1000)?;
    let records = ask.store()?.latest_records(limit).await.map_err(fault)?;
    Ok(json!({"data": records.iter().map(record).collect::<Vec<_>>()}).into())
}

fn record(record: &UsageRecord) -> Value {
    json!({
        "id": record.id, "at": seconds(record.at), "key": record.key_name, "model": record.model, "provider": record.upstream,
        "prompt_tokens": record.prompt_tokens, "cached_tokens": record.cached_tokens, "cache_write_tokens": record.cache_write_tokens,
        "completion_tokens": record.completion_tokens, "reasoning_tokens": record.reasoning_tokens, "estimated": record.estimated,
        "cost": dollars(record.cost), "price": record.price, "first_token_us": record.first_token_us, "total_us": record.total_us,
        "outcome": record.outcome,
    })
}
