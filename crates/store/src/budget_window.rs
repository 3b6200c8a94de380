//! The windows of budgets: days, weeks and months of a time zone.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

/// The time after which a budget is full again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BudgetPeriod {
    Day,
    /// From Monday on.
    Week,
    Month,
    /// Never: one window without an end.
    Total,
}

/// The time zone in which days begin. Its rules come with the program, so that all servers of one
/// version agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetZone(TimeZone);

/// A span of time, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetWindow {
    pub starts_at: i64,
    /// The first moment after the window.
    pub ends_at: i64,
}

impl BudgetWindow {
    /// Whether a time is in the window.
    pub fn contains(self, at: i64) -> bool {
        (self.starts_at..self.ends_at).contains(&at)
    }
}

impl Default for BudgetZone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl BudgetZone {
    /// Parses a name of the IANA time zone database, such as `Europe/Berlin`, in any letter case.
    ///
    /// # Errors
    /// A message about a name that the database does not have.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name.eq_ignore_ascii_case("utc") {
            return Ok(Self::default());
        }
        TimeZone::get(name)
            .map(Self)
            .map_err(|_| format!("`{name:.64}` is not a time zone such as UTC or Europe/Berlin"))
    }

    /// The name in the database.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// A time in microseconds since 1970 as RFC 3339 with the offset of the zone, to the second.
    pub fn format_time(&self, micros: i64) -> String {
        let time = Timestamp::from_microsecond(micros);
        time.map_or_else(
            |_| micros.to_string(),
            |time| time.to_zoned(self.0.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        )
    }

    /// The first moment of a day.
    fn midnight(&self, date: Date) -> i64 {
        date.to_zoned(self.0.clone()).map_or(i64::MAX, |midnight| midnight.timestamp().as_microsecond())
    }
}

impl fmt::Display for BudgetZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl BudgetPeriod {
    /// All periods, the shortest first.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Total];

    /// The name of the period.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The period with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.as_str() == text)
    }

    /// The window that contains `at`, in microseconds since 1970. Windows follow each other without
    /// a gap. A window in which the clock is set forward is shorter by that; one in which it is set
    /// back is longer.
    pub fn window(self, zone: &BudgetZone, at: i64) -> BudgetWindow {
        /// The year 9999 begins.
        const LATEST: i64 = 253_370_764_800_000_000;
        let span = match self {
            Self::Day => 1.day(),
            Self::Week => 1.week(),
            Self::Month => 1.month(),
            Self::Total => return BudgetWindow { starts_at: 0, ends_at: i64::MAX },
        };
        let at = at.clamp(0, LATEST);
        let date = Timestamp::from_microsecond(at).map_or(Date::MAX, |time| time.to_zoned(zone.0.clone()).date());
        let after = |date: Date, span: Span| date.checked_add(span).unwrap_or(Date::MAX);
        let mut first = self.first_date(date);
        // Where a clock is set back over midnight, a day begins twice: the first time counts.
        if at < zone.midnight(first) {
            first = self.first_date(after(first, -1.day()));
        }
        let mut next = after(first, span);
        if at >= zone.midnight(next) {
            first = next;
            next = after(first, span);
        }
        BudgetWindow { starts_at: zone.midnight(first), ends_at: zone.midnight(next) }
    }

    /// The first day of the window that contains a day.
    fn first_date(self, date: Date) -> Date {
        let days = match self {
            Self::Day | Self::Total => 0,
            Self::Week => date.weekday().to_monday_zero_offset(),
            Self::Month => date.day() - 1,
        };
        date.checked_sub(days.days()).unwrap_or(Date::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DAY_MICROS, HOUR_MICROS};

    fn micros(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn hours(period: BudgetPeriod, zone: &str, at: &str) -> (String, i64) {
        let zone = BudgetZone::parse(zone).unwrap();
        let window = period.window(&zone, micros(at));
        assert!(window.contains(micros(at)), "{window:?}");
        (zone.format_time(window.starts_at), (window.ends_at - window.starts_at) / HOUR_MICROS)
    }

    #[test]
    fn windows_begin_at_midnight_of_their_zone() {
        let begins = |period, zone, at| hours(period, zone, at).0;
        use BudgetPeriod::{Day, Month, Week};
        assert_eq!(hours(Day, "UTC", "2026-11-29T23:59:59Z"), ("2026-11-29T00:00:00+00:00".into(), 24));
        assert_eq!(hours(Day, "UTC", "2026-11-30T00:00:00Z"), ("2026-11-30T00:00:00+00:00".into(), 24));
        assert_eq!(begins(Day, "Asia/Kathmandu", "2026-11-29T18:14:59Z"), "2026-11-29T00:00:00+05:45");
        assert_eq!(begins(Day, "Asia/Kathmandu", "2026-11-29T18:15:00Z"), "2026-11-30T00:00:00+05:45");
        // 2026-11-29 is a Sunday.
        assert_eq!(begins(Week, "UTC", "2026-11-29T12:00:00Z"), "2026-11-23T00:00:00+00:00");
        assert_eq!(begins(Week, "UTC", "2026-11-30T00:00:00Z"), "2026-11-30T00:00:00+00:00");
        assert_eq!(hours(Month, "UTC", "2028-02-29T23:00:00Z"), ("2028-02-01T00:00:00+00:00".into(), 29 * 24));
        assert_eq!(begins(Month, "America/New_York", "2026-12-01T04:59:59Z"), "2026-11-01T00:00:00-04:00");
    }

    #[test]
    fn days_have_23_or_25_hours_where_the_clock_changes() {
        use BudgetPeriod::{Day, Month};
        assert_eq!(hours(Day, "Europe/Berlin", "2026-03-29T10:00:00Z"), ("2026-03-29T00:00:00+01:00".into(), 23));
        assert_eq!(hours(Day, "europe/berlin", "2026-10-25T10:00:00Z"), ("2026-10-25T00:00:00+02:00".into(), 25));
        assert_eq!(hours(Month, "Europe/Berlin", "2026-10-25T10:00:00Z").1, 31 * 24 + 1);
        // Midnight does not exist: the day begins at one.
        assert_eq!(hours(Day, "Africa/Cairo", "2026-04-24T10:00:00Z"), ("2026-04-24T01:00:00+03:00".into(), 23));
    }

    #[test]
    fn windows_follow_each_other_in_every_zone() {
        // The last one has set its clocks back at one minute past midnight.
        for zone in
            ["UTC", "Europe/London", "Pacific/Apia", "America/Havana", "Australia/Lord_Howe", "America/St_Johns"]
        {
            let zone = BudgetZone::parse(zone).unwrap();
            for period in [BudgetPeriod::Day, BudgetPeriod::Week, BudgetPeriod::Month] {
                let mut window = period.window(&zone, micros("2005-12-31T23:30:00Z"));
                while window.starts_at < micros("2012-02-01T00:00:00Z") {
                    for at in [window.starts_at, window.ends_at - 1] {
                        assert_eq!(period.window(&zone, at), window, "{zone} {at}");
                    }
                    let next = period.window(&zone, window.ends_at);
                    assert_eq!(next.starts_at, window.ends_at, "{zone}");
                    window = next;
                }
            }
        }
    }

    #[test]
    fn any_number_is_in_a_window() {
        for at in [i64::MIN, -1, 0, DAY_MICROS, i64::MAX] {
            for period in BudgetPeriod::ALL {
                let window = period.window(&BudgetZone::parse("Pacific/Kiritimati").unwrap(), at);
                assert!(window.starts_at < window.ends_at, "{at} {window:?}");
            }
        }
        for bad in ["", "Berlin", "UTC+1", "+01:00", "Europe/Berlin\0", "../etc/passwd"] {
            assert!(BudgetZone::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(BudgetPeriod::parse("hour"), None);
    }
}
