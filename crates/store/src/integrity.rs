//! The integrity check: the spent amount of each key, project and budget, and the sums of each hour
//! and day, are those of their records, and every count and amount is an integer within its range.
//! Mismatches can be repaired.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use crate::amounts::{MAX_COST, MAX_SPENT, MAX_TOKENS, display_value, read_split_sum, saturating_i64};
use crate::budget_check::{WrongSpend, find_wrong_spend, repair_spend};
use crate::outcome_class::IMPLAUSIBLE;
use crate::sum_table::SumTable;
use crate::sums_check::{WrongSums, find_wrong_sums};
use crate::usage_rebuild::mark_pending;
use crate::{Store, StoreError, now_micros};

/// The `table` of a mismatch of a budget.
const BUDGET: &str = "budget";

/// A value that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// `key`, `project`, `budget`, `record`, `task`, `hour` or `day`.
    pub table: &'static str,
    pub id: String,
    /// The name of the key or the project; for a budget its period, owner and end user; for a
    /// record or a task, the name of its key; for an hour or a day, its beginning.
    pub name: String,
    pub column: &'static str,
    /// The value in the database, as text.
    pub actual: String,
    pub expected: i64,
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntegrityReport {
    /// The number of keys.
    pub keys: usize,
    /// The number of projects.
    pub projects: usize,
    /// The number of budgets that renew.
    pub budgets: usize,
    /// The number of records.
    pub records: i64,
    pub mismatches: Vec<Mismatch>,
    /// The indices of the given ids that have no record.
    pub missing_records: Vec<usize>,
}

impl Store {
    /// Compares the sums of records with the spent amounts of keys and projects and with the tables
    /// of hours and days, and finds values out of range, in one transaction. `ids` are ids of
    /// records that may be missing.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn check_integrity(&self, ids: &[String]) -> Result<IntegrityReport, StoreError> {
        let mut transaction = self.snapshot("begin").await?;
        let (found, _) = find_mismatches(&mut transaction, ids, now_micros()).await?;
        transaction.rollback().await?;
        Ok(found)
    }

    /// Checks as [`Store::check_integrity`], and sets each wrong value to the expected one, in one
    /// transaction. A record out of range gets the outcome `implausible_usage`. Sums of hours and
    /// days are marked as not filled in, for [`Store::fill_usage_sums`]. `save` receives all
    /// mismatches before anything is changed.
    ///
    /// # Errors
    /// A database that cannot be written; an error of `save`, after which nothing is changed.
    pub async fn repair_integrity<E: From<StoreError>>(
        &self,
        save: impl FnOnce(&[Mismatch]) -> Result<(), E>,
    ) -> Result<IntegrityReport, E> {
        let mut transaction = self.snapshot("begin immediate").await?;
        let now = now_micros();
        let (found, wrong_spend) = find_mismatches(&mut transaction, &[], now).await?;
        if found.mismatches.is_empty() {
            return Ok(found);
        }
        save(&found.mismatches)?;
        for mismatch in found.mismatches.iter().filter(|mismatch| !is_sum(mismatch) && mismatch.table != BUDGET) {
            repair_value(&mut transaction, mismatch).await?;
        }
        for wrong in &wrong_spend {
            repair_spend(&mut transaction, wrong, now).await?;
        }
        if found.mismatches.iter().any(|mismatch| mismatch.table == "record" || is_sum(mismatch)) {
            mark_pending(&mut transaction).await?;
        }
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(found)
    }

    /// Begins a transaction that sees one state of the database, on SQLite with `sqlite_begin`.
    async fn snapshot(&self, sqlite_begin: &'static str) -> Result<Transaction<'static, Any>, StoreError> {
        let begin = if self.is_postgres { "begin isolation level repeatable read" } else { sqlite_begin };
        Ok(self.pool.begin_with(begin).await?)
    }
}

/// Whether a mismatch is one of the tables of hours and days.
fn is_sum(mismatch: &Mismatch) -> bool {
    [SumTable::Hours, SumTable::Days].iter().any(|table| table.period() == mismatch.table)
}

/// Finds all mismatches. Those of budgets, in their windows at `now`, are returned as they are
/// repaired, too.
async fn find_mismatches(
    transaction: &mut Transaction<'_, Any>,
    ids: &[String],
    now: i64,
) -> Result<(IntegrityReport, Vec<WrongSpend>), StoreError> {
    let mut found = IntegrityReport::default();
    let row =
        sqlx::query("select cast(count(*) as bigint) as records from usage_records").fetch_one(&mut **transaction);
    found.records = row.await?.try_get("records")?;
    check_records(transaction, &mut found).await?;
    check_tasks(transaction, &mut found).await?;
    let sums = [
        (
            "key",
            "select key_id as id, {} from usage_records where key_id is not null group by 1",
            "select id, name, spent from keys order by id",
        ),
        (
            "project",
            "select project_id as id, {} from usage_records where project_id is not null group by 1",
            "select id, name, spent from projects order by id",
        ),
    ];
    for (table, sums, rows) in sums {
        let costs = format!(
            "cast(sum(case when cost between -{MAX_COST} and {MAX_COST} and cast(cost as bigint) = cost then cast(cost as bigint) else 0 end / 4294967296) as bigint) as high,
             cast(sum(case when cost between -{MAX_COST} and {MAX_COST} and cast(cost as bigint) = cost then cast(cost as bigint) else 0 end % 4294967296) as bigint) as low"
        );
        let mut sums_by_id = BTreeMap::<String, i128>::new();
        for row in sqlx::query(AssertSqlSafe(sums.replace("{}", &costs))).fetch_all(&mut **transaction).await? {
            sums_by_id.insert(row.try_get("id")?, read_split_sum(&row, "high", "low")?);
        }
        let rows = sqlx::query(rows).fetch_all(&mut **transaction).await?;
        *(if table == "key" { &mut found.keys } else { &mut found.projects }) = rows.len();
        for row in rows {
            let id: String = row.try_get("id")?;
            let expected = saturating_i64(sums_by_id.remove(&id).unwrap_or(0)).clamp(-MAX_SPENT, MAX_SPENT);
            if row.try_get::<i64, _>("spent").ok() != Some(expected) {
                let name = row.try_get("name")?;
                let actual = display_value(&row, "spent");
                found.mismatches.push(Mismatch { table, id, name, column: "spent", actual, expected });
            }
        }
    }
    let (budgets, wrong_spend) = find_wrong_spend(transaction, now).await?;
    found.budgets = budgets;
    for WrongSpend { budget_id, name, actual, expected, .. } in &wrong_spend {
        let (id, name, actual) = (budget_id.clone(), name.clone(), actual.clone());
        found.mismatches.push(Mismatch { table: BUDGET, id, name, column: "spent", actual, expected: *expected });
    }
    for WrongSums { table, at, rows } in find_wrong_sums(transaction).await? {
        let name = jiff::Timestamp::from_microsecond(at).map_or_else(|_| at.to_string(), |at| at.to_string());
        let (table, id, actual) = (table.period(), at.to_string(), rows.to_string());
        found.mismatches.push(Mismatch { table, id, name, column: "wrong sums", actual, expected: 0 });
    }
    for (index, id) in ids.iter().enumerate() {
        let record = sqlx::query("select id from usage_records where id = $1").bind(id);
        if record.fetch_optional(&mut **transaction).await?.is_none() {
            found.missing_records.push(index);
        }
    }
    Ok((found, wrong_spend))
}

/// The columns of a record that count tokens.
const TOKEN_COLUMNS: [&str; 6] = [
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "completion_tokens",
    "reasoning_tokens",
];

/// Finds values of records that are not integers or out of range. The right value is not known, so
/// the expected one is 0.
async fn check_records(transaction: &mut Transaction<'_, Any>, found: &mut IntegrityReport) -> Result<(), StoreError> {
    // A fraction differs from its integer part.
    let out_of_range = TOKEN_COLUMNS
        .map(|column| format!("{column} < 0 or {column} > {MAX_TOKENS} or cast({column} as bigint) <> {column}"));
    let select = format!(
        "select * from usage_records where {} or cost < -{MAX_COST} or cost > {MAX_COST} or cast(cost as bigint) <> cost
         order by at, id",
        out_of_range.join(" or ")
    );
    for row in sqlx::query(AssertSqlSafe(select)).fetch_all(&mut **transaction).await? {
        let columns =
            TOKEN_COLUMNS.map(|column| (column, 0, MAX_TOKENS)).into_iter().chain([("cost", -MAX_COST, MAX_COST)]);
        for (column, min, max) in columns {
            found.mismatches.extend(range_mismatch(&row, "record", "id", column, min, max)?);
        }
    }
    Ok(())
}

/// Finds tasks whose refund would be out of range.
async fn check_tasks(transaction: &mut Transaction<'_, Any>, found: &mut IntegrityReport) -> Result<(), StoreError> {
    let select = format!("select * from jobs where cost < 0 or cost > {MAX_COST} or cast(cost as bigint) <> cost");
    for row in sqlx::query(AssertSqlSafe(select)).fetch_all(&mut **transaction).await? {
        found.mismatches.extend(range_mismatch(&row, "task", "record_id", "cost", 0, MAX_COST)?);
    }
    Ok(())
}

fn range_mismatch(
    row: &AnyRow,
    table: &'static str,
    id_column: &str,
    column: &'static str,
    min: i64,
    max: i64,
) -> Result<Option<Mismatch>, StoreError> {
    if row.try_get::<i64, _>(column).is_ok_and(|value| (min..=max).contains(&value)) {
        return Ok(None);
    }
    let id = row.try_get(id_column)?;
    let name = row.try_get("key_name")?;
    Ok(Some(Mismatch { table, id, name, column, actual: display_value(row, column), expected: 0 }))
}

async fn repair_value(transaction: &mut Transaction<'_, Any>, mismatch: &Mismatch) -> Result<(), StoreError> {
    let Mismatch { table, id, column, expected, .. } = mismatch;
    let changed = "changed_at = case when changed_at < $3 then $3 else changed_at + 1 end";
    // The names of tables and columns are constants of this file.
    let update = match *table {
        "key" => format!("update keys set {column} = $1, {changed} where id = $2"),
        "project" => format!("update projects set {column} = $1, {changed} where id = $2"),
        "task" => format!("update jobs set {column} = $1 where record_id = $2"),
        _ => format!("update usage_records set {column} = $1, estimated = 1, outcome = '{IMPLAUSIBLE}' where id = $2"),
    };
    let update = sqlx::query(AssertSqlSafe(update)).bind(expected).bind(id);
    let update = if matches!(*table, "key" | "project") { update.bind(now_micros()) } else { update };
    update.execute(&mut **transaction).await?;
    Ok(())
}
