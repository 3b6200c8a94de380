//! The ranges of counts and amounts, and reading of values that an older version wrote outside of
//! these ranges.

use sqlx::Row;
use sqlx::any::AnyRow;

/// The most that one record may cost or refund, in nano-dollars: $1,000,000.
pub const MAX_COST: i64 = 1_000_000_000_000_000;
/// The most tokens of each kind in one record.
pub const MAX_TOKENS: i64 = 1 << 32;
/// The most that a key or a project can have spent, in nano-dollars: $9,000,000,000.
pub const MAX_SPENT: i64 = 9_000_000_000_000_000_000;

/// The spent amount of a key or a project whose sum has overflowed, until it is repaired.
pub const SPENT_OVERFLOWED: i64 = i64::MAX;

/// A divisor that keeps sums of `bigint` columns from overflowing: quotients and remainders are
/// summed separately.
pub(crate) const SUM_SPLIT: i128 = 1 << 32;

/// Reads an integer. In SQLite it is a float if a sum has overflowed in an older version.
pub(crate) fn read_integer(row: &AnyRow, column: &str) -> Result<i64, sqlx::Error> {
    row.try_get::<i64, _>(column)
        .or_else(|error| row.try_get::<f64, _>(column).map(|value| value as i64).map_err(|_| error))
}

/// Reads the amount that a key or a project has spent. A sum that has overflowed in an older
/// version, or cannot be read at all, counts as [`SPENT_OVERFLOWED`]: one row must not keep the
/// others from being read, and must not allow any spending.
pub(crate) fn read_spent(row: &AnyRow) -> i64 {
    let spent = row.try_get::<i64, _>("spent").ok();
    // A refund can be committed a moment before the record that it refunds, hence
    // the negative range.
    spent.filter(|spent| (-MAX_COST..=MAX_SPENT).contains(spent)).unwrap_or(SPENT_OVERFLOWED)
}

/// A value as text, for reports.
pub(crate) fn display_value(row: &AnyRow, column: &str) -> String {
    let text = row.try_get::<i64, _>(column).map(|value| value.to_string());
    let text = text.or_else(|_| row.try_get::<f64, _>(column).map(|value| format!("{value:?}")));
    text.or_else(|_| row.try_get::<String, _>(column)).unwrap_or_else(|_| "(unreadable)".into())
}

/// Reads a sum of quotients and a sum of remainders by [`SUM_SPLIT`] as one sum.
pub(crate) fn read_split_sum(row: &AnyRow, high: &str, low: &str) -> Result<i128, sqlx::Error> {
    let part = |column| row.try_get::<Option<i64>, _>(column).map(|part| i128::from(part.unwrap_or(0)));
    Ok(part(high)? * SUM_SPLIT + part(low)?)
}

/// The nearest `i64`.
pub(crate) fn saturating_i64(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}
