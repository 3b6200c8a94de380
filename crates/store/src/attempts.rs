//! Requests to providers: kept for some days, for requests of which one failed.

use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use crate::{Attempt, HOUR_MICROS, Store, StoreError, UsageRecord};

impl Store {
    /// The attempts of a request, in their order.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn attempts(&self, record_id: &str) -> Result<Vec<Attempt>, StoreError> {
        let found = sqlx::query("select * from usage_attempts where record_id = $1 order by number").bind(record_id);
        Ok(found.fetch_all(&self.pool).await?.iter().map(attempt_from_row).collect::<Result<_, _>>()?)
    }

    /// The number of attempts since `from` after which another one was made, by the hour and the
    /// provider.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn superseded_attempts(&self, from: i64) -> Result<Vec<((i64, String), i64)>, StoreError> {
        let select = format!(
            "select a.started_at / {HOUR_MICROS} * {HOUR_MICROS} as hour, a.provider, cast(count(*) as bigint) as attempts
             from usage_attempts a join usage_attempts next on next.record_id = a.record_id and next.number = a.number + 1
             where a.started_at >= $1 group by 1, 2"
        );
        let rows = sqlx::query(AssertSqlSafe(select)).bind(from).fetch_all(&self.pool).await?;
        let count = |row: &AnyRow| Ok(((row.try_get("hour")?, row.try_get("provider")?), row.try_get("attempts")?));
        Ok(rows.iter().map(count).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Deletes the attempts that started before `at`.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn delete_attempts_before(&self, at: i64) -> Result<(), StoreError> {
        sqlx::query("delete from usage_attempts where started_at < $1").bind(at).execute(&self.pool).await?;
        Ok(())
    }
}

/// Inserts the attempts of a new record.
pub(crate) async fn insert_attempts(
    transaction: &mut Transaction<'_, Any>,
    record: &UsageRecord,
) -> Result<(), StoreError> {
    for (number, attempt) in (1_i64..).zip(&record.attempts) {
        let insert = sqlx::query(
            "insert into usage_attempts (record_id, number, provider, model, started_at, first_byte_at, ended_at, status, fault)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        );
        let insert = insert.bind(&record.id).bind(number).bind(&*attempt.provider).bind(&*attempt.model);
        let insert = insert.bind(attempt.started_at).bind(attempt.first_byte_at).bind(attempt.ended_at);
        let insert = insert.bind(attempt.status.map(i64::from)).bind(attempt.fault.as_ref());
        insert.execute(&mut **transaction).await?;
    }
    Ok(())
}

fn attempt_from_row(row: &AnyRow) -> Result<Attempt, sqlx::Error> {
    let status: Option<i64> = row.try_get("status")?;
    Ok(Attempt {
        provider: row.try_get::<String, _>("provider")?.into(),
        model: row.try_get::<String, _>("model")?.into(),
        started_at: row.try_get("started_at")?,
        first_byte_at: row.try_get("first_byte_at")?,
        ended_at: row.try_get("ended_at")?,
        status: status.and_then(|status| u16::try_from(status).ok()),
        fault: row.try_get("fault")?,
    })
}
