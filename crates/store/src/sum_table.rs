//! The tables of sums: one of hours and one of days.

use crate::{DAY_MICROS, HOUR_MICROS};

/// A table of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SumTable {
    Hours,
    Days,
}

impl SumTable {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hours => "usage_hours",
            Self::Days => "usage_days",
        }
    }

    /// The period that a row covers, as a word.
    pub(crate) fn period(self) -> &'static str {
        match self {
            Self::Hours => "hour",
            Self::Days => "day",
        }
    }

    /// The time that a row covers, in microseconds.
    pub(crate) fn micros(self) -> i64 {
        match self {
            Self::Hours => HOUR_MICROS,
            Self::Days => DAY_MICROS,
        }
    }
}
