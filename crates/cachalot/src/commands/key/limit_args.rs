//! The limits of a key on the command line.

use std::time::Duration;

use anyhow::{Result, ensure};
use gateway::IpNetwork;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use store::{BudgetScope, Limits};

use crate::period_args::{OrNone, PeriodArgs, parse_dollars};

/// The limits of a key; each one that is absent stays as it is
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Amount that the key may spend, in US dollars, or `none` [default: none]
    #[arg(long, value_name = "USD|none", value_parser = parse_dollars)]
    pub budget: Option<OrNone<i64>>,
    #[command(flatten)]
    pub period: PeriodArgs,
    /// Let the budget count each end user of the key alone: the field `user` of requests, or
    /// `metadata.user_id`
    #[arg(long, conflicts_with = "end_user")]
    pub each_end_user: bool,
    /// Let the budget count one end user of the key, in place of those for each
    #[arg(long, value_name = "NAME")]
    pub end_user: Option<String>,
    /// Model ids the key may use, separated by commas, or `all` [default: all]
    #[arg(long, value_name = "IDS|all", value_parser = parse_models)]
    pub models: Option<OrNone<Vec<String>>>,
    /// Client addresses the key may be used from, such as 10.0.0.0/8, separated by commas, or
    /// `all` [default: all]
    #[arg(long, value_name = "RANGES|all", value_parser = parse_networks)]
    pub networks: Option<OrNone<Vec<String>>>,
    /// Requests per minute, or `none` [default: none]
    #[arg(long, value_name = "N|none", value_parser = parse_count::<1_000_000_000>)]
    pub rpm: Option<OrNone<i64>>,
    /// Tokens per minute, or `none` [default: none]
    #[arg(long, value_name = "N|none", value_parser = parse_count::<1_000_000_000_000>)]
    pub tpm: Option<OrNone<i64>>,
    /// Requests at the same time, or `none` [default: none]
    #[arg(long, value_name = "N|none", value_parser = parse_count::<1_000_000>)]
    pub concurrency: Option<OrNone<i64>>,
    /// Time until the key expires, such as 90d, 12h or 30m; its last day (UTC), such as
    /// 2027-01-31; or `never` [default: never]
    #[arg(long, value_name = "TIME|DATE|never", value_parser = parse_expiry)]
    pub expires: Option<OrNone<Expiry>>,
}

/// The end of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    After(Duration),
    /// Microseconds since 1970.
    At(i64),
}

impl LimitArgs {
    /// Whether no limit is named.
    pub(super) fn is_empty(&self) -> bool {
        let Self { budget, period, each_end_user, end_user, models, networks, rpm, tpm, concurrency, expires } = self;
        if !period.is_empty() || *each_end_user || end_user.is_some() {
            return false;
        }
        let counts = [rpm.is_none(), tpm.is_none(), concurrency.is_none(), budget.is_none()];
        counts.iter().all(|absent| *absent) && models.is_none() && networks.is_none() && expires.is_none()
    }

    /// The requests that the budget counts.
    pub(super) fn budget_scope(&self) -> BudgetScope {
        match &self.end_user {
            Some(name) => BudgetScope::EndUser(name.clone()),
            None if self.each_end_user => BudgetScope::EachEndUser,
            None => BudgetScope::Owner,
        }
    }

    /// Changes the limits that are named, except for budgets that are not a part of them.
    ///
    /// # Errors
    /// A date that has passed.
    pub(super) fn apply_to(&self, limits: &mut Limits) -> Result<()> {
        fn set<T: Clone>(limit: &mut Option<T>, named: &Option<OrNone<T>>) {
            if let Some(OrNone(value)) = named {
                limit.clone_from(value);
            }
        }
        if self.period.amount_is_total(&self.budget_scope()) {
            set(&mut limits.budget, &self.budget);
        }
        set(&mut limits.models, &self.models);
        set(&mut limits.networks, &self.networks);
        set(&mut limits.requests_per_minute, &self.rpm);
        set(&mut limits.tokens_per_minute, &self.tpm);
        set(&mut limits.concurrency, &self.concurrency);
        if let Some(OrNone(expiry)) = &self.expires {
            let now = store::now_micros();
            limits.expires_at = match expiry {
                None => None,
                Some(Expiry::After(time)) => Some(now.saturating_add(time.as_micros() as i64)),
                Some(Expiry::At(end)) => {
                    ensure!(*end > now, "--expires: this day has passed");
                    Some(*end)
                }
            };
        }
        Ok(())
    }
}

fn parse_models(text: &str) -> Result<OrNone<Vec<String>>, String> {
    parse_list(text, |model| match store::is_model_id(model) {
        true => Ok(()),
        false => Err(format!("{model:?} is not a valid model id")),
    })
}

fn parse_networks(text: &str) -> Result<OrNone<Vec<String>>, String> {
    parse_list(text, |network| match IpNetwork::parse(network) {
        Some(_) => Ok(()),
        None => Err(format!("`{network}` is not an address or a range such as 10.0.0.0/8")),
    })
}

fn parse_list(text: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<OrNone<Vec<String>>, String> {
    if text == "all" {
        return Ok(OrNone(None));
    }
    let parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
    parts.iter().try_for_each(|part| check(part))?;
    Ok(OrNone(Some(parts)))
}

fn parse_count<const MAX: i64>(text: &str) -> Result<OrNone<i64>, String> {
    if text == "none" {
        return Ok(OrNone(None));
    }
    let number = text.parse().ok().filter(|number| (1..=MAX).contains(number));
    number.map(|number| OrNone(Some(number))).ok_or_else(|| format!("it takes a number from 1 to {MAX}, or `none`"))
}

fn parse_expiry(text: &str) -> Result<OrNone<Expiry>, String> {
    if text == "never" {
        return Ok(OrNone(None));
    }
    if let Ok(date) = text.parse::<Date>() {
        let end = date.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC));
        let end = end.map_err(|error| format!("`{text}` is not a day: {error}"))?;
        return Ok(OrNone(Some(Expiry::At(end.timestamp().as_microsecond()))));
    }
    parse_duration(text).map(|time| OrNone(Some(Expiry::After(time))))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let fault = || format!("`{text}` is not a time such as 90d, 12h or 30m, nor a day such as 2027-01-31");
    let unit = match text.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3600,
        Some('m') => 60,
        _ => return Err(fault()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| fault())?;
    // A century is long enough, and small enough to be added to any date.
    (1..=100 * 366 * 86_400 / unit).contains(&number).then(|| Duration::from_secs(number * unit)).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_days_a_date() {
        let after = |seconds| Ok(OrNone(Some(Expiry::After(Duration::from_secs(seconds)))));
        assert_eq!(parse_expiry("90d"), after(90 * 86_400));
        assert_eq!(parse_expiry("30m"), after(1800));
        // The first moment after 1970-01-02.
        assert_eq!(parse_expiry("1970-01-02"), Ok(OrNone(Some(Expiry::At(2 * 86_400 * 1_000_000)))));
        assert_eq!(parse_expiry("never"), Ok(OrNone(None)));
        for bad in ["", "d", "90", "0d", "-1d", "99999999999d", "1.5h", "1é", "2027-02-30", "tomorrow"] {
            assert!(parse_expiry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_named_limits_change() {
        let mut limits = Limits { budget: Some(5), tokens_per_minute: Some(7), ..Limits::default() };
        let named = LimitArgs { budget: Some(OrNone(None)), rpm: Some(OrNone(Some(60))), ..LimitArgs::default() };
        named.apply_to(&mut limits).unwrap();
        let expected = Limits { tokens_per_minute: Some(7), requests_per_minute: Some(60), ..Limits::default() };
        assert_eq!(limits, expected);
        assert!(LimitArgs::default().is_empty() && !named.is_empty());
        let past = LimitArgs { expires: Some(parse_expiry("2020-01-01").unwrap()), ..LimitArgs::default() };
        assert!(past.apply_to(&mut limits).is_err());
    }
}
