//! The check of budgets that renew: what is spent of each in the window of now is what the records
//! of the window cost.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{Any, Row, Transaction};

use crate::amounts::{MAX_SPENT, display_value, saturating_i64};
use crate::budgets::budget_from_row;
use crate::usage_source::SumSource;
use crate::window_records::{OwnerCosts, WindowRecords};
use crate::{Budget, BudgetScope, BudgetWindow, StoreError};

/// An amount that is not what the records cost.
pub(crate) struct WrongSpend {
    pub(crate) budget_id: String,
    /// Empty unless the budget counts each end user alone.
    pub(crate) end_user: String,
    pub(crate) window: BudgetWindow,
    /// The owner, the period and the end user.
    pub(crate) name: String,
    /// The value in the database, as text.
    pub(crate) actual: String,
    /// Nano-dollars.
    pub(crate) expected: i64,
}

/// A budget with its owner.
struct OwnedBudget {
    budget: Budget,
    owner_kind: String,
    owner_name: String,
}

/// Compares all budgets in their windows at `now`. Returns the number of budgets, and what differs.
///
/// An end user with a budget of its own, now or before, is not compared in the budget for each:
/// that one does not count its requests as long as its own exists.
pub(crate) async fn find_wrong_spend(
    transaction: &mut Transaction<'_, Any>,
    now: i64,
) -> Result<(usize, Vec<WrongSpend>), StoreError> {
    let mut named = BTreeMap::<String, BTreeSet<String>>::new();
    let mut budgets = Vec::new();
    for owned in read_budgets(transaction).await? {
        if let BudgetScope::EndUser(name) = &owned.budget.terms.scope {
            named.entry(owned.budget.owner_id.clone()).or_default().insert(name.clone());
        }
        if !owned.budget.is_removed {
            budgets.push(owned);
        }
    }
    // Budgets share windows: the records of one are read once for all owners of a kind.
    let mut costs = BTreeMap::<(String, bool, i64), OwnerCosts>::new();
    let mut wrong = Vec::new();
    for OwnedBudget { budget, owner_kind, owner_name } in &budgets {
        let Budget { id, owner_id, terms, .. } = budget;
        let window = terms.period.window(&terms.zone, now);
        let by_end_user = terms.scope != BudgetScope::Owner;
        let of = (owner_kind.clone(), by_end_user, window.starts_at);
        if !costs.contains_key(&of) {
            let source = SumSource::Records;
            let records = WindowRecords { owner_kind, owner_id: None, by_end_user, window, source };
            costs.insert(of.clone(), records.sum(transaction).await?);
        }
        let cost = |end_user: &str| costs[&of].get(&(owner_id.clone(), end_user.to_owned())).copied().unwrap_or(0);
        let expected: BTreeMap<String, i128> = match &terms.scope {
            BudgetScope::Owner => BTreeMap::from([(String::new(), cost(""))]),
            BudgetScope::EndUser(name) => BTreeMap::from([(String::new(), cost(name))]),
            BudgetScope::EachEndUser => {
                let own = costs[&of].range((owner_id.clone(), String::new())..);
                let own = own.take_while(|((owner, _), _)| owner == owner_id);
                own.map(|((_, end_user), cost)| (end_user.clone(), *cost)).collect()
            }
        };
        let mut actual = spent_of(transaction, id, window.starts_at).await?;
        let end_users: BTreeSet<_> = expected.keys().chain(actual.keys()).cloned().collect();
        for end_user in end_users {
            if terms.scope == BudgetScope::EachEndUser && named.get(owner_id).is_some_and(|of| of.contains(&end_user)) {
                continue;
            }
            let expected = saturating_i64(expected.get(&end_user).copied().unwrap_or(0)).clamp(-MAX_SPENT, MAX_SPENT);
            let (value, actual) = actual.remove(&end_user).unwrap_or((Some(0), "0".into()));
            if value != Some(expected) {
                let period = terms.period.as_str();
                let of_end_user = match &terms.scope {
                    BudgetScope::Owner => String::new(),
                    BudgetScope::EndUser(name) => format!(", end user {name}"),
                    BudgetScope::EachEndUser => format!(", end user {end_user}"),
                };
                let name = format!("{period} of {owner_kind} {owner_name}{of_end_user}");
                wrong.push(WrongSpend { budget_id: id.clone(), end_user, window, name, actual, expected });
            }
        }
    }
    Ok((budgets.len(), wrong))
}

/// All budgets, removed ones too.
async fn read_budgets(transaction: &mut Transaction<'_, Any>) -> Result<Vec<OwnedBudget>, StoreError> {
    let rows = sqlx::query(
        "select b.*, coalesce(k.name, p.name, u.name, b.owner_id) as owner_name from budgets b
             left join keys k on b.owner_kind = 'key' and k.id = b.owner_id
             left join projects p on b.owner_kind = 'project' and p.id = b.owner_id
             left join users u on b.owner_kind = 'user' and u.id = b.owner_id
         order by b.owner_kind, b.owner_id, b.id",
    );
    let rows = rows.fetch_all(&mut **transaction).await?;
    let owned = rows.iter().map(|row| {
        let (owner_kind, owner_name) = (row.try_get("owner_kind")?, row.try_get("owner_name")?);
        Ok(OwnedBudget { budget: budget_from_row(row)?, owner_kind, owner_name })
    });
    Ok(owned.collect::<Result<_, sqlx::Error>>()?)
}

/// The amounts that are spent of a window by end user: as numbers, if they are, and as text.
async fn spent_of(
    transaction: &mut Transaction<'_, Any>,
    budget_id: &str,
    starts_at: i64,
) -> Result<BTreeMap<String, (Option<i64>, String)>, StoreError> {
    let rows = sqlx::query("select end_user, spent from budget_spend where budget_id = $1 and starts_at = $2");
    let rows = rows.bind(budget_id).bind(starts_at).fetch_all(&mut **transaction).await?;
    let spent = rows.iter().map(|row| {
        let spent = (row.try_get::<i64, _>("spent").ok(), display_value(row, "spent"));
        Ok((row.try_get("end_user")?, spent))
    });
    Ok(spent.collect::<Result<_, sqlx::Error>>()?)
}

/// Sets the amount to the expected one.
pub(crate) async fn repair_spend(
    transaction: &mut Transaction<'_, Any>,
    wrong: &WrongSpend,
    now: i64,
) -> Result<(), StoreError> {
    let upsert = sqlx::query(
        "insert into budget_spend (budget_id, end_user, starts_at, ends_at, spent, changed_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (budget_id, end_user, starts_at) do update set spent = excluded.spent,
             changed_at = case when budget_spend.changed_at < excluded.changed_at then excluded.changed_at
                 else budget_spend.changed_at + 1 end",
    );
    let upsert = upsert.bind(&wrong.budget_id).bind(&wrong.end_user);
    let upsert = upsert.bind(wrong.window.starts_at).bind(wrong.window.ends_at).bind(wrong.expected).bind(now);
    upsert.execute(&mut **transaction).await?;
    Ok(())
}
