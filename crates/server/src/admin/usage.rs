//! Sums of usage over whole days.

use chat::Error;
use serde_json::{Value, json};
use store::{DAY_MICROS, UsageGroupBy, UsageTotal, now_micros};

use super::errors::store_error;
use super::request::{AdminRequest, AdminResponse};
use super::units::format_dollars;
use super::usage_filters::read_group;

const GROUPS: [UsageGroupBy; 6] = [
    UsageGroupBy::Key,
    UsageGroupBy::Project,
    UsageGroupBy::User,
    UsageGroupBy::Model,
    UsageGroupBy::Upstream,
    UsageGroupBy::Day,
];

pub(super) async fn usage(request: AdminRequest) -> Result<AdminResponse, Error> {
    let by = read_group(&request.query, GROUPS)?.unwrap_or(UsageGroupBy::Key);
    let days = request.query.number("days", 30, 36_500)?;
    let store = request.store()?;
    let totals = match request.operator.readable_keys() {
        Some(owner) => store.usage_of(owner, now_micros() - days * DAY_MICROS, by).await.map_err(store_error)?,
        None => Vec::new(),
    };
    Ok(json!({"days": days, "data": totals.iter().map(total_json).collect::<Vec<_>>()}).into())
}

fn total_json(total: &UsageTotal) -> Value {
    json!({
        "of": total.group, "requests": total.requests, "prompt_tokens": total.prompt_tokens, "cached_tokens": total.cached_tokens,
        "completion_tokens": total.completion_tokens, "cost": format_dollars(total.cost),
    })
}
