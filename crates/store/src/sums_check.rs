//! The check of the tables of hours and days: each sum is that of its records.

use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use crate::sum_table::SumTable;
use crate::usage_source::record_rows_sql;
use crate::usage_sums::{KEY_COLUMNS, summed_columns};
use crate::{DAY_MICROS, StoreError};

/// An hour or a day whose sums are not those of its records.
pub(crate) struct WrongSums {
    pub(crate) table: SumTable,
    /// Its beginning, in microseconds since 1970.
    pub(crate) at: i64,
    /// The number of keys, models, providers and outcomes whose sum is wrong.
    pub(crate) rows: i64,
}

/// Finds wrong sums. Days that are not filled in yet have none.
pub(crate) async fn find_wrong_sums(transaction: &mut Transaction<'_, Any>) -> Result<Vec<WrongSums>, StoreError> {
    // A day at a time, because the database sorts the records of the span.
    let days = format!(
        "select distinct day from (
             select at / {DAY_MICROS} as day from usage_records union all select at / {DAY_MICROS} from usage_hours
             union all select at / {DAY_MICROS} from usage_days) days
         where day * {DAY_MICROS} >= (select until from usage_sums_pending) order by day"
    );
    let mut found = Vec::new();
    let checks = [SumTable::Hours, SumTable::Days].map(|table| (table, difference_sql(table)));
    for row in sqlx::query(AssertSqlSafe(days)).fetch_all(&mut **transaction).await? {
        let day: i64 = row.try_get("day")?;
        let (from, until) = (day * DAY_MICROS, (day + 1) * DAY_MICROS);
        for (table, sql) in &checks {
            let check = sqlx::query(AssertSqlSafe(sql.clone())).bind(from).bind(until);
            for row in check.fetch_all(&mut **transaction).await? {
                found.push(WrongSums { table: *table, at: row.try_get("at")?, rows: row.try_get("wrong")? });
            }
        }
    }
    Ok(found)
}

/// Adds up the rows of a table and, negative, those of the records. What is not 0 differs.
fn difference_sql(table: SumTable) -> String {
    let shared = KEY_COLUMNS[1..].join(", ");
    let summed: Vec<_> = summed_columns().collect();
    let negative: Vec<_> = summed.iter().map(|column| format!("-{column} as {column}")).collect();
    let differs: Vec<_> = summed.iter().map(|column| format!("sum({column}) <> 0")).collect();
    format!(
        "select at, cast(count(*) as bigint) as wrong from (
             select at, {shared} from (
                 select at, {shared}, {summed} from {name} where at >= $1 and at < $2
                 union all
                 select at / {micros} * {micros} as at, {shared}, {negative} from ({records}) records) both_of_them
             group by at, {shared} having {differs}) differing
         group by at order by at",
        summed = summed.join(", "),
        name = table.name(),
        micros = table.micros(),
        negative = negative.join(", "),
        records = record_rows_sql("$1", "$2"),
        differs = differs.join(" or "),
    )
}
