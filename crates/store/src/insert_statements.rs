//! The SQL statements that insert usage records, and the binding of their parameters.

use std::sync::Arc;

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

use crate::usage_record::UsageRecord;

/// Maximum number of records in one statement; a power of two.
pub(crate) const MAX_ROWS: usize = 64;
/// The number of columns that a statement names and [`bind_record`] binds, in the same order.
const COLUMNS: usize = 24;

/// The parameter with a number from 1: numbered (`$1`) for PostgreSQL, `?` for SQLite. SQLite
/// supports both, but is slow with numbered ones: it searches all parameters for each.
pub(crate) fn parameter(number: usize, is_postgres: bool) -> String {
    if is_postgres { format!("${number}") } else { "?".into() }
}

/// The statements that insert 1, 2, 4, ... [`MAX_ROWS`] records. They skip records whose id exists.
/// Their text has only parameters, not values.
#[derive(Debug)]
pub(crate) struct InsertStatements(Vec<Arc<str>>);

impl InsertStatements {
    /// Builds the statements.
    pub(crate) fn new(is_postgres: bool) -> Self {
        let row = |row: usize| {
            let parameters: Vec<_> =
                (1..=COLUMNS).map(|column| parameter(row * COLUMNS + column, is_postgres)).collect();
            format!("({})", parameters.join(", "))
        };
        let insert = |rows: usize| {
            let rows: Vec<_> = (0..rows).map(row).collect();
            format!(
                "insert into usage_records (id, at, key_id, key_name, project_id, model, upstream, prompt_tokens, cached_tokens,
                     cache_write_tokens, completion_tokens, reasoning_tokens, estimated, cost, price, first_token_us, total_us, outcome,
                     request_id, further_requests, end_user, cache_write_1h_tokens,
                     extra_counts, service_tier)
                 values {} on conflict (id) do nothing",
                rows.join(", ")
            )
        };
        Self((0..=MAX_ROWS.ilog2()).map(|power| insert(1 << power).into()).collect())
    }

    /// The statement for `rows` records. `rows` must be a power of two, at most [`MAX_ROWS`].
    pub(crate) fn for_rows(&self, rows: usize) -> AssertSqlSafe<Arc<str>> {
        AssertSqlSafe(self.0[rows.ilog2() as usize].clone())
    }
}

/// Binds the columns of the next record. Called once for each record of the statement.
pub(crate) fn bind_record<'q>(
    insert: Query<'q, Any, AnyArguments>,
    record: &'q UsageRecord,
) -> Query<'q, Any, AnyArguments> {
    insert
        .bind(&record.id)
        .bind(record.at)
        .bind(record.key_id.as_deref())
        .bind(&*record.key_name)
        .bind(record.project_id.as_deref())
        .bind(&*record.model)
        .bind(&*record.upstream)
        .bind(record.prompt_tokens)
        .bind(record.cached_tokens)
        .bind(record.cache_write_tokens)
        .bind(record.completion_tokens)
        .bind(record.reasoning_tokens)
        .bind(i64::from(record.estimated))
        .bind(record.cost)
        .bind(&*record.price)
        .bind(record.first_token_us)
        .bind(record.total_us)
        .bind(&*record.outcome)
        .bind(record.request_id.as_deref())
        .bind(record.further_requests)
        .bind(record.end_user.as_deref())
        .bind(record.cache_write_1h_tokens)
        .bind(extra_counts_json(record))
        .bind(record.service_tier.as_deref())
}

/// The counts as a JSON object; `None` without any.
fn extra_counts_json(record: &UsageRecord) -> Option<String> {
    let counts = &record.extra_counts;
    // Names and integers always have a JSON form.
    if counts.is_empty() { None } else { serde_json::to_string(counts).ok() }
}
