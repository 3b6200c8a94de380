//! Sums of usage records, and the statements that add them to the tables of hours and days.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use crate::amounts::{SUM_SPLIT, saturating_i64};
use crate::insert_statements::parameter;
use crate::sum_table::SumTable;
use crate::time_buckets::{TIME_BUCKETS, TimeHistogram};
use crate::{OutcomeClass, StoreError, UsageRecord};

/// The most sums in one statement; a power of two.
const MAX_ROWS: usize = 16;

/// The columns that requests with a common sum share. Together they are the primary key.
pub(crate) const KEY_COLUMNS: [&str; 7] =
    ["at", "key_id", "key_name", "project_id", "model", "upstream", "outcome_class"];

/// The columns that are summed, before those of the histograms.
const NUMBER_COLUMNS: [&str; 6] =
    ["requests", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost"];

/// The prefixes of the columns of the histograms.
const HISTOGRAMS: [&str; 2] = ["ttft", "total"];

/// The sums of a group of records. Counts beyond the range of `i64` are clamped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageSums {
    pub requests: i64,
    /// The requests whose outcome is a failure. Not a column of its own: it follows from the class.
    pub failures: i64,
    /// The requests whose outcome is a refusal. It follows from the class, too.
    pub refusals: i64,
    pub prompt_tokens: i64,
    pub cached_tokens: i64,
    pub completion_tokens: i64,
    pub reasoning_tokens: i64,
    /// Nano-dollars.
    pub cost: i128,
}

/// The times of a group of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageTimes {
    /// The time to the first token.
    pub first_token: TimeHistogram,
    /// The time to the end.
    pub total: TimeHistogram,
}

/// The step and the group.
const COLUMNS_BEFORE_SUMS: usize = 2;

/// Sums that are read from the tables: [`UsageSums`] or [`UsageTimes`].
pub(crate) trait Summed: Default + for<'a> AddAssign<&'a Self> {
    /// The expressions that sum rows.
    fn columns() -> String;

    /// Reads the [`Summed::columns`] of a row, before which it has [`COLUMNS_BEFORE_SUMS`] others.
    /// Columns are read by number: their names would be looked up for each row.
    fn from_row(row: &AnyRow) -> Result<Self, sqlx::Error>;
}

impl AddAssign<&Self> for UsageSums {
    fn add_assign(&mut self, other: &Self) {
        self.add_numbers([
            other.requests,
            other.failures,
            other.refusals,
            other.prompt_tokens,
            other.cached_tokens,
            other.completion_tokens,
            other.reasoning_tokens,
        ]);
        self.cost += other.cost;
    }
}

impl UsageSums {
    /// The cost, or the nearest number that a column takes.
    pub fn saturating_cost(&self) -> i64 {
        saturating_i64(self.cost)
    }

    fn add_numbers(&mut self, numbers: [i64; 7]) {
        let sums = [
            &mut self.requests,
            &mut self.failures,
            &mut self.refusals,
            &mut self.prompt_tokens,
            &mut self.cached_tokens,
            &mut self.completion_tokens,
            &mut self.reasoning_tokens,
        ];
        for (sum, number) in sums.into_iter().zip(numbers) {
            *sum = sum.saturating_add(number);
        }
    }

    fn add_record(&mut self, record: &UsageRecord, class: OutcomeClass) {
        let requests = record.requests();
        let requests_of = |classes: &[OutcomeClass]| if classes.contains(&class) { requests } else { 0 };
        self.add_numbers([
            requests,
            requests_of(&OutcomeClass::FAILURES),
            requests_of(&OutcomeClass::REFUSALS),
            record.prompt_tokens,
            record.cached_tokens,
            record.completion_tokens,
            record.reasoning_tokens,
        ]);
        self.cost += i128::from(record.cost);
    }
}

impl Summed for UsageSums {
    fn columns() -> String {
        let requests_of = |name: &str, classes: &[OutcomeClass]| {
            let classes = classes.iter().map(|class| class.as_str()).collect::<Vec<_>>().join("', '");
            format!("cast(sum(case when outcome_class in ('{classes}') then requests else 0 end) as bigint) as {name}")
        };
        let counts = NUMBER_COLUMNS.iter().filter(|column| **column != "cost").copied();
        // Costs are summed in two parts: their sum can exceed a `bigint`.
        format!(
            "{}, {},
             cast(sum(cost / 4294967296) as bigint) as cost_high, cast(sum(cost % 4294967296) as bigint) as cost_low, {}",
            requests_of("failures", &OutcomeClass::FAILURES),
            requests_of("refusals", &OutcomeClass::REFUSALS),
            sums_of(counts)
        )
    }

    fn from_row(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let number = |column: usize| row.try_get::<i64, _>(COLUMNS_BEFORE_SUMS + column);
        Ok(Self {
            failures: number(0)?,
            refusals: number(1)?,
            cost: i128::from(number(2)?) * SUM_SPLIT + i128::from(number(3)?),
            requests: number(4)?,
            prompt_tokens: number(5)?,
            cached_tokens: number(6)?,
            completion_tokens: number(7)?,
            reasoning_tokens: number(8)?,
        })
    }
}

impl AddAssign<&Self> for UsageTimes {
    fn add_assign(&mut self, other: &Self) {
        self.first_token.add(&other.first_token);
        self.total.add(&other.total);
    }
}

impl UsageTimes {
    fn add_record(&mut self, record: &UsageRecord) {
        if let Some(micros) = record.first_token_us {
            self.first_token.record(micros);
        }
        // Refusals and refunds take no time.
        if record.total_us > 0 {
            self.total.record(record.total_us);
        }
    }
}

impl Summed for UsageTimes {
    fn columns() -> String {
        sums_of(histogram_columns())
    }

    fn from_row(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let mut times = Self::default();
        for (column, count) in times.first_token.0.iter_mut().chain(&mut times.total.0).enumerate() {
            *count = row.try_get(COLUMNS_BEFORE_SUMS + column)?;
        }
        Ok(times)
    }
}

/// Expressions that sum columns, each with the name of its column.
pub(crate) fn sums_of(columns: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    let sums = columns.into_iter().map(|column| format!("cast(sum({column}) as bigint) as {column}"));
    sums.collect::<Vec<_>>().join(", ")
}

/// The names of the columns of the histograms.
pub(crate) fn histogram_columns() -> impl Iterator<Item = String> {
    HISTOGRAMS.into_iter().flat_map(|prefix| (0..TIME_BUCKETS).map(move |bucket| format!("{prefix}_{bucket}")))
}

/// The names of all columns of a table of sums, in the order of its statements.
pub(crate) fn columns() -> impl Iterator<Item = String> {
    KEY_COLUMNS.into_iter().chain(NUMBER_COLUMNS).map(str::to_owned).chain(histogram_columns())
}

/// The names of the columns that are summed, in the same order.
pub(crate) fn summed_columns() -> impl Iterator<Item = String> {
    columns().skip(KEY_COLUMNS.len())
}

/// The time, the key, the model, the provider and the class that the records of a sum share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SumKey<'a> {
    /// The beginning of the hour or day.
    at: i64,
    key_id: &'a str,
    key_name: &'a str,
    project_id: &'a str,
    model: &'a str,
    upstream: &'a str,
    class: OutcomeClass,
}

/// The statements that add 1, 2, 4, ... [`MAX_ROWS`] sums to a table.
#[derive(Debug)]
pub(crate) struct SumStatements {
    hours: Vec<Arc<str>>,
    days: Vec<Arc<str>>,
}

impl SumStatements {
    /// Builds the statements.
    pub(crate) fn new(is_postgres: bool) -> Self {
        let build = |table: SumTable| {
            let columns: Vec<_> = columns().collect();
            let added = columns.iter().skip(KEY_COLUMNS.len());
            let added: Vec<_> =
                added.map(|column| format!("{column} = {}.{column} + excluded.{column}", table.name())).collect();
            let row = |row: usize| {
                let numbers = (1..=columns.len()).map(|column| parameter(row * columns.len() + column, is_postgres));
                format!("({})", numbers.collect::<Vec<_>>().join(", "))
            };
            // The condition keeps the cost from overflowing, which is a float in SQLite.
            let statement = |rows: usize| {
                format!(
                    "insert into {0} ({1}) values {2} on conflict ({3}) do update set {4}
                     where {0}.cost between -8000000000000000000 and 8000000000000000000",
                    table.name(),
                    columns.join(", "),
                    (0..rows).map(row).collect::<Vec<_>>().join(", "),
                    KEY_COLUMNS.join(", "),
                    added.join(", "),
                )
            };
            (0..=MAX_ROWS.ilog2()).map(|power| statement(1 << power).into()).collect()
        };
        Self { hours: build(SumTable::Hours), days: build(SumTable::Days) }
    }

    /// Adds records, which are new, to the sums of their hours and days.
    ///
    /// # Errors
    /// `Refused` when a sum would be out of range; a database that cannot be written.
    pub(crate) async fn add_records(
        &self,
        transaction: &mut Transaction<'_, Any>,
        records: &[&UsageRecord],
    ) -> Result<(), StoreError> {
        for (table, statements) in [(SumTable::Hours, &self.hours), (SumTable::Days, &self.days)] {
            // Ordered by key, so that two writers never wait for each other.
            let mut sums = BTreeMap::<SumKey, (UsageSums, UsageTimes)>::new();
            for record in records {
                let class = OutcomeClass::of(&record.outcome);
                let key = SumKey {
                    at: record.at.div_euclid(table.micros()) * table.micros(),
                    key_id: record.key_id.as_deref().unwrap_or_default(),
                    key_name: &record.key_name,
                    project_id: record.project_id.as_deref().unwrap_or_default(),
                    model: &record.model,
                    upstream: &record.upstream,
                    class,
                };
                let (sums, times) = sums.entry(key).or_default();
                sums.add_record(record, class);
                times.add_record(record);
            }
            let sums: Vec<_> = sums.into_iter().collect();
            let mut rest = &sums[..];
            while !rest.is_empty() {
                let (batch, later) = rest.split_at(MAX_ROWS.min(1 << rest.len().ilog2()));
                let mut add = sqlx::query(AssertSqlSafe(statements[batch.len().ilog2() as usize].clone()));
                for (key, (sums, times)) in batch {
                    add = bind_sums(add, key, sums, times);
                }
                if add.execute(&mut **transaction).await?.rows_affected() < batch.len() as u64 {
                    let table = table.name();
                    return Err(StoreError::Refused(format!("a sum of costs in `{table}` would be out of range")));
                }
                rest = later;
            }
        }
        Ok(())
    }
}

/// Binds the values of [`columns`].
fn bind_sums<'q>(
    add: Query<'q, Any, AnyArguments>,
    key: &SumKey<'q>,
    sums: &UsageSums,
    times: &UsageTimes,
) -> Query<'q, Any, AnyArguments> {
    let add = add.bind(key.at).bind(key.key_id).bind(key.key_name).bind(key.project_id).bind(key.model);
    let add = add.bind(key.upstream).bind(key.class.as_str());
    let numbers = [
        sums.requests,
        sums.prompt_tokens,
        sums.cached_tokens,
        sums.completion_tokens,
        sums.reasoning_tokens,
        sums.saturating_cost(),
    ];
    numbers.into_iter().chain(times.first_token.0).chain(times.total.0).fold(add, Query::bind)
}
