//! Usage records and the sums that keys and projects have spent: inserted, summed, read.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::amounts::{MAX_COST, MAX_SPENT, read_integer, read_split_sum, saturating_i64};
use crate::insert_statements::{MAX_ROWS, bind_record};
use crate::{Store, StoreError, Task, UsageRecord, now_micros, tasks};

/// The outcome of a record that refunds a failed task.
pub const REFUNDED: &str = "refunded";

/// The column by which usage is grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageGroupBy {
    Key,
    Project,
    Model,
    Upstream,
    /// UTC days.
    Day,
}

/// The sums of a group of records. A sum beyond the range of `i64` is clamped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageTotal {
    /// The value that the records share; a day is the number of days since 1970.
    pub group: String,
    pub requests: i64,
    pub prompt_tokens: i64,
    pub cached_tokens: i64,
    pub completion_tokens: i64,
    /// Nano-dollars.
    pub cost: i64,
}

/// The amount that a key or a project has spent after a change of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendUpdate {
    pub id: String,
    /// Nano-dollars.
    pub spent: i64,
    /// The time of the change. Each later change of the row has a later time.
    pub changed_at: i64,
}

/// The amounts that keys and projects have spent after records were inserted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendUpdates {
    pub keys: Vec<SpendUpdate>,
    pub projects: Vec<SpendUpdate>,
}

impl Store {
    /// Inserts records and adds their costs to keys and projects, in one transaction. A record
    /// whose id exists is ignored.
    ///
    /// # Errors
    /// `Refused` for a record with a count or an amount out of range, or that would take the spent
    /// amount of a key or a project out of range; a database that cannot be used
    /// ([`StoreError::is_refusal`] tells them apart).
    pub async fn insert_records(&self, records: &[UsageRecord]) -> Result<SpendUpdates, StoreError> {
        records.iter().try_for_each(UsageRecord::check_ranges)?;
        // All records are new, except after a crash: then each is inserted by a
        // statement of its own.
        if let Some(updates) = self.insert_in_batches(records, MAX_ROWS).await? {
            return Ok(updates);
        }
        Ok(self.insert_in_batches(records, 1).await?.unwrap_or_default())
    }

    /// Inserts records, at most `max_rows` with one statement. Returns `None`, and writes nothing,
    /// when only some records of a statement are new: the database does not report which.
    async fn insert_in_batches(
        &self,
        records: &[UsageRecord],
        max_rows: usize,
    ) -> Result<Option<SpendUpdates>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        // Ordered by id, so that two writers never wait for each other.
        let mut cost_by_key = BTreeMap::<&str, i128>::new();
        let mut cost_by_project = BTreeMap::<&str, i128>::new();
        let mut rest = records;
        while !rest.is_empty() {
            // Only powers of two, so that the statements stay prepared.
            let (batch, later) = rest.split_at(max_rows.min(1 << rest.len().ilog2()));
            let mut insert = sqlx::query(self.insert_statements.for_rows(batch.len()));
            for record in batch {
                insert = bind_record(insert, record);
            }
            let added = insert.execute(&mut *transaction).await?.rows_affected();
            if added > 0 && added < batch.len() as u64 {
                transaction.rollback().await?;
                return Ok(None);
            }
            for record in batch.iter().filter(|record| added > 0 && record.cost != 0) {
                if let Some(id) = &record.key_id {
                    *cost_by_key.entry(id).or_default() += i128::from(record.cost);
                }
                if let Some(id) = &record.project_id {
                    *cost_by_project.entry(id).or_default() += i128::from(record.cost);
                }
            }
            rest = later;
        }
        for task in records.iter().filter_map(Task::from_record) {
            let insert = sqlx::query(tasks::INSERT_TASK)
                .bind(task.id.kind)
                .bind(task.id.id)
                .bind(&*task.upstream)
                .bind(&*task.model);
            let insert = insert
                .bind(task.project_id.as_deref())
                .bind(task.key_id.as_deref())
                .bind(&*task.key_name)
                .bind(task.record_id);
            insert.bind(task.cost).bind(task.created_at).bind(task.provider_id).execute(&mut *transaction).await?;
        }
        let now = now_micros();
        let mut updates = SpendUpdates::default();
        for (id, cost) in cost_by_key {
            updates.keys.extend(add_spend(&mut transaction, &SPEND_OF_KEY, id, cost, now).await?);
        }
        for (id, cost) in cost_by_project {
            updates.projects.extend(add_spend(&mut transaction, &SPEND_OF_PROJECT, id, cost, now).await?);
        }
        transaction.commit().await?;
        Ok(Some(updates))
    }

    /// The sums of all records at `since` or later by group, the most expensive first.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn usage(&self, since: i64, by: UsageGroupBy) -> Result<Vec<UsageTotal>, StoreError> {
        let by = match by {
            UsageGroupBy::Key => "key",
            UsageGroupBy::Project => "project",
            UsageGroupBy::Model => "model",
            UsageGroupBy::Upstream => "upstream",
            UsageGroupBy::Day => "day",
        };
        let rows = sqlx::query(
            "select case $2 when 'key' then u.key_name when 'model' then u.model when 'upstream' then u.upstream
                        when 'day' then cast(u.at / 86400000000 as text) else coalesce(p.name, '') end as shared,
                    cast(sum(case when u.outcome = 'refunded' then 0 else 1 end) as bigint) as requests,
                    cast(sum(cast(u.prompt_tokens as bigint) / 4294967296) as bigint) as prompt_high,
                    cast(sum(cast(u.prompt_tokens as bigint) % 4294967296) as bigint) as prompt_low,
                    cast(sum(cast(u.cached_tokens as bigint) / 4294967296) as bigint) as cached_high,
                    cast(sum(cast(u.cached_tokens as bigint) % 4294967296) as bigint) as cached_low,
                    cast(sum(cast(u.completion_tokens as bigint) / 4294967296) as bigint) as completion_high,
                    cast(sum(cast(u.completion_tokens as bigint) % 4294967296) as bigint) as completion_low,
                    cast(sum(cast(u.cost as bigint) / 4294967296) as bigint) as cost_high,
                    cast(sum(cast(u.cost as bigint) % 4294967296) as bigint) as cost_low
             from usage_records u left join projects p on p.id = u.project_id
             where u.at >= $1 group by 1",
        );
        let rows = rows.bind(since).bind(by).fetch_all(&self.pool).await?;
        let mut totals: Vec<UsageTotal> = rows.iter().map(total_from_row).collect::<Result<_, _>>()?;
        totals.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.group.cmp(&b.group)));
        Ok(totals)
    }

    /// Checks that the database accepts records at all: inserts one, and rolls back.
    ///
    /// # Errors
    /// The error of the insertion.
    pub async fn check_accepts_records(&self) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let probe =
            UsageRecord { id: format!("probe:{}", uuid::Uuid::now_v7()), at: now_micros(), ..UsageRecord::default() };
        bind_record(sqlx::query(self.insert_statements.for_rows(1)), &probe).execute(&mut *transaction).await?;
        Ok(transaction.rollback().await?)
    }

    /// At most `limit` of the latest records, the newest first.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn latest_records(&self, limit: i64) -> Result<Vec<UsageRecord>, StoreError> {
        let rows = sqlx::query("select * from usage_records order by at desc, id desc limit $1").bind(limit);
        Ok(rows.fetch_all(&self.pool).await?.iter().map(record_from_row).collect::<Result<_, _>>()?)
    }
}

/// The statement that adds a cost to a row, and the one that finds the row.
type SpendStatements = (&'static str, &'static str);

// An integer overflow becomes a float in SQLite and an error in PostgreSQL. The range in the
// condition avoids both.
const SPEND_OF_KEY: SpendStatements = (
    "update keys set spent = cast(spent as bigint) + $1,
         changed_at = case when changed_at < $2 then $2 else changed_at + 1 end
     where id = $3 and cast(spent as bigint) between $4 and $5 returning id, spent, changed_at",
    "select id from keys where id = $1",
);
const SPEND_OF_PROJECT: SpendStatements = (
    "update projects set spent = cast(spent as bigint) + $1,
         changed_at = case when changed_at < $2 then $2 else changed_at + 1 end
     where id = $3 and cast(spent as bigint) between $4 and $5 returning id, spent, changed_at",
    "select id from projects where id = $1",
);

/// Adds a cost to the spent amount of a row. Returns `None` when there is no such row.
///
/// # Errors
/// `Refused` when the sum would be out of range.
async fn add_spend(
    transaction: &mut Transaction<'_, Any>,
    (update, find): &SpendStatements,
    id: &str,
    cost: i128,
    now: i64,
) -> Result<Option<SpendUpdate>, StoreError> {
    let refused = || StoreError::Refused(format!("the spent amount of `{id}` would be out of range with {cost} more"));
    let cost = i64::try_from(cost).ok().filter(|cost| cost.checked_abs().is_some_and(|cost| cost <= MAX_SPENT));
    let cost = cost.ok_or_else(refused)?;
    // The sum must be in range before and after the addition.
    let (min, max) = ((-MAX_COST - cost).max(-MAX_COST), (MAX_SPENT - cost).min(MAX_SPENT));
    let update = sqlx::query(*update).bind(cost).bind(now).bind(id).bind(min).bind(max);
    if let Some(row) = update.fetch_optional(&mut **transaction).await? {
        return Ok(Some(spend_update_from_row(&row)?));
    }
    match sqlx::query(*find).bind(id).fetch_optional(&mut **transaction).await? {
        Some(_) => Err(refused()),
        None => Ok(None),
    }
}

fn spend_update_from_row(row: &AnyRow) -> Result<SpendUpdate, sqlx::Error> {
    Ok(SpendUpdate { id: row.try_get("id")?, spent: row.try_get("spent")?, changed_at: row.try_get("changed_at")? })
}

fn total_from_row(row: &AnyRow) -> Result<UsageTotal, sqlx::Error> {
    Ok(UsageTotal {
        group: row.try_get("shared")?,
        requests: row.try_get("requests")?,
        prompt_tokens: saturating_i64(read_split_sum(row, "prompt_high", "prompt_low")?),
        cached_tokens: saturating_i64(read_split_sum(row, "cached_high", "cached_low")?),
        completion_tokens: saturating_i64(read_split_sum(row, "completion_high", "completion_low")?),
        cost: saturating_i64(read_split_sum(row, "cost_high", "cost_low")?),
    })
}

fn record_from_row(row: &AnyRow) -> Result<UsageRecord, sqlx::Error> {
    let text = |column| row.try_get::<String, _>(column);
    Ok(UsageRecord {
        id: row.try_get("id")?,
        at: row.try_get("at")?,
        key_id: row.try_get::<Option<String>, _>("key_id")?.map(Arc::from),
        key_name: text("key_name")?.into(),
        project_id: row.try_get::<Option<String>, _>("project_id")?.map(Arc::from),
        model: text("model")?.into(),
        upstream: text("upstream")?.into(),
        prompt_tokens: read_integer(row, "prompt_tokens")?,
        cached_tokens: read_integer(row, "cached_tokens")?,
        cache_write_tokens: read_integer(row, "cache_write_tokens")?,
        completion_tokens: read_integer(row, "completion_tokens")?,
        reasoning_tokens: read_integer(row, "reasoning_tokens")?,
        estimated: row.try_get::<i64, _>("estimated")? != 0,
        cost: read_integer(row, "cost")?,
        price: text("price")?.into(),
        first_token_us: row.try_get("first_token_us")?,
        total_us: row.try_get("total_us")?,
        outcome: text("outcome")?.into(),
        job: None,
        provider_job: None,
    })
}
