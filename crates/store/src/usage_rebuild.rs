//! Filling of the tables of sums from the records: after a migration, or when they are rebuilt.
//! Each day is summed in a transaction of its own, the latest first, while records are inserted.

use sqlx::{Any, AssertSqlSafe, Executor, Row, Transaction};

use crate::usage_source::record_rows_sql;
use crate::usage_sums::{self, KEY_COLUMNS};
use crate::{DAY_MICROS, HOUR_MICROS, Store, StoreError};

impl Store {
    /// The time before which the sums are not filled in yet, in microseconds since 1970: the
    /// beginning of a day, or 0.
    pub(crate) async fn usage_sums_pending(&self) -> Result<i64, StoreError> {
        Ok(sums_pending(&self.pool).await?)
    }

    /// Sums the latest day that is not filled in yet. Returns whether others are left.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn fill_usage_sums(&self) -> Result<bool, StoreError> {
        // Nothing to do is found without a lock.
        if self.usage_sums_pending().await? == 0 {
            return Ok(false);
        }
        let mut transaction = self.lock_usage_sums().await?;
        let until = sums_pending(&mut *transaction).await?;
        let latest = sqlx::query("select max(at) as at from usage_records where at < $1").bind(until);
        let latest: Option<i64> = latest.fetch_one(&mut *transaction).await?.try_get("at")?;
        let day = latest.map_or(0, |at| at.div_euclid(DAY_MICROS) * DAY_MICROS);
        sum_day(&mut transaction, day, until).await?;
        sqlx::query("update usage_sums_pending set until = $1").bind(day).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(day > 0)
    }

    /// Marks the sums of all days as not filled in. [`Store::fill_usage_sums`] then sums them anew;
    /// until it has, reading sums reads records.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn reset_usage_sums(&self) -> Result<(), StoreError> {
        let mut transaction = self.lock_usage_sums().await?;
        mark_pending(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Begins a transaction during which no other one changes sums. What it has not inserted yet
    /// is added after it.
    async fn lock_usage_sums(&self) -> Result<Transaction<'static, Any>, StoreError> {
        if !self.is_postgres {
            return Ok(self.pool.begin_with("begin immediate").await?);
        }
        let mut transaction = self.pool.begin().await?;
        transaction.execute("lock table usage_hours, usage_days in share row exclusive mode").await?;
        Ok(transaction)
    }
}

/// [`Store::usage_sums_pending`] as a transaction reads it.
pub(crate) async fn sums_pending<'a>(executor: impl Executor<'a, Database = Any>) -> Result<i64, sqlx::Error> {
    sqlx::query("select until from usage_sums_pending").fetch_one(executor).await?.try_get("until")
}

/// Marks the sums of all days as not filled in.
pub(crate) async fn mark_pending(transaction: &mut Transaction<'_, Any>) -> Result<(), StoreError> {
    let mark = format!(
        "update usage_sums_pending set until = coalesce(
             (select max(latest.at) / {DAY_MICROS} + 1 from (select max(at) as at from usage_records union all select max(at) from usage_days) latest)
             * {DAY_MICROS}, 0)"
    );
    transaction.execute(AssertSqlSafe(mark)).await?;
    Ok(())
}

/// Replaces the sums from `day` until `until`. Records are on that day only.
async fn sum_day(transaction: &mut Transaction<'_, Any>, day: i64, until: i64) -> Result<(), StoreError> {
    for table in ["usage_days", "usage_hours"] {
        let delete = format!("delete from {table} where at >= $1 and at < $2");
        sqlx::query(AssertSqlSafe(delete)).bind(day).bind(until).execute(&mut **transaction).await?;
    }
    let shared = KEY_COLUMNS[1..].join(", ");
    let summed = usage_sums::sums_of(usage_sums::summed_columns());
    let columns: Vec<_> = usage_sums::columns().collect();
    let columns = columns.join(", ");
    let records = record_rows_sql("$1", "$2");
    let days = "select * from usage_hours where at >= $1 and at < $2".to_owned();
    for (table, micros, rows) in [("usage_hours", HOUR_MICROS, records), ("usage_days", DAY_MICROS, days)] {
        let insert = format!(
            "insert into {table} ({columns}) select at / {micros} * {micros} as at, {shared}, {summed}
             from ({rows}) u group by 1, 2, 3, 4, 5, 6, 7"
        );
        sqlx::query(AssertSqlSafe(insert)).bind(day).bind(until).execute(&mut **transaction).await?;
    }
    Ok(())
}
