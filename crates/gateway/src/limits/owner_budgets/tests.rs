use std::time::Duration;

use chat::{Error, ErrorKind};
use store::{BudgetPeriod, BudgetZone};

use super::*;
use crate::limits::budget::BudgetRequest;
use crate::limits::key_limits::{KeyLimits, Permit, ReservationRequest, limit_error};
use crate::limits::rate_limit::RateLimits;

/// Noon of 2026-11-29 (UTC), a Sunday.
const NOON: i64 = 1_795_953_600_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;
const DOLLAR: i64 = 1_000_000_000;

fn terms(scope: BudgetScope, period: BudgetPeriod, dollars: i64) -> BudgetTerms {
    BudgetTerms { scope, period, zone: BudgetZone::default(), amount: Some(dollars * DOLLAR), warn_at: None }
}

fn stored(id: &str, terms: BudgetTerms) -> store::Budget {
    store::Budget { id: id.into(), owner_id: "k".into(), terms, is_removed: false, changed_at: 1 }
}

/// A key with these budgets, whose ids are their numbers.
fn key_with(budgets: &[BudgetTerms]) -> (Arc<KeyLimits>, Arc<OwnerBudgets>) {
    let owner = Arc::new(OwnerBudgets::default());
    owner.set_name(|| "key `alice`".into());
    for (number, terms) in budgets.iter().enumerate() {
        owner.update(&stored(&number.to_string(), terms.clone()));
    }
    (Arc::new(KeyLimits { owners: vec![owner.clone()], ..KeyLimits::default() }), owner)
}

fn acquire(key: &Arc<KeyLimits>, at: i64, end_user: Option<&str>, cost: i64) -> Result<Permit, Error> {
    let request =
        ReservationRequest { budget: BudgetRequest { amount: cost, minimum: cost, overdraft: 0 }, tokens: 0, at };
    Permit::acquire(key, &key.budgets(at, end_user), RateLimits::default(), request)
        .map_err(|exceeded| limit_error(exceeded, request))
}

fn spend(key: &Arc<KeyLimits>, at: i64, end_user: Option<&str>, cost: i64) -> Result<(), Error> {
    acquire(key, at, end_user, cost).map(|mut permit| permit.settle(0, cost))
}

fn committed(budget_id: &str, end_user: &str, at: i64, spent: i64, changed_at: i64) -> BudgetSpend {
    let window = BudgetPeriod::Day.window(&BudgetZone::default(), at);
    BudgetSpend { budget_id: budget_id.into(), end_user: end_user.into(), window, spent, changed_at }
}

#[test]
fn a_refusal_names_the_window_that_renews_last_and_when() {
    let (day, month) = (BudgetPeriod::Day, BudgetPeriod::Month);
    let berlin = BudgetZone::parse("Europe/Berlin").unwrap();
    let (key, _) = key_with(&[
        BudgetTerms { zone: berlin, ..terms(BudgetScope::Owner, day, 3) },
        terms(BudgetScope::Owner, month, 5),
    ]);
    spend(&key, NOON, None, 3 * DOLLAR).unwrap();
    let error = spend(&key, NOON, None, DOLLAR).unwrap_err();
    let message = "Insufficient Balance: the daily budget of the key `alice`, $3, does not cover this request; it renews at 2026-11-30T00:00:00+01:00";
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::InsufficientBalance, message));
    assert_eq!(error.retry_after, Some(Duration::from_secs(11 * 3600)));
    // The next day in Berlin begins an hour before that of UTC; of the month $2 are left.
    spend(&key, NOON + 11 * HOUR_MICROS, None, 2 * DOLLAR).unwrap();
    let error = spend(&key, NOON + 11 * HOUR_MICROS, None, 2 * DOLLAR).unwrap_err();
    assert!(
        error.message.contains("monthly budget") && error.message.ends_with("2026-12-01T00:00:00+00:00"),
        "{error:?}"
    );
    assert_eq!(error.retry_after, Some(Duration::from_secs(25 * 3600)));
    // No window will ever cover it.
    let error = spend(&key, NOON + 40 * 24 * HOUR_MICROS, None, 4 * DOLLAR).unwrap_err();
    assert!(error.message.contains("daily budget") && error.retry_after.is_none(), "{error:?}");
    spend(&key, NOON + 40 * 24 * HOUR_MICROS, None, 3 * DOLLAR).unwrap();
}

#[test]
fn a_request_over_the_border_counts_where_it_was_reserved() {
    let (key, owner) = key_with(&[terms(BudgetScope::Owner, BudgetPeriod::Day, 3)]);
    let border = NOON + 12 * HOUR_MICROS;
    let mut running = acquire(&key, border - 1, None, 3 * DOLLAR).unwrap();
    assert!(acquire(&key, border - 1, None, 1).is_err());
    let next = acquire(&key, border, None, 3 * DOLLAR).unwrap();
    running.settle(0, 3 * DOLLAR);
    drop((running, next));
    assert!(acquire(&key, border - 1, None, 1).is_err());
    assert!(acquire(&key, border, None, 3 * DOLLAR).is_ok());
    // A commit moves the cost from what is settled here to what the store has.
    owner.set_committed(&committed("0", "", border - 1, 3 * DOLLAR, 7));
    owner.record_committed(border - 1, None, 3 * DOLLAR);
    assert!(acquire(&key, border - 1, None, 1).is_err());
    // A window that has ended is forgotten, unless a request runs in it.
    let running = acquire(&key, border, None, DOLLAR).unwrap();
    owner.forget_unused(border + 48 * HOUR_MICROS);
    assert_eq!(owner.all_windows().len(), 1);
    drop(running);
    owner.forget_unused(border);
    assert!(owner.all_windows().is_empty());
}

#[test]
fn end_users_share_the_key_and_have_budgets_of_their_own() {
    let day = BudgetPeriod::Day;
    let (key, owner) = key_with(&[
        terms(BudgetScope::Owner, day, 5),
        terms(BudgetScope::EachEndUser, day, 1),
        terms(BudgetScope::EndUser("vip".into()), day, 3),
    ]);
    assert!(key.has_end_users() && key.has_budget());
    spend(&key, NOON, Some("bob"), DOLLAR).unwrap();
    let error = spend(&key, NOON, Some("bob"), 1).unwrap_err();
    assert!(error.message.contains("the daily budget of the end user `bob` of the key `alice`, $1,"), "{error:?}");
    spend(&key, NOON, Some(""), DOLLAR).unwrap();
    assert!(spend(&key, NOON, Some(""), 1).unwrap_err().message.contains("requests without an end user"));
    spend(&key, NOON, Some("vip"), 3 * DOLLAR).unwrap();
    assert!(spend(&key, NOON, Some("vip"), 1).is_err());
    let error = spend(&key, NOON, Some("carol"), 1).unwrap_err();
    assert!(error.message.contains("budget of the key `alice`, $5,"), "{error:?}");
    // Spend that another server has committed counts.
    owner.set_committed(&committed("1", "dave", NOON + 24 * HOUR_MICROS, DOLLAR, 1));
    assert!(spend(&key, NOON + 24 * HOUR_MICROS, Some("dave"), 1).is_err());
    spend(&key, NOON + 24 * HOUR_MICROS, Some("carol"), 1).unwrap();
    // An end user who was only refused is forgotten, and one who has spent is not.
    owner.forget_unused(NOON + 24 * HOUR_MICROS);
    let mut kept: Vec<_> = owner.all_windows().into_iter().map(|window| window.name.clone()).collect();
    kept.sort();
    let midnight = NOON + 12 * HOUR_MICROS;
    let names =
        [format!("budget:0:{midnight}"), format!("budget:1:{midnight}:carol"), format!("budget:1:{midnight}:dave")];
    assert_eq!(kept, names);
}

#[test]
fn budgets_of_nothing_and_of_everything_hold() {
    let budget = |amount| BudgetTerms { amount, ..terms(BudgetScope::Owner, BudgetPeriod::Week, 0) };
    let (key, owner) = key_with(&[budget(Some(0))]);
    assert_eq!(spend(&key, NOON, None, 1).unwrap_err().retry_after, None);
    owner.update(&stored("0", budget(Some(i64::MAX))));
    for _ in 0..3 {
        spend(&key, NOON, None, store::MAX_COST).unwrap();
    }
    assert!(spend(&key, NOON, None, i64::MAX).is_err());
    // One that only warns refuses nothing.
    owner.update(&stored("0", BudgetTerms { warn_at: Some(1), ..budget(None) }));
    spend(&key, NOON, None, store::MAX_COST).unwrap();
    assert!(!key.has_budget());
    owner.update(&store::Budget { is_removed: true, ..stored("0", budget(Some(0))) });
    spend(&key, NOON, None, 1).unwrap();
    assert_eq!(key.budgets(NOON, None).len(), 2);
}

#[test]
fn a_cost_from_before_a_budget_leaves_no_room() {
    let (key, owner) = key_with(&[terms(BudgetScope::Owner, BudgetPeriod::Day, 3)]);
    spend(&key, NOON, None, DOLLAR).unwrap();
    // The store has counted a request that was admitted before this process knew the budget.
    owner.set_committed(&committed("0", "", NOON, DOLLAR, 7));
    owner.record_committed(NOON, None, DOLLAR);
    owner.set_committed(&committed("0", "", NOON, 2 * DOLLAR, 8));
    owner.record_committed(NOON, None, DOLLAR);
    assert!(spend(&key, NOON, None, DOLLAR + 1).is_err());
    spend(&key, NOON, None, DOLLAR).unwrap();
}
