//! Series: usage in equal steps of time, by group.

use std::collections::HashMap;

use chat::Error;
use gateway::run_in_place;
use serde_json::{Value, json};
use store::{DAY_MICROS, SeriesQuery, SeriesStep, TimeHistogram, UsageGroupBy, UsageSeries, UsageSums, UsageTimes};

use super::csv::{Cell, CsvTable};
use super::errors::{invalid_value, store_error};
use super::request::{AdminRequest, AdminResponse};
use super::units::{format_dollars, format_time, unix_seconds};
use super::usage_filters::{read_filter, read_group};

/// The parameters of the query.
pub(super) const PARAMETERS: &[&str] =
    &["from", "to", "step", "by", "top", "key", "project", "model", "provider", "outcome"];

const STEPS: [(&str, SeriesStep); 3] =
    [("minute", SeriesStep::Minute), ("hour", SeriesStep::Hour), ("day", SeriesStep::Day)];

const GROUPS: [UsageGroupBy; 5] =
    [UsageGroupBy::Key, UsageGroupBy::Project, UsageGroupBy::Model, UsageGroupBy::Upstream, UsageGroupBy::Outcome];

/// The most steps.
const MAX_STEPS: i64 = 2000;

/// The percentiles of times.
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// The name of the sum of the groups that are not shown, in CSV.
const OTHER: &str = "other";

/// A number of a sum.
type Count = fn(&UsageSums) -> i64;

/// The columns of numbers, without the cost.
const COUNTS: [(&str, Count); 7] = [
    ("requests", |sums| sums.requests),
    ("failures", |sums| sums.failures),
    ("refusals", |sums| sums.refusals),
    ("prompt_tokens", |sums| sums.prompt_tokens),
    ("cached_tokens", |sums| sums.cached_tokens),
    ("completion_tokens", |sums| sums.completion_tokens),
    ("reasoning_tokens", |sums| sums.reasoning_tokens),
];

pub(super) async fn series(request: AdminRequest) -> Result<AdminResponse, Error> {
    let query = &request.query;
    let step = query.choice("step", &STEPS)?.unwrap_or(SeriesStep::Hour);
    let by = read_group(query, GROUPS)?;
    let top = query.number("top", 10, 20)? as usize;
    let (from, to) = query.span(DAY_MICROS)?;
    let from = from / step.micros() * step.micros();
    let steps = (to - from + step.micros() - 1) / step.micros();
    if steps > MAX_STEPS {
        let reason = format!("from `from` to `to` there are {steps} steps, and at most {MAX_STEPS} are possible");
        return Err(invalid_value("step", &reason));
    }
    let times: Vec<_> = (0..=steps).map(|step_number| from + step_number * step.micros()).collect();
    let (times, until) = (&times[..steps as usize], times[steps as usize]);
    let store = request.store()?;
    let found = match request.operator.readable_keys() {
        Some(owner) => {
            let filter = read_filter(query, owner)?;
            store.usage_series(&SeriesQuery { from, until, step, by, filter }, top).await.map_err(store_error)?
        }
        None => UsageSeries::default(),
    };
    // A number takes about 8 bytes.
    let bytes = 8 * times.len() * COUNTS.len() * (top + 2);
    Ok(run_in_place(bytes, || {
        let (all, groups) = group_sums(times, &found, by.is_some());
        if request.wants_csv() {
            let title = query.value("by").unwrap_or("of");
            return AdminResponse::csv(series_csv(
                times,
                title,
                if by.is_some() { &groups } else { std::slice::from_ref(&all) },
            ));
        }
        let mut json = json!({
            "from": unix_seconds(from), "to": unix_seconds(until), "step": query.value("step").unwrap_or("hour"), "by": query.value("by"),
            "times": times.iter().copied().map(unix_seconds).collect::<Vec<_>>(), "all": columns(&all),
            "ttft_ms": percentile_columns(times, &found, |times| &times.first_token),
            "total_ms": percentile_columns(times, &found, |times| &times.total),
        });
        let group = |group: &Group| {
            let mut json = columns(group);
            json["of"] = group.name.as_deref().into();
            json
        };
        json["groups"] = groups.iter().map(group).collect();
        json.into()
    }))
}

/// The sums of one group: of each step, and in total.
#[derive(Default)]
struct Group {
    /// `None`: all groups, or those that are not shown.
    name: Option<String>,
    steps: Vec<UsageSums>,
    total: UsageSums,
    /// The times in the whole span.
    times: UsageTimes,
}

impl Group {
    fn new(name: Option<String>, steps: usize) -> Self {
        Self { name, steps: vec![UsageSums::default(); steps], ..Self::default() }
    }

    fn add(&mut self, step: usize, sums: &UsageSums) {
        self.steps[step] += sums;
        self.total += sums;
    }
}

/// The sum of all groups, and each of them, the most expensive first and the sum of those that are
/// not listed at the end.
fn group_sums(times: &[i64], found: &UsageSeries, by_group: bool) -> (Group, Vec<Group>) {
    let mut all = Group::new(None, times.len());
    found.sums.iter().for_each(|((at, _), sums)| all.add(step_of(times, *at), sums));
    found.times_of_steps.values().for_each(|more| all.times += more);
    if !by_group {
        return (all, Vec::new());
    }
    let places: HashMap<_, _> = found.groups.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let place_of = |name: &str| places.get(name).copied().unwrap_or(found.groups.len());
    let mut groups: Vec<_> = found.groups.iter().map(|name| Group::new(Some(name.clone()), times.len())).collect();
    if found.sums.keys().any(|(_, name)| name.is_none()) {
        groups.push(Group::new(None, times.len()));
    }
    for ((at, name), sums) in &found.sums {
        groups[name.as_deref().map_or(found.groups.len(), place_of)].add(step_of(times, *at), sums);
    }
    for (name, more) in &found.times_of_groups {
        // A group can be new since the sums were read.
        if let Some(group) = groups.get_mut(place_of(name)) {
            group.times += more;
        }
    }
    (all, groups)
}

/// The number of the step that begins at `at`.
fn step_of(times: &[i64], at: i64) -> usize {
    times.partition_point(|time| *time <= at).saturating_sub(1)
}

/// A group as columns of numbers.
fn columns(group: &Group) -> Value {
    let mut json = json!({"total": total_json(&group.total, &group.times)});
    for (name, count) in COUNTS {
        json[name] = group.steps.iter().map(count).collect();
    }
    // Charts need numbers. Up to 2^53 nano-dollars they are exact.
    json["cost"] = group.steps.iter().map(|sums| sums.cost as f64 / 1e9).collect();
    json
}

fn total_json(sums: &UsageSums, times: &UsageTimes) -> Value {
    let mut json = json!({
        "cost": format_dollars(sums.saturating_cost()), "ttft_ms": percentiles(&times.first_token), "total_ms": percentiles(&times.total),
    });
    for (name, count) in COUNTS {
        json[name] = count(sums).into();
    }
    json
}

fn percentiles(times: &TimeHistogram) -> Value {
    PERCENTILES.iter().map(|(name, share)| ((*name).to_owned(), percentile(times, *share))).collect()
}

/// The percentiles of each step; null where there are no requests.
fn percentile_columns(steps: &[i64], found: &UsageSeries, times: fn(&UsageTimes) -> &TimeHistogram) -> Value {
    let of_step = |at: &i64| found.times_of_steps.get(at);
    let column =
        |share: f64| steps.iter().map(|at| of_step(at).map(|step| percentile(times(step), share))).collect::<Value>();
    PERCENTILES.iter().map(|(name, share)| ((*name).to_owned(), column(*share))).collect()
}

/// A percentile in milliseconds with one decimal; null without requests.
fn percentile(times: &TimeHistogram, share: f64) -> Value {
    times.percentile(share).map(|ms| (ms * 10.0).round() / 10.0).into()
}

/// A row for each step of each group.
fn series_csv(times: &[i64], title: &str, groups: &[Group]) -> String {
    let titles: Vec<_> = ["time", title].into_iter().chain(COUNTS.map(|(name, _)| name)).chain(["cost"]).collect();
    let mut table = CsvTable::new(&titles);
    for (step, time) in times.iter().enumerate() {
        for group in groups {
            let sums = &group.steps[step];
            let name = group.name.as_deref().unwrap_or(if title == "of" { "all" } else { OTHER });
            let counts = COUNTS.map(|(_, count)| Cell::Number(count(sums).to_string()));
            let cost = Cell::Number(format_dollars(sums.saturating_cost()));
            table.push([Cell::Number(format_time(*time)), Cell::Text(name)].into_iter().chain(counts).chain([cost]));
        }
    }
    table.into_text()
}
