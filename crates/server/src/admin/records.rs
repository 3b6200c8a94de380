//! Usage records: pages of them, and one with all that is known about its request.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use chat::{Error, ErrorKind};
use gateway::{CostLine, RequestId};
use serde::Serialize;
use serde_json::{Value, json};
use store::{Attempt, OutcomeClass, RecordCursor, RecordQuery, Store, UsageRecord};

use super::csv::{Cell, CsvTable};
use super::errors::{invalid_value, store_error};
use super::query::Query;
use super::request::{AdminRequest, AdminResponse};
use super::units::{format_dollars, format_time, unix_seconds};
use super::usage_filters::read_filter;

/// The parameters of the query of a list.
pub(super) const PARAMETERS: &[&str] =
    &["from", "to", "key", "project", "model", "provider", "outcome", "cursor", "limit"];

pub(super) async fn records(request: AdminRequest) -> Result<AdminResponse, Error> {
    let query = &request.query;
    let limit = query.number("limit", 100, 1000)? as usize;
    let (from, until) = (query.time("from")?.unwrap_or(0), query.time("to")?.unwrap_or(i64::MAX));
    if from >= until {
        return Err(invalid_value("from", "expected a time before `to`"));
    }
    let before = read_cursor(query)?;
    let store = request.store()?;
    let mut records = match request.operator.readable_keys() {
        Some(owner) => {
            let filter = read_filter(query, owner)?;
            // One more says whether there are others.
            let page = RecordQuery { from, until, filter, before, limit: limit + 1 };
            store.records(&page).await.map_err(store_error)?
        }
        None => Vec::new(),
    };
    let has_more = records.len() > limit;
    records.truncate(limit);
    let projects = ProjectNames::load(store).await?;
    if request.wants_csv() {
        return Ok(AdminResponse::csv(records_csv(&records, &projects)));
    }
    let next = records.last().filter(|_| has_more).map(|last| format!("{}_{}", last.at, last.id));
    Ok(json!({"data": records.iter().map(|record| projects.record_json(record)).collect::<Vec<_>>(), "next": next})
        .into())
}

/// A row for each record.
fn records_csv(records: &[UsageRecord], projects: &ProjectNames) -> String {
    let mut table = CsvTable::new(&[
        "request_id",
        "time",
        "key",
        "project",
        "model",
        "provider",
        "outcome",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "first_token_us",
        "total_us",
        "cost",
    ]);
    for record in records {
        let number = |number: i64| Cell::Number(number.to_string());
        table.push([
            Cell::Text(&RequestId::of_record(record)),
            Cell::Number(format_time(record.at)),
            Cell::Text(&record.key_name),
            Cell::Text(projects.of(record).unwrap_or_default()),
            Cell::Text(&record.model),
            Cell::Text(&record.upstream),
            Cell::Text(&record.outcome),
            number(record.prompt_tokens),
            number(record.cached_tokens),
            number(record.completion_tokens),
            Cell::Number(record.first_token_us.map(|micros| micros.to_string()).unwrap_or_default()),
            number(record.total_us),
            Cell::Number(format_dollars(record.cost)),
        ]);
    }
    table.into_text()
}

/// The place after which a page begins: the time and the id of a record.
fn read_cursor(query: &Query) -> Result<Option<RecordCursor>, Error> {
    let Some(text) = query.value("cursor") else { return Ok(None) };
    let parts = text.split_once('_').and_then(|(at, id)| Some((at.parse().ok()?, id)));
    match parts.filter(|(_, id)| (1..=128).contains(&id.len())) {
        Some((at, id)) => Ok(Some(RecordCursor { at, id: id.to_owned() })),
        None => Err(invalid_value("cursor", "expected the field `next` of a page")),
    }
}

/// The names of projects by their ids.
#[derive(Default)]
pub(super) struct ProjectNames(HashMap<String, String>);

impl ProjectNames {
    pub(super) async fn load(store: &Store) -> Result<Self, Error> {
        let projects = store.projects().await.map_err(store_error)?;
        Ok(Self(projects.into_iter().map(|project| (project.id, project.name)).collect()))
    }

    /// The name of the project of a record; `None` without a project, and for an unknown one.
    pub(super) fn of(&self, record: &UsageRecord) -> Option<&str> {
        self.0.get(record.project_id.as_deref()?).map(String::as_str)
    }

    pub(super) fn start_json<'a>(&'a self, record: &'a UsageRecord) -> StartJson<'a> {
        StartJson {
            id: &record.id,
            request_id: RequestId::of_record(record),
            at: unix_seconds(record.at),
            at_ms: record.at.div_euclid(1000),
            key: &record.key_name,
            project: self.of(record),
            model: &record.model,
            provider: &record.upstream,
        }
    }

    pub(super) fn record_json<'a>(&'a self, record: &'a UsageRecord) -> RecordJson<'a> {
        RecordJson {
            start: self.start_json(record),
            requests: record.requests(),
            prompt_tokens: record.prompt_tokens,
            cached_tokens: record.cached_tokens,
            cache_write_tokens: record.cache_write_tokens,
            cache_write_1h_tokens: record.cache_write_1h_tokens,
            completion_tokens: record.completion_tokens,
            reasoning_tokens: record.reasoning_tokens,
            extra_counts: &record.extra_counts,
            service_tier: record.service_tier.as_deref(),
            estimated: record.estimated,
            cost: format_dollars(record.cost),
            price: &record.price,
            first_token_us: record.first_token_us,
            total_us: record.total_us,
            outcome: &record.outcome,
            outcome_class: OutcomeClass::of(&record.outcome).as_str(),
        }
    }
}

/// The fields of a record that are known when its request starts.
#[derive(Serialize)]
pub(super) struct StartJson<'a> {
    id: &'a str,
    request_id: String,
    at: i64,
    at_ms: i64,
    key: &'a str,
    project: Option<&'a str>,
    model: &'a str,
    provider: &'a str,
}

/// A record as the admin API shows it. It is not a `Value`, which copies each name and text: the
/// tail writes many of them.
#[derive(Serialize)]
pub(super) struct RecordJson<'a> {
    #[serde(flatten)]
    start: StartJson<'a>,
    requests: i64,
    prompt_tokens: i64,
    cached_tokens: i64,
    cache_write_tokens: i64,
    cache_write_1h_tokens: i64,
    completion_tokens: i64,
    reasoning_tokens: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra_counts: &'a BTreeMap<Cow<'static, str>, i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    estimated: bool,
    cost: String,
    price: &'a str,
    first_token_us: Option<i64>,
    total_us: i64,
    outcome: &'a str,
    outcome_class: &'static str,
}

/// One record, the requests to providers that were made for it, and how its cost comes about.
pub(super) async fn record(request: AdminRequest) -> Result<AdminResponse, Error> {
    let store = request.store()?;
    let found = match request.operator.readable_keys() {
        Some(owner) => {
            let id = RequestId::to_record_id(&request.path_param);
            store.record(&owner, &id, &request.path_param).await.map_err(store_error)?
        }
        None => None,
    };
    let Some(record) = found else {
        let message = format!("There is no request `{:.64}`", request.path_param);
        return Err(Error::new(ErrorKind::NotFound, message));
    };
    let attempts = store.attempts(&record.id).await.map_err(store_error)?;
    let lines = request.app.gateway.accounting().prices.load().cost_lines(&record);
    let mut json = json!(ProjectNames::load(store).await?.record_json(&record));
    json["attempts"] = match attempts.is_empty() {
        true => only_attempt(&record).into_iter().collect(),
        false => (1..).zip(&attempts).map(|(number, attempt)| attempt_json(&record, number, attempt)).collect(),
    };
    json["cost_lines"] = lines.map(|lines| lines.iter().map(cost_line_json).collect::<Vec<_>>()).into();
    Ok(json.into())
}

/// The attempt of a request that was sent to one provider and has not failed. Its times are those
/// of the record.
fn only_attempt(record: &UsageRecord) -> Option<Value> {
    let class = OutcomeClass::of(&record.outcome);
    let was_sent = !record.upstream.is_empty() && class != OutcomeClass::Refunded;
    was_sent.then(|| {
        let attempt = Attempt {
            provider: record.upstream.clone(),
            started_at: record.at,
            first_byte_at: record.first_token_us.map(|micros| record.at + micros),
            ended_at: Some(record.at + record.total_us),
            status: (class == OutcomeClass::Answered).then_some(200),
            ..Attempt::default()
        };
        attempt_json(record, 1, &attempt)
    })
}

fn attempt_json(record: &UsageRecord, number: usize, attempt: &Attempt) -> Value {
    let since_start = |at: i64| (at - record.at).max(0);
    json!({
        "number": number, "provider": attempt.provider, "model": attempt.model, "started_us": since_start(attempt.started_at),
        "first_byte_us": attempt.first_byte_at.map(since_start), "ended_us": attempt.ended_at.map(since_start),
        "status": attempt.status, "fault": attempt.fault,
    })
}

fn cost_line_json(line: &CostLine) -> Value {
    json!({
        "of": line.of, "quantity": line.quantity, "price": format_dollars(line.price), "per": line.per, "cost": format_dollars(line.cost),
    })
}
