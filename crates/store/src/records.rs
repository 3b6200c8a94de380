//! Usage records, read one by one or in pages.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use crate::amounts::read_integer;
use crate::outcome_class::class_sql;
use crate::usage_filter::Parameters;
use crate::{HOUR_MICROS, RecordOwner, Store, StoreError, UsageFilter, UsageRecord};

/// The most hours whose records are looked for with one statement of sums.
const MAX_HOURS: i64 = 500;

/// The place of a record in the order of time. Older records are those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordCursor {
    /// Microseconds since 1970.
    pub at: i64,
    pub id: String,
}

/// A page of records to be read, the newest first.
#[derive(Clone, Debug)]
pub struct RecordQuery {
    /// The time of the oldest record, in microseconds since 1970.
    pub from: i64,
    /// The time after that of the newest record.
    pub until: i64,
    pub filter: UsageFilter,
    /// The last record of the page before.
    pub before: Option<RecordCursor>,
    pub limit: usize,
}

impl Store {
    /// At most `limit` of the latest records, the newest first.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn latest_records(&self, limit: usize) -> Result<Vec<UsageRecord>, StoreError> {
        let filter = RecordOwner::Everyone.into();
        self.records(&RecordQuery { from: 0, until: i64::MAX, filter, before: None, limit }).await
    }

    /// A page of records.
    ///
    /// The sums say in which hours there are records that match, so that a filter that matches few
    /// of them does not read all others.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn records(&self, query: &RecordQuery) -> Result<Vec<UsageRecord>, StoreError> {
        let last = query.before.as_ref().map_or(i64::MAX, |before| before.at.saturating_add(1));
        let mut until = query.until.min(last);
        let mut found = Vec::new();
        if !query.filter.is_everything() {
            let pending = self.usage_sums_pending().await?.max(query.from);
            while until > pending && found.len() < query.limit {
                let hours = self.hours_with_records(query, pending, until).await?;
                for hour in &hours {
                    let (from, end) = ((*hour).max(pending), (hour + HOUR_MICROS).min(until));
                    self.read_records(query, from, end, &mut found).await?;
                    if found.len() == query.limit {
                        return Ok(found);
                    }
                }
                until = if hours.len() < MAX_HOURS as usize { pending } else { hours[hours.len() - 1] };
            }
        }
        self.read_records(query, query.from, until, &mut found).await?;
        Ok(found)
    }

    /// The beginnings of the latest hours with records that match, the latest first.
    async fn hours_with_records(&self, query: &RecordQuery, from: i64, until: i64) -> Result<Vec<i64>, StoreError> {
        let mut parameters = Parameters::default();
        let from = parameters.push_integer(from.div_euclid(HOUR_MICROS) * HOUR_MICROS);
        let select = format!(
            "select distinct u.at from usage_hours u where u.at >= {from} and u.at < {}{} order by u.at desc limit {MAX_HOURS}",
            parameters.push_integer(until),
            query.filter.conditions("u.outcome_class", &mut parameters),
        );
        let rows = parameters.bind_to(sqlx::query(AssertSqlSafe(select))).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.try_get("at")).collect::<Result<_, _>>()?)
    }

    /// Adds the records from `from` until `until` that match, up to the limit of the page.
    async fn read_records(
        &self,
        query: &RecordQuery,
        from: i64,
        until: i64,
        found: &mut Vec<UsageRecord>,
    ) -> Result<(), StoreError> {
        if from >= until || found.len() >= query.limit {
            return Ok(());
        }
        let mut parameters = Parameters::default();
        let from = parameters.push_integer(from);
        let mut select = format!(
            "select u.* from usage_records u where u.at >= {from} and u.at < {}{}",
            parameters.push_integer(until),
            query.filter.conditions(class_sql(), &mut parameters),
        );
        if let Some(before) = &query.before {
            let at = parameters.push_integer(before.at);
            select += &format!(" and (u.at < {at} or u.id < {})", parameters.push(&before.id));
        }
        select += &format!(" order by u.at desc, u.id desc limit {}", query.limit - found.len());
        let rows = parameters.bind_to(sqlx::query(AssertSqlSafe(select))).fetch_all(&self.pool).await?;
        for row in &rows {
            found.push(record_from_row(row)?);
        }
        Ok(())
    }

    /// The record with the id `id`, else the latest one of the request with the id `request_id`.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn record(
        &self,
        owner: &RecordOwner,
        id: &str,
        request_id: &str,
    ) -> Result<Option<UsageRecord>, StoreError> {
        for (column, value) in [("id", id), ("request_id", request_id)] {
            let mut parameters = Parameters::default();
            let value = parameters.push(value);
            let select = format!(
                "select u.* from usage_records u where u.{column} = {value}{} order by u.at desc, u.id desc limit 1",
                UsageFilter::from(owner.clone()).conditions(class_sql(), &mut parameters),
            );
            let row = parameters.bind_to(sqlx::query(AssertSqlSafe(select))).fetch_optional(&self.pool).await?;
            if let Some(row) = row {
                return Ok(Some(record_from_row(&row)?));
            }
        }
        Ok(None)
    }
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
        cache_write_1h_tokens: read_integer(row, "cache_write_1h_tokens")?,
        completion_tokens: read_integer(row, "completion_tokens")?,
        reasoning_tokens: read_integer(row, "reasoning_tokens")?,
        extra_counts: read_extra_counts(row)?,
        service_tier: row.try_get::<Option<String>, _>("service_tier")?.map(Into::into),
        estimated: row.try_get::<i64, _>("estimated")? != 0,
        cost: read_integer(row, "cost")?,
        price: text("price")?.into(),
        first_token_us: row.try_get("first_token_us")?,
        total_us: row.try_get("total_us")?,
        outcome: text("outcome")?.into(),
        request_id: row.try_get::<Option<String>, _>("request_id")?.map(Arc::from),
        further_requests: row.try_get("further_requests")?,
        end_user: row.try_get::<Option<String>, _>("end_user")?.map(Arc::from),
        attempts: Vec::new(),
        job: None,
        provider_job: None,
    })
}

fn read_extra_counts(row: &AnyRow) -> Result<BTreeMap<Cow<'static, str>, i64>, sqlx::Error> {
    let Some(json) = row.try_get::<Option<String>, _>("extra_counts")? else { return Ok(BTreeMap::new()) };
    serde_json::from_str(&json).map_err(|error| sqlx::Error::Decode(format!("`extra_counts`: {error}").into()))
}
