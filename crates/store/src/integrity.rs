//! Whether the books agree: what keys and projects have spent is the sum of their records, and every count and amount is an
//! integer within its range. What does not agree can be repaired.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use crate::amounts::{MOST_COST, MOST_SPENT, MOST_TOKENS, saturated, shown, sum};
use crate::{Store, StoreError, now};

/// The outcome of a record whose counts or amounts cannot be true.
pub const IMPLAUSIBLE: &str = "implausible_usage";

/// A value that is not what it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `key`, `project`, `record` or `task`.
    pub of: &'static str,
    pub id: String,
    /// Of the key or the project; of a record or a task, its key's.
    pub name: String,
    pub column: &'static str,
    /// The value as it stands.
    pub is: String,
    pub should_be: i64,
}

/// The findings of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Integrity {
    pub keys: usize,
    pub projects: usize,
    pub records: i64,
    pub differences: Vec<Difference>,
    /// Of the ids that were asked about, those without a record, by their places.
    pub unbooked: Vec<usize>,
}

impl Store {
    /// Compares the sums of records with what keys and projects have spent, and looks for values out of range, in one
    /// transaction. `ids` are of records that may not have been booked yet.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn check_integrity(&self, ids: &[String]) -> Result<Integrity, StoreError> {
        let mut transaction = self.snapshot("begin").await?;
        let found = check(&mut transaction, ids).await?;
        transaction.rollback().await?;
        Ok(found)
    }

    /// Checks as [`Store::check_integrity`], and sets each value to what it should be, all or nothing. A record out of range gets
    /// the outcome `implausible_usage`. `save` is shown all differences before anything is changed.
    ///
    /// # Errors
    /// A database that cannot be used; what `save` fails with, after which nothing is changed.
    pub async fn repair_integrity<E: From<StoreError>>(
        &self,
        save: impl FnOnce(&[Difference]) -> Result<(), E>,
    ) -> Result<Integrity, E> {
        let mut transaction = self.snapshot("begin immediate").await?;
        let found = check(&mut transaction, &[]).await?;
        if found.differences.is_empty() {
            return Ok(found);
        }
        save(&found.differences)?;
        for difference in &found.differences {
            repair(&mut transaction, difference).await?;
        }
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(found)
    }

    /// A transaction that sees one state of the database, begun on SQLite by `sqlite`.
    async fn snapshot(&self, sqlite: &'static str) -> Result<Transaction<'static, Any>, StoreError> {
        let begin = if self.is_postgres { "begin isolation level repeatable read" } else { sqlite };
        Ok(self.pool.begin_with(begin).await?)
    }
}

async fn check(transaction: &mut Transaction<'_, Any>, ids: &[String]) -> Result<Integrity, StoreError> {
    let mut found = Integrity::default();
    let row =
        sqlx::query("select cast(count(*) as bigint) as records from usage_records").fetch_one(&mut **transaction);
    found.records = row.await?.try_get("records")?;
    records(transaction, &mut found).await?;
    tasks(transaction, &mut found).await?;
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
    for (of, sums, rows) in sums {
        let costs = format!(
            "cast(sum(case when cost between -{MOST_COST} and {MOST_COST} and cast(cost as bigint) = cost then cast(cost as bigint) else 0 end / 4294967296) as bigint) as high,
             cast(sum(case when cost between -{MOST_COST} and {MOST_COST} and cast(cost as bigint) = cost then cast(cost as bigint) else 0 end % 4294967296) as bigint) as low"
        );
        let mut sums_by_id = BTreeMap::<String, i128>::new();
        for row in sqlx::query(AssertSqlSafe(sums.replace("{}", &costs))).fetch_all(&mut **transaction).await? {
            sums_by_id.insert(row.try_get("id")?, sum(&row, "high", "low")?);
        }
        let rows = sqlx::query(rows).fetch_all(&mut **transaction).await?;
        *(if of == "key" { &mut found.keys } else { &mut found.projects }) = rows.len();
        for row in rows {
            let id: String = row.try_get("id")?;
            let should_be = saturated(sums_by_id.remove(&id).unwrap_or(0)).clamp(-MOST_SPENT, MOST_SPENT);
            if row.try_get::<i64, _>("spent").ok() != Some(should_be) {
                let (name, is) = (row.try_get("name")?, shown(&row, "spent"));
                found.differences.push(Difference { of, id, name, column: "spent", is, should_be });
            }
        }
    }
    for (place, id) in ids.iter().enumerate() {
        let known = sqlx::query("select id from usage_records where id = $1").bind(id);
        if known.fetch_optional(&mut **transaction).await?.is_none() {
            found.unbooked.push(place);
        }
    }
    Ok(found)
}

/// The columns of a record that count tokens.
const TOKENS: [&str; 5] =
    ["prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens"];

/// Records with a value that is no integer or out of range. What it was before cannot be known: it becomes 0.
async fn records(transaction: &mut Transaction<'_, Any>, found: &mut Integrity) -> Result<(), StoreError> {
    // A fraction is not what it is as an integer.
    let odd = TOKENS
        .map(|column| format!("{column} < 0 or {column} > {MOST_TOKENS} or cast({column} as bigint) <> {column}"));
    let select = format!(
        "select * from usage_records where {} or cost < -{MOST_COST} or cost > {MOST_COST} or cast(cost as bigint) <> cost
         order by at, id",
        odd.join(" or ")
    );
    for row in sqlx::query(AssertSqlSafe(select)).fetch_all(&mut **transaction).await? {
        let columns =
            TOKENS.map(|column| (column, 0, MOST_TOKENS)).into_iter().chain([("cost", -MOST_COST, MOST_COST)]);
        for (column, least, most) in columns {
            found.differences.extend(out_of_range(&row, "record", "id", column, least, most)?);
        }
    }
    Ok(())
}

/// Tasks that would give back what cannot be true.
async fn tasks(transaction: &mut Transaction<'_, Any>, found: &mut Integrity) -> Result<(), StoreError> {
    let select = format!("select * from jobs where cost < 0 or cost > {MOST_COST} or cast(cost as bigint) <> cost");
    for row in sqlx::query(AssertSqlSafe(select)).fetch_all(&mut **transaction).await? {
        found.differences.extend(out_of_range(&row, "task", "record_id", "cost", 0, MOST_COST)?);
    }
    Ok(())
}

fn out_of_range(
    row: &AnyRow,
    of: &'static str,
    id: &str,
    column: &'static str,
    least: i64,
    most: i64,
) -> Result<Option<Difference>, StoreError> {
    if row.try_get::<i64, _>(column).is_ok_and(|value| (least..=most).contains(&value)) {
        return Ok(None);
    }
    let (id, name) = (row.try_get(id)?, row.try_get("key_name")?);
    Ok(Some(Difference { of, id, name, column, is: shown(row, column), should_be: 0 }))
}

async fn repair(transaction: &mut Transaction<'_, Any>, difference: &Difference) -> Result<(), StoreError> {
    let Difference { of, id, column, should_be, .. } = difference;
    let changed = "changed_at = case when changed_at < $3 then $3 else changed_at + 1 end";
    // Tables and columns are those named in this file.
    let update = match *of {
        "key" => format!("update keys set {column} = $1, {changed} where id = $2"),
        "project" => format!("update projects set {column} = $1, {changed} where id = $2"),
        "task" => format!("update jobs set {column} = $1 where record_id = $2"),
        _ => format!("update usage_records set {column} = $1, estimated = 1, outcome = '{IMPLAUSIBLE}' where id = $2"),
    };
    let update = sqlx::query(AssertSqlSafe(update)).bind(should_be).bind(id);
    let update = if matches!(*of, "key" | "project") { update.bind(now()) } else { update };
    update.execute(&mut **transaction).await?;
    Ok(())
}
