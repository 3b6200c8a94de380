//! The range of the counts and amounts that are kept, and how values are read that an older version
//! wrote outside of it.

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::{StoreError, UsageRecord};

/// Most that one record may cost or give back, in nano-dollars: $1,000,000.
pub const MAX_COST: i64 = 1_000_000_000_000_000;
/// Most tokens of each kind in one record.
pub const MAX_TOKENS: i64 = 1 << 32;
/// Most that a key or a project can have spent, in nano-dollars: $9,000,000,000.
pub const MAX_SPENT: i64 = 9_000_000_000_000_000_000;

/// The spent amount of a key or a project whose sum has overflowed, until it is repaired.
pub const SPENT_OVERFLOWED: i64 = i64::MAX;

/// Sums of `bigint` columns overflow where their values are absurd. Sums of a value's quotient and
/// remainder by this do not.
pub(crate) const SUM_SPLIT: i128 = 1 << 32;

impl UsageRecord {
    /// The count or amount of this record that is out of range.
    pub(crate) fn out_of_range(&self) -> Option<(&'static str, i64)> {
        let tokens = [
            ("prompt_tokens", self.prompt_tokens),
            ("cached_tokens", self.cached_tokens),
            ("cache_write_tokens", self.cache_write_tokens),
            ("completion_tokens", self.completion_tokens),
            ("reasoning_tokens", self.reasoning_tokens),
        ];
        let bad_count = tokens.into_iter().find(|(_, tokens)| !(0..=MAX_TOKENS).contains(tokens));
        bad_count.or((!(-MAX_COST..=MAX_COST).contains(&self.cost)).then_some(("cost", self.cost)))
    }

    /// # Errors
    /// `Refused` for a record with a count or an amount out of range.
    pub(crate) fn check_ranges(&self) -> Result<(), StoreError> {
        match self.out_of_range() {
            None => Ok(()),
            Some((column, value)) => {
                Err(StoreError::Refused(format!("the record `{}` has a `{column}` of {value}", self.id)))
            }
        }
    }
}

/// An integer. SQLite has floats where a sum has overflowed in an older version.
pub(crate) fn read_integer(row: &AnyRow, column: &str) -> Result<i64, sqlx::Error> {
    row.try_get::<i64, _>(column)
        .or_else(|error| row.try_get::<f64, _>(column).map(|value| value as i64).map_err(|_| error))
}

/// The amount that a key or a project has spent. A sum that has overflowed in an older version, or
/// cannot be read at all, counts as [`POISONED`]: one row must not keep the others from being read,
/// and must not be good for any money.
pub(crate) fn read_spent(row: &AnyRow) -> i64 {
    let spent = row.try_get::<i64, _>("spent").ok();
    // A refund can be booked a moment before what it gives back.
    spent.filter(|spent| (-MAX_COST..=MAX_SPENT).contains(spent)).unwrap_or(SPENT_OVERFLOWED)
}

/// A value as it is, for people.
pub(crate) fn display_value(row: &AnyRow, column: &str) -> String {
    let text = row.try_get::<i64, _>(column).map(|value| value.to_string());
    let text = text.or_else(|_| row.try_get::<f64, _>(column).map(|value| format!("{value:?}")));
    text.or_else(|_| row.try_get::<String, _>(column)).unwrap_or_else(|_| "(unreadable)".into())
}

/// A sum that comes in two columns.
pub(crate) fn read_split_sum(row: &AnyRow, high: &str, low: &str) -> Result<i128, sqlx::Error> {
    let part = |column| row.try_get::<Option<i64>, _>(column).map(|part| i128::from(part.unwrap_or(0)));
    Ok(part(high)? * SUM_SPLIT + part(low)?)
}

/// The nearest that an `i64` can be.
pub(crate) fn saturating_i64(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}
