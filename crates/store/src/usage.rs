//! Usage records: one a request, written once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use crate::amounts::{MOST_COST, MOST_SPENT, integer, saturated, sum};
use crate::jobs;
use crate::{Job, JobId, Store, StoreError, now};

/// What one request used and cost. Its lines in the journal have the same keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
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
    pub job: Option<JobId>,
    /// The provider's id of that task; the same id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_job: Option<String>,
}

/// The outcome of a record that gives back what a task has cost that failed.
pub const REFUNDED: &str = "refunded";

/// What usage is summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Key,
    Project,
    Model,
    Upstream,
    /// UTC days.
    Day,
}

/// The sums of some records; the nearest that can be told where they are beyond what an `i64` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// What the records have in common; a day as the number of days since 1970.
    pub of: String,
    pub requests: i64,
    pub prompt_tokens: i64,
    pub cached_tokens: i64,
    pub completion_tokens: i64,
    /// Nano-dollars.
    pub cost: i64,
}

/// What a key or a project has spent, as of the change with this time. A later change of the row has a later time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    pub id: String,
    /// Nano-dollars.
    pub spent: i64,
    pub changed_at: i64,
}

/// What keys and projects have spent after some records were booked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Booked {
    pub keys: Vec<Spent>,
    pub projects: Vec<Spent>,
}

impl Store {
    /// Writes records and books what they cost, all or nothing. A record that is there already is left alone and not
    /// booked again.
    ///
    /// # Errors
    /// `Refused` for a record whose counts or amounts are out of range, or that would take what a key or a project has spent
    /// out of range; a database that cannot be used ([`StoreError::is_refusal`] tells them apart).
    pub async fn settle(&self, records: &[Record]) -> Result<Booked, StoreError> {
        records.iter().try_for_each(Record::check)?;
        // Records are new but after a crash: only then it matters which of them are.
        if let Some(booked) = self.settle_in(records, MOST_ROWS).await? {
            return Ok(booked);
        }
        Ok(self.settle_in(records, 1).await?.unwrap_or_default())
    }

    /// Settles with so many records in one statement. `None` when it could not: where only some of a statement's records
    /// are new, it cannot be told which, and nothing is written.
    async fn settle_in(&self, records: &[Record], rows: usize) -> Result<Option<Booked>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let (mut keys, mut projects) = (BTreeMap::<&str, i128>::new(), BTreeMap::<&str, i128>::new());
        let mut rest = records;
        while !rest.is_empty() {
            // Few lengths, so that their statements stay prepared.
            let (now, later) = rest.split_at(rows.min(1 << rest.len().ilog2()));
            let mut insert = sqlx::query(self.inserts.of(now.len()));
            for record in now {
                insert = bind(insert, record);
            }
            let added = insert.execute(&mut *transaction).await?.rows_affected();
            if added > 0 && added < now.len() as u64 {
                transaction.rollback().await?;
                return Ok(None);
            }
            for record in now.iter().filter(|record| added > 0 && record.cost != 0) {
                if let Some(id) = &record.key_id {
                    *keys.entry(id).or_default() += i128::from(record.cost);
                }
                if let Some(id) = &record.project_id {
                    *projects.entry(id).or_default() += i128::from(record.cost);
                }
            }
            rest = later;
        }
        for job in records.iter().filter_map(Job::of) {
            let keep =
                sqlx::query(jobs::INSERT).bind(job.id.kind).bind(job.id.id).bind(&*job.upstream).bind(&*job.model);
            let keep = keep
                .bind(job.project_id.as_deref())
                .bind(job.key_id.as_deref())
                .bind(&*job.key_name)
                .bind(job.record_id);
            keep.bind(job.cost).bind(job.created_at).bind(job.provider_id).execute(&mut *transaction).await?;
        }
        let (now, mut booked) = (now(), Booked::default());
        // In the order of their ids, so that two writers never wait for each other.
        for (id, cost) in keys {
            booked.keys.extend(spend(&mut transaction, &KEYS, id, cost, now).await?);
        }
        for (id, cost) in projects {
            booked.projects.extend(spend(&mut transaction, &PROJECTS, id, cost, now).await?);
        }
        transaction.commit().await?;
        Ok(Some(booked))
    }

    /// The sums of all records asked at `since` or later, the most expensive first.
    pub async fn usage(&self, since: i64, by: By) -> Result<Vec<Total>, StoreError> {
        let by = match by {
            By::Key => "key",
            By::Project => "project",
            By::Model => "model",
            By::Upstream => "upstream",
            By::Day => "day",
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
        let mut totals: Vec<Total> = rows.iter().map(total).collect::<Result<_, _>>()?;
        totals.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.of.cmp(&b.of)));
        Ok(totals)
    }

    /// Writes a record like any other and takes it back: fails where the database takes none at all.
    ///
    /// # Errors
    /// Why the database takes no records.
    pub async fn takes_records(&self) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let probe = Record { id: format!("probe:{}", uuid::Uuid::now_v7()), at: now(), ..Record::default() };
        bind(sqlx::query(self.inserts.of(1)), &probe).execute(&mut *transaction).await?;
        Ok(transaction.rollback().await?)
    }

    /// The latest records, the newest first.
    pub async fn records(&self, limit: i64) -> Result<Vec<Record>, StoreError> {
        let rows = sqlx::query("select * from usage_records order by at desc, id desc limit $1").bind(limit);
        Ok(rows.fetch_all(&self.pool).await?.iter().map(record).collect::<Result<_, _>>()?)
    }
}

/// The statement that books a cost, and the one that finds the row.
type Spend = (&'static str, &'static str);

/// SQLite makes floats of integers that overflow, PostgreSQL fails: neither is asked to add what is out of range.
const KEYS: Spend = (
    "update keys set spent = cast(spent as bigint) + $1,
         changed_at = case when changed_at < $2 then $2 else changed_at + 1 end
     where id = $3 and cast(spent as bigint) between $4 and $5 returning id, spent, changed_at",
    "select id from keys where id = $1",
);
const PROJECTS: Spend = (
    "update projects set spent = cast(spent as bigint) + $1,
         changed_at = case when changed_at < $2 then $2 else changed_at + 1 end
     where id = $3 and cast(spent as bigint) between $4 and $5 returning id, spent, changed_at",
    "select id from projects where id = $1",
);

/// Books a cost. `None` where there is no such row.
async fn spend(
    transaction: &mut Transaction<'_, Any>,
    (update, find): &Spend,
    id: &str,
    cost: i128,
    now: i64,
) -> Result<Option<Spent>, StoreError> {
    let refused = || StoreError::Refused(format!("what `{id}` has spent would be out of range with {cost} more"));
    let cost = i64::try_from(cost).ok().filter(|cost| cost.checked_abs().is_some_and(|cost| cost <= MOST_SPENT));
    let cost = cost.ok_or_else(refused)?;
    // Sums stay within the range on both sides of the addition.
    let (least, most) = ((-MOST_COST - cost).max(-MOST_COST), (MOST_SPENT - cost).min(MOST_SPENT));
    let update = sqlx::query(*update).bind(cost).bind(now).bind(id).bind(least).bind(most);
    if let Some(row) = update.fetch_optional(&mut **transaction).await? {
        return Ok(Some(spent(&row)?));
    }
    match sqlx::query(*find).bind(id).fetch_optional(&mut **transaction).await? {
        Some(_) => Err(refused()),
        None => Ok(None),
    }
}

/// Most records in one statement; a power of two.
const MOST_ROWS: usize = 64;
const COLUMNS: usize = 18;

/// The statements that insert 1, 2, 4, ... records. Their text is made of nothing but parameters.
#[derive(Debug)]
pub(crate) struct Inserts(Vec<Arc<str>>);

impl Inserts {
    /// Parameters are numbered (`$1`) or not (`?`): SQLite, which knows both, looks for each numbered one among all of them.
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
        Self((0..=MOST_ROWS.ilog2()).map(|power| insert(1 << power).into()).collect())
    }

    /// That for `rows` records, a power of two.
    fn of(&self, rows: usize) -> AssertSqlSafe<Arc<str>> {
        AssertSqlSafe(self.0[rows.ilog2() as usize].clone())
    }
}

fn bind<'q>(insert: Query<'q, Any, AnyArguments>, record: &'q Record) -> Query<'q, Any, AnyArguments> {
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

fn spent(row: &AnyRow) -> Result<Spent, sqlx::Error> {
    Ok(Spent { id: row.try_get("id")?, spent: row.try_get("spent")?, changed_at: row.try_get("changed_at")? })
}

fn total(row: &AnyRow) -> Result<Total, sqlx::Error> {
    Ok(Total {
        of: row.try_get("shared")?,
        requests: row.try_get("requests")?,
        prompt_tokens: saturated(sum(row, "prompt_high", "prompt_low")?),
        cached_tokens: saturated(sum(row, "cached_high", "cached_low")?),
        completion_tokens: saturated(sum(row, "completion_high", "completion_low")?),
        cost: saturated(sum(row, "cost_high", "cost_low")?),
    })
}

fn record(row: &AnyRow) -> Result<Record, sqlx::Error> {
    let text = |column| row.try_get::<String, _>(column);
    Ok(Record {
        id: row.try_get("id")?,
        at: row.try_get("at")?,
        key_id: row.try_get::<Option<String>, _>("key_id")?.map(Arc::from),
        key_name: text("key_name")?.into(),
        project_id: row.try_get::<Option<String>, _>("project_id")?.map(Arc::from),
        model: text("model")?.into(),
        upstream: text("upstream")?.into(),
        prompt_tokens: integer(row, "prompt_tokens")?,
        cached_tokens: integer(row, "cached_tokens")?,
        cache_write_tokens: integer(row, "cache_write_tokens")?,
        completion_tokens: integer(row, "completion_tokens")?,
        reasoning_tokens: integer(row, "reasoning_tokens")?,
        estimated: row.try_get::<i64, _>("estimated")? != 0,
        cost: integer(row, "cost")?,
        price: text("price")?.into(),
        first_token_us: row.try_get("first_token_us")?,
        total_us: row.try_get("total_us")?,
        outcome: text("outcome")?.into(),
        job: None,
        provider_job: None,
    })
}
