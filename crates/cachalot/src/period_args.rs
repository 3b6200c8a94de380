//! Budgets with a period: on the command line, and in reports.

use anyhow::{Result, bail};
use serde_json::Value;
use store::{BudgetOwner, BudgetPeriod, BudgetScope, BudgetState, BudgetTerms, BudgetZone, Store, money};

/// When a budget renews, and from which amount on the log warns
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PeriodArgs {
    /// Renew the budget every day, week (from Monday on) or month. There can be one budget of each
    /// period, and one that never renews [default: it never renews]
    #[arg(long, value_name = "day|week|month", value_parser = parse_period)]
    pub every: Option<BudgetPeriod>,
    /// Time zone in which the days of the budget begin, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", value_parser = BudgetZone::parse, requires = "every")]
    pub time_zone: Option<BudgetZone>,
    /// US dollars spent from which on the log warns, or `none`. Without an amount of the budget
    /// nothing is refused
    #[arg(long, value_name = "USD|none", value_parser = parse_dollars)]
    pub warn_at: Option<OrNone<i64>>,
}

/// A value, or the word that removes a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrNone<T>(pub Option<T>);

/// Parses US dollars or `none`.
///
/// # Errors
/// A message about other text.
pub fn parse_dollars(text: &str) -> Result<OrNone<i64>, String> {
    if text == "none" { Ok(OrNone(None)) } else { money::parse(text).map(|nano| OrNone(Some(nano))) }
}

fn parse_period(text: &str) -> Result<BudgetPeriod, String> {
    let period = BudgetPeriod::parse(text).filter(|period| *period != BudgetPeriod::Total);
    period.ok_or_else(|| format!("`{text}` is not a period: write day, week or month"))
}

impl PeriodArgs {
    /// Whether nothing is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.every.is_none() && self.time_zone.is_none() && self.warn_at.is_none()
    }

    /// Whether an amount beside these arguments is that of the owner's budget without a period,
    /// which is not among `store::Budget`s.
    pub(crate) fn amount_is_total(&self, scope: &BudgetScope) -> bool {
        self.every.is_none() && *scope == BudgetScope::Owner
    }

    /// Changes the budget of this period and scope, adds it, or removes it when neither an amount
    /// nor a warning is left. `amount` is in nano-dollars.
    ///
    /// # Errors
    /// Arguments that say nothing of a budget that does not exist.
    fn apply_to(&self, scope: BudgetScope, amount: Option<OrNone<i64>>, budgets: &mut Vec<BudgetTerms>) -> Result<()> {
        let period = self.every.unwrap_or(BudgetPeriod::Total);
        let amount = amount.filter(|_| !self.amount_is_total(&scope));
        let known = budgets.iter().position(|terms| (&terms.scope, terms.period) == (&scope, period));
        if known.is_none() && amount.is_none() && self.warn_at.is_none() {
            bail!("there is no budget of this period yet: give its amount, or --warn-at");
        }
        let index = known.unwrap_or_else(|| {
            budgets.push(BudgetTerms { scope, period, zone: BudgetZone::default(), amount: None, warn_at: None });
            budgets.len() - 1
        });
        let terms = &mut budgets[index];
        if let Some(OrNone(amount)) = amount {
            terms.amount = amount;
        }
        if let Some(OrNone(warn_at)) = self.warn_at {
            terms.warn_at = warn_at;
        }
        if let Some(zone) = &self.time_zone {
            terms.zone = zone.clone();
        }
        if terms.amount.is_none() && terms.warn_at.is_none() {
            budgets.remove(index);
        }
        Ok(())
    }

    /// Changes the budget of an owner in the store, unless the arguments name none.
    ///
    /// # Errors
    /// Budgets that are not valid; a store that cannot be used.
    pub(crate) async fn change_budget(
        &self,
        store: &Store,
        owner: BudgetOwner<'_>,
        scope: BudgetScope,
        amount: Option<OrNone<i64>>,
    ) -> Result<()> {
        if self.is_empty() && scope == BudgetScope::Owner {
            return Ok(());
        }
        let mut budgets = store.budgets(owner).await?.into_iter().map(|budget| budget.terms).collect();
        self.apply_to(scope, amount, &mut budgets)?;
        if let Err(reason) = store::check_budgets(&budgets, matches!(owner, BudgetOwner::Key(_))) {
            bail!("{reason}");
        }
        store.set_budgets(owner, &budgets).await?;
        Ok(())
    }
}

/// Budgets in a cell of a table, such as `12.50/50 month`: what is spent in the window of now, and
/// the amount.
pub(crate) fn budgets_cell(states: &[BudgetState]) -> String {
    let cell = |state: &BudgetState| {
        let BudgetTerms { scope, period, amount, warn_at, .. } = &state.budget.terms;
        let spent = state.spent.map(|nano| format!("{}/", dollars(nano))).unwrap_or_default();
        let amount = match (amount, warn_at) {
            (Some(amount), _) => dollars(*amount),
            (None, Some(warn_at)) => format!("warn {}", dollars(*warn_at)),
            (None, None) => "-".to_owned(),
        };
        let scope = match scope {
            BudgetScope::Owner => String::new(),
            BudgetScope::EachEndUser => " each end user".to_owned(),
            BudgetScope::EndUser(name) => format!(" end user {name}"),
        };
        format!("{spent}{amount} {}{scope}", period.as_str())
    };
    let text = states.iter().map(cell).collect::<Vec<_>>().join(", ");
    if text.is_empty() { "-".into() } else { text }
}

/// A budget in a line: its name, and what is spent, its amount, its end and its warning.
pub(crate) fn budget_fact(state: &BudgetState) -> (String, String) {
    let BudgetTerms { scope, period, zone, amount, warn_at } = &state.budget.terms;
    let name = match period {
        BudgetPeriod::Total => "budget".to_owned(),
        period => format!("budget a {}", period.as_str()),
    };
    let name = match scope {
        BudgetScope::Owner => name,
        BudgetScope::EachEndUser => format!("{name}, each end user"),
        BudgetScope::EndUser(end_user) => format!("{name}, end user {end_user}"),
    };
    let amount = amount.map_or("unlimited".to_owned(), |amount| format!("${}", dollars(amount)));
    let spent = state.spent.map(|nano| format!("${} of ", dollars(nano))).unwrap_or_default();
    let warning = warn_at.map(|warn_at| format!(", warns at ${}", dollars(warn_at))).unwrap_or_default();
    let end = match period {
        BudgetPeriod::Total => String::new(),
        _ => format!(", renews {} ({zone})", zone.format_time(state.window.ends_at)),
    };
    (name, format!("{spent}{amount}{warning}{end}"))
}

/// The budgets of an owner as the admin API writes them.
pub(crate) fn budgets_json(states: &[BudgetState]) -> Value {
    server::admin::budgets_json(states)
}

/// US dollars with at least two decimals and no further zeros.
fn dollars(nano: i64) -> String {
    let text = money::format(nano, 9);
    let cut = text.trim_end_matches('0');
    let shortest = text.len() - 7;
    text[..cut.len().max(shortest)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(every: Option<BudgetPeriod>) -> PeriodArgs {
        PeriodArgs { every, ..PeriodArgs::default() }
    }

    #[test]
    fn a_period_has_one_budget_that_is_changed_and_removed() {
        let mut budgets = Vec::new();
        let day = args(Some(BudgetPeriod::Day));
        let mut apply = |args: &PeriodArgs, scope: BudgetScope, amount| args.apply_to(scope, amount, &mut budgets);
        apply(&day, BudgetScope::Owner, Some(OrNone(Some(5)))).unwrap();
        apply(&day, BudgetScope::EachEndUser, Some(OrNone(Some(1)))).unwrap();
        let warning = PeriodArgs { warn_at: Some(OrNone(Some(2))), ..day.clone() };
        apply(&warning, BudgetScope::Owner, None).unwrap();
        apply(&args(None), BudgetScope::EndUser("bob".into()), Some(OrNone(Some(9)))).unwrap();
        assert!(apply(&args(Some(BudgetPeriod::Week)), BudgetScope::Owner, None).is_err());
        let amounts: Vec<_> = budgets.iter().map(|terms| (terms.period, terms.amount, terms.warn_at)).collect();
        let (day_period, total) = (BudgetPeriod::Day, BudgetPeriod::Total);
        assert_eq!(amounts, [(day_period, Some(5), Some(2)), (day_period, Some(1), None), (total, Some(9), None)]);
        day.apply_to(BudgetScope::Owner, Some(OrNone(None)), &mut budgets).unwrap();
        assert_eq!((budgets.len(), budgets[0].amount), (3, None));
        let quiet = PeriodArgs { warn_at: Some(OrNone(None)), ..day };
        quiet.apply_to(BudgetScope::Owner, None, &mut budgets).unwrap();
        assert_eq!(budgets.len(), 2);
        // The amount of a total budget of the owner is a column of its own.
        let total = PeriodArgs { warn_at: Some(OrNone(Some(3))), ..args(None) };
        total.apply_to(BudgetScope::Owner, Some(OrNone(Some(4))), &mut budgets).unwrap();
        assert_eq!((budgets[2].amount, budgets[2].warn_at), (None, Some(3)));
    }

    #[test]
    fn amounts_are_exact_and_short() {
        assert_eq!((dollars(12_500_000_000), dollars(1)), ("12.50".into(), "0.000000001".into()));
        assert_eq!((dollars(0), dollars(-3_000_000)), ("0.00".into(), "-0.003".into()));
    }
}
