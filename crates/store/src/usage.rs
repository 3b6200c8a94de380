//! Usage records: one a request, written once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use crate::amounts::{MAX_COST, MAX_SPENT, read_integer, read_split_sum, saturating_i64};
use crate::tasks;
use crate::{Store, StoreError, Task, TaskId, now_micros};

/// What one request used and cost. Its lines in the journal have the same keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// A UUID v7; the same record is written once however often it is settled.
    pub id: String,
    /// When it was asked.
    pub at: i64,
    /// `None` for keys of the configuration, and for a server without keys.
    pub key_id: Option<Arc<str>>,
    pub key_name: Arc<str>,
    pub project_id: Option<Arc<str>>,
    /// As the list of models spells it.
    pub model: Arc<str>,
    /// The provider that answered.
    pub upstream: Arc<str>,
    pub prompt_tokens: i64,
    /// Parts of `prompt_tokens`.
    pub cached_tokens: i64,
    pub cache_write_tokens: i64,
    pub completion_tokens: i64,
    /// A part of `completion_tokens`.
    pub reasoning_tokens: i64,
    /// The upstream did not say the tokens: they are counted from what arrived.
    pub estimated: bool,
    /// Nano-dollars.
    pub cost: i64,
    /// Which price was applied; empty when there is none.
    pub price: Arc<str>,
    pub first_token_us: Option<i64>,
    pub total_us: i64,
    /// A finish reason, or how else it ended.
    pub outcome: Cow<'static, str>,
    /// The task it has submitted. The store keeps it with the other tasks, not in the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<TaskId>,
    /// The provider's id of that task; the same id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_job: Option<String>,
}

/// The outcome of a record that gives back what a task has cost that failed.
pub const REFUNDED: &str = "refunded";

/// What usage is summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageGroupBy {
    Key,
    Project,
    Model,
    Upstream,
    /// UTC days.
    Day,
}

/// The sums of some records; the nearest that can be told where they are beyond
/// what an `i64` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageTotal {
    /// What the records have in common; a day as the number of days since 1970.
    pub group: String,
    pub requests: i64,
    pub prompt_tokens: i64,
    pub cached_tokens: i64,
    pub completion_tokens: i64,
    /// Nano-dollars.
    pub cost: i64,
}

/// What a key or a project has spent, as of the change with this time. A later change of the row
/// has a later time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendUpdate {
    pub id: String,
    /// Nano-dollars.
    pub spent: i64,
    pub changed_at: i64,
}

/// What keys and projects have spent after some records were booked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendUpdates {
    pub keys: Vec<SpendUpdate>,
    pub projects: Vec<SpendUpdate>,
}

impl Store {
    /// Writes records and books what they cost, all or nothing. A record that is there already is
    /// left alone and not booked again.
    ///
    /// # Errors
    /// `Refused` for a record whose counts or amounts are out of range, or that would take what a
    /// key or a project has spent out of range; a database that cannot be used
    /// ([`StoreError::is_refusal`] tells them apart).
    pub async fn insert_records(&self, records: &[UsageRecord]) -> Result<SpendUpdates, StoreError> {
        records.iter().try_for_each(UsageRecord::check_ranges)?;
        // Records are new but after a crash: only then it matters which of them are.
        if let Some(updates) = self.insert_in_batches(records, MAX_ROWS).await? {
            return Ok(updates);
        }
        Ok(self.insert_in_batches(records, 1).await?.unwrap_or_default())
    }

    /// Settles with so many records in one statement. `None` when it could not: where only some of
    /// a statement's records are new, it cannot be told which, and nothing is written.
    async fn insert_in_batches(
        &self,
        records: &[UsageRecord],
        rows: usize,
    ) -> Result<Option<SpendUpdates>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let (mut cost_by_key, mut cost_by_project) = (BTreeMap::<&str, i128>::new(), BTreeMap::<&str, i128>::new());
        let mut rest = records;
        while !rest.is_empty() {
            // Few lengths, so that their statements stay prepared.
            let (batch, later) = rest.split_at(rows.min(1 << rest.len().ilog2()));
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
        let (now, mut updates) = (now_micros(), SpendUpdates::default());
        // In the order of their ids, so that two writers never wait for each other.
        for (id, cost) in cost_by_key {
            updates.keys.extend(add_spend(&mut transaction, &SPEND_OF_KEY, id, cost, now).await?);
        }
        for (id, cost) in cost_by_project {
            updates.projects.extend(add_spend(&mut transaction, &SPEND_OF_PROJECT, id, cost, now).await?);
        }
        transaction.commit().await?;
        Ok(Some(updates))
    }

    /// The sums of all records asked at `since` or later, the most expensive first.
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

    /// Writes a record like any other and takes it back: fails where the database
    /// takes none at all.
    ///
    /// # Errors
    /// Why the database takes no records.
    pub async fn check_accepts_records(&self) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let probe =
            UsageRecord { id: format!("probe:{}", uuid::Uuid::now_v7()), at: now_micros(), ..UsageRecord::default() };
        bind_record(sqlx::query(self.insert_statements.for_rows(1)), &probe).execute(&mut *transaction).await?;
        Ok(transaction.rollback().await?)
    }

    /// The latest records, the newest first.
    pub async fn latest_records(&self, limit: i64) -> Result<Vec<UsageRecord>, StoreError> {
        let rows = sqlx::query("select * from usage_records order by at desc, id desc limit $1").bind(limit);
        Ok(rows.fetch_all(&self.pool).await?.iter().map(record_from_row).collect::<Result<_, _>>()?)
    }
}

/// The statement that books a cost, and the one that finds the row.
type SpendStatements = (&'static str, &'static str);

/// SQLite makes floats of integers that overflow, PostgreSQL fails: neither is asked to add what
/// is out of range.
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

/// Books a cost. `None` where there is no such row.
async fn add_spend(
    transaction: &mut Transaction<'_, Any>,
    (update, find): &SpendStatements,
    id: &str,
    cost: i128,
    now: i64,
) -> Result<Option<SpendUpdate>, StoreError> {
    let refused = || StoreError::Refused(format!("what `{id}` has spent would be out of range with {cost} more"));
    let cost = i64::try_from(cost).ok().filter(|cost| cost.checked_abs().is_some_and(|cost| cost <= MAX_SPENT));
    let cost = cost.ok_or_else(refused)?;
    // Sums stay within the range on both sides of the addition.
    let (least, most) = ((-MAX_COST - cost).max(-MAX_COST), (MAX_SPENT - cost).min(MAX_SPENT));
    let update = sqlx::query(*update).bind(cost).bind(now).bind(id).bind(least).bind(most);
    if let Some(row) = update.fetch_optional(&mut **transaction).await? {
        return Ok(Some(spend_update_from_row(&row)?));
    }
    match sqlx::query(*find).bind(id).fetch_optional(&mut **transaction).await? {
        Some(_) => Err(refused()),
        None => Ok(None),
    }
}

/// Most records in one statement; a power of two.
const MAX_ROWS: usize = 64;
const COLUMNS: usize = 18;

/// The statements that insert 1, 2, 4, ... records. Their text is made of nothing but parameters.
#[derive(Debug)]
pub(crate) struct InsertStatements(Vec<Arc<str>>);

impl InsertStatements {
    /// Parameters are numbered (`$1`) or not (`?`): SQLite, which knows both, looks for each
    /// numbered one among all of them.
    pub(crate) fn new(numbered: bool) -> Self {
        let parameter = |number: usize| if numbered { format!("${number}") } else { "?".into() };
        let row = |row: usize| {
            let parameters: Vec<_> = (1..=COLUMNS).map(|column| parameter(row * COLUMNS + column)).collect();
            format!("({})", parameters.join(", "))
        };
        let insert = |rows: usize| {
            let rows: Vec<_> = (0..rows).map(row).collect();
            format!(
                "insert into usage_records (id, at, key_id, key_name, project_id, model, upstream, prompt_tokens, cached_tokens,
                     cache_write_tokens, completion_tokens, reasoning_tokens, estimated, cost, price, first_token_us, total_us, outcome)
                 values {} on conflict (id) do nothing",
                rows.join(", ")
            )
        };
        Self((0..=MAX_ROWS.ilog2()).map(|power| insert(1 << power).into()).collect())
    }

    /// That for `rows` records, a power of two.
    fn for_rows(&self, rows: usize) -> AssertSqlSafe<Arc<str>> {
        AssertSqlSafe(self.0[rows.ilog2() as usize].clone())
    }
}

fn bind_record<'q>(insert: Query<'q, Any, AnyArguments>, record: &'q UsageRecord) -> Query<'q, Any, AnyArguments> {
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
