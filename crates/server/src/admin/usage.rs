//! Usage: totals, and the latest requests.

use chat::Error;
use serde_json::{Value, json};
use store::{UsageGroupBy, UsageRecord, UsageTotal, now_micros};

use super::request::{AdminRequest, AdminResponse, store_error};
use super::units::{format_dollars, unix_seconds};

const DAY_MICROS: i64 = 86_400 * 1_000_000;

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
