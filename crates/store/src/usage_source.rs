//! The rows that sums are made of: hours and days from their tables, and records in the same
//! columns.

use crate::amounts::{MAX_COST, MAX_TOKENS};
use crate::outcome_class::{REFUNDED, class_sql};
use crate::sum_table::SumTable;
use crate::time_buckets::{TIME_BUCKETS, bucket_sql};
use crate::{DAY_MICROS, HOUR_MICROS};

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SumSource {
    /// The records themselves.
    Records,
    Table(SumTable),
}

/// A part of a span, in microseconds since 1970, that is read from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) source: SumSource,
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Segment {
    /// The rows as a table for a `from` clause. `from` and `until` are the places of the
    /// parameters.
    pub(crate) fn rows_sql(self, from: &str, until: &str) -> String {
        match self.source {
            SumSource::Records => format!("({}) u", record_rows_sql(from, until)),
            SumSource::Table(table) => {
                format!("(select * from {} where at >= {from} and at < {until}) u", table.name())
            }
        }
    }
}

/// Selects records in the columns of a table of sums. Values out of range, which an older version
/// could write, count as 0.
pub(crate) fn record_rows_sql(from: &str, until: &str) -> String {
    let integer = |column: &str, min: i64, max: i64| {
        format!("case when {column} between {min} and {max} then cast({column} as bigint) else 0 end as {column}")
    };
    let mut columns = vec![
        "at, coalesce(key_id, '') as key_id, key_name, coalesce(project_id, '') as project_id, model, upstream"
            .to_owned(),
        format!("{} as outcome_class", class_sql()),
        format!("case when outcome = '{REFUNDED}' then 0 else further_requests + 1 end as requests"),
        integer("cost", -MAX_COST, MAX_COST),
    ];
    let tokens = ["prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"];
    columns.extend(tokens.map(|column| integer(column, 0, MAX_TOKENS)));
    for (prefix, column, condition) in [("ttft", "first_token_us", ""), ("total", "total_us", " and total_us > 0")] {
        columns.extend((0..TIME_BUCKETS).map(|bucket| {
            let within = bucket_sql(column, bucket);
            format!("case when {within}{condition} then 1 else 0 end as {prefix}_{bucket}")
        }));
    }
    format!("select {} from usage_records where at >= {from} and at < {until}", columns.join(", "))
}

/// Divides a span into parts with the fewest rows: whole days and hours come from their tables, if
/// `coarsest` allows, and the rest from records. The sums before `pending` are not filled in yet.
pub(crate) fn segments(from: i64, until: i64, pending: i64, coarsest: SumSource) -> Vec<Segment> {
    let floor = |time: i64, step: i64| time.div_euclid(step) * step;
    let ceil = |time: i64, step: i64| floor(time.saturating_add(step - 1), step);
    let hours = SumSource::Table(SumTable::Hours);
    let bounds = match coarsest {
        SumSource::Records => vec![(SumSource::Records, until)],
        _ => {
            let mut bounds =
                vec![(SumSource::Records, pending), (SumSource::Records, ceil(from.max(pending), HOUR_MICROS))];
            if coarsest == SumSource::Table(SumTable::Days) {
                bounds.push((hours, ceil(from.max(pending), DAY_MICROS)));
                bounds.push((coarsest, floor(until, DAY_MICROS)));
            }
            bounds.extend([(hours, floor(until, HOUR_MICROS)), (SumSource::Records, until)]);
            bounds
        }
    };
    let mut segments: Vec<Segment> = Vec::new();
    let mut from = from;
    for (source, end) in bounds {
        let end = end.min(until);
        if end <= from {
            continue;
        }
        match segments.last_mut().filter(|last| last.source == source) {
            Some(last) => last.until = end,
            None => segments.push(Segment { source, from, until: end }),
        }
        from = end;
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_divided_into_whole_days_and_hours() {
        let parts = |from: i64, until: i64, pending: i64, coarsest| {
            let parts = segments(from, until, pending, coarsest).into_iter();
            parts.map(|part| (part.source, part.from, part.until)).collect::<Vec<_>>()
        };
        let (records, hours, days) =
            (SumSource::Records, SumSource::Table(SumTable::Hours), SumSource::Table(SumTable::Days));
        let (hour, day) = (HOUR_MICROS, DAY_MICROS);
        assert_eq!(
            parts(5, 3 * day + 2 * hour + 7, 0, days),
            [
                (records, 5, hour),
                (hours, hour, day),
                (days, day, 3 * day),
                (hours, 3 * day, 3 * day + 2 * hour),
                (records, 3 * day + 2 * hour, 3 * day + 2 * hour + 7)
            ]
        );
        assert_eq!(parts(0, 2 * day, 0, days), [(days, 0, 2 * day)]);
        assert_eq!(parts(0, 2 * day, day, days), [(records, 0, day), (days, day, 2 * day)]);
        assert_eq!(parts(hour, 2 * day, 5 * day, hours), [(records, hour, 2 * day)]);
        assert_eq!(parts(hour, day, 0, hours), [(hours, hour, day)]);
        assert_eq!(parts(5, 9, 0, days), [(records, 5, 9)]);
        assert_eq!(parts(0, 60, 0, records), [(records, 0, 60)]);
        assert_eq!(parts(9, 9, 0, days), []);
        // From the beginning to the end of all times.
        let all = parts(0, i64::MAX, 0, days);
        assert_eq!((all[0].0, all[0].1, all.last().unwrap().2), (days, 0, i64::MAX));
    }
}
