//! The health of providers: their requests and failures by hours, and their state now.

use std::collections::BTreeMap;

use chat::Error;
use gateway::TargetStatus;
use serde_json::{Value, json};
use store::{
    OutcomeClass, RecordOwner, SeriesQuery, SeriesStep, UsageFilter, UsageGroupBy, UsageSums, UsageTimes, now_micros,
};

use super::errors::store_error;
use super::request::{AdminRequest, AdminResponse};
use super::units::unix_seconds;

/// The hours of the query at most, and without it.
const MAX_HOURS: i64 = 168;
const DEFAULT_HOURS: i64 = 24;

/// The classes of the requests that a provider received.
const SENT: [OutcomeClass; 4] =
    [OutcomeClass::Answered, OutcomeClass::Cancelled, OutcomeClass::Invalid, OutcomeClass::Failed];

/// The requests of one provider in one hour.
#[derive(Default)]
struct ProviderHour {
    sums: UsageSums,
    times: UsageTimes,
    /// The attempts that failed, after which another one was made.
    failed_attempts: i64,
}

pub(super) async fn health(request: AdminRequest) -> Result<AdminResponse, Error> {
    let hours = request.query.number("hours", DEFAULT_HOURS, MAX_HOURS)?;
    let hour = SeriesStep::Hour.micros();
    let until = (now_micros() / hour + 1) * hour;
    let from = until - hours * hour;
    let store = request.store()?;
    let filter = UsageFilter { classes: SENT.to_vec(), ..RecordOwner::Everyone.into() };
    let query = SeriesQuery { from, until, step: SeriesStep::Hour, by: Some(UsageGroupBy::Upstream), filter };
    let mut found = BTreeMap::<(i64, String), ProviderHour>::new();
    for (place, sums) in store.usage_sums(&query).await.map_err(store_error)? {
        found.entry(place).or_default().sums = sums;
    }
    for (place, times) in store.usage_times(&query).await.map_err(store_error)? {
        found.entry(place).or_default().times = times;
    }
    for (place, failures) in store.superseded_attempts(from).await.map_err(store_error)? {
        found.entry(place).or_default().failed_attempts = failures;
    }

    let times: Vec<_> = (0..hours).map(|number| from + number * hour).collect();
    let mut targets = BTreeMap::<String, Vec<TargetStatus>>::new();
    for route in request.app.gateway.route_table() {
        for target in route.targets {
            targets.entry(target.provider.to_string()).or_default().push(target);
        }
    }
    // Providers that are gone are shown as long as there are requests of theirs. Refused requests
    // have none.
    for (_, provider) in found.keys().filter(|(_, provider)| !provider.is_empty()) {
        targets.entry(provider.clone()).or_default();
    }
    let providers: Vec<_> =
        targets.iter().map(|(provider, targets)| provider_json(provider, targets, &times, &found)).collect();
    let times: Vec<_> = times.iter().copied().map(unix_seconds).collect();
    Ok(json!({"hours": hours, "times": times, "providers": providers}).into())
}

fn provider_json(
    provider: &str,
    targets: &[TargetStatus],
    times: &[i64],
    found: &BTreeMap<(i64, String), ProviderHour>,
) -> Value {
    let hours = || times.iter().map(|time| found.get(&(*time, provider.to_owned())));
    let count = |of: fn(&ProviderHour) -> i64| hours().map(|hour| hour.map_or(0, of)).collect::<Vec<_>>();
    let median = |hour: &ProviderHour| hour.times.first_token.percentile(0.5).map(f64::round);
    let failing = targets.iter().filter(|target| !target.healthy);
    let state = match failing.clone().count() {
        0 => "ok",
        count if count == targets.len() => "cooling_down",
        _ => "degraded",
    };
    let last_failure = failing.clone().chain(targets).find_map(|target| target.last_failure.as_deref());
    json!({
        "provider": provider, "state": state, "last_error": last_failure,
        "retry_at": failing.filter_map(|target| target.retry_at).max().map(unix_seconds),
        "requests": count(|hour| hour.sums.requests + hour.failed_attempts),
        "failures": count(|hour| hour.sums.failures + hour.failed_attempts),
        "ttft_p50_ms": hours().map(|hour| hour.and_then(median)).collect::<Vec<_>>(),
    })
}
