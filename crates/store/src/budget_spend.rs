//! Amounts that were spent of budgets in their windows: counted with each record, at the
//! time of its request.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use crate::amounts::{MAX_COST, MAX_SPENT};
use crate::budgets::{budget_from_row, budgets_of};
use crate::sum_table::SumTable;
use crate::usage_source::SumSource;
use crate::window_records::WindowRecords;
use crate::{
    Budget, BudgetOwner, BudgetScope, BudgetState, BudgetTerms, BudgetWindow, REFUNDED, Store, StoreError, UsageRecord,
    now_micros,
};

/// The most end users that are listed.
const MAX_LISTED_END_USERS: i64 = 1000;

/// The amount that was spent of a budget in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetSpend {
    pub budget_id: String,
    /// Empty unless the budget counts each end user alone.
    pub end_user: String,
    pub window: BudgetWindow,
    /// Nano-dollars.
    pub spent: i64,
    /// The time of the change. Each later change of the row has a later time.
    pub changed_at: i64,
}

/// The costs of records that are to be added to the windows of budgets.
#[derive(Default)]
pub(crate) struct WindowCosts {
    budgets: BTreeMap<String, Vec<Budget>>,
    /// By budget, end user and beginning of the window, so that two writers never wait for each
    /// other: the end of the window, and the cost.
    costs: BTreeMap<(String, String, i64), (i64, i128)>,
}

impl WindowCosts {
    /// Adds the cost of a record that the transaction has inserted. `user_id` is the user of its
    /// key. A refund counts in the window of the request that it refunds.
    pub(crate) async fn add(
        &mut self,
        transaction: &mut Transaction<'_, Any>,
        record: &UsageRecord,
        user_id: Option<&str>,
    ) -> Result<(), StoreError> {
        let owners = [record.key_id.as_deref(), record.project_id.as_deref(), user_id];
        for owner_id in owners.into_iter().flatten() {
            if !self.budgets.contains_key(owner_id) {
                self.budgets.insert(owner_id.to_owned(), budgets_of(transaction, owner_id).await?);
            }
        }
        let budgets: Vec<_> = owners.into_iter().flatten().flat_map(|owner_id| &self.budgets[owner_id]).collect();
        if budgets.is_empty() {
            return Ok(());
        }
        let mut request = (record.at, record.end_user.as_deref().map(str::to_owned));
        if record.outcome == REFUNDED
            && let Some(refunded) = refunded_request(transaction, &record.id).await?
        {
            request = refunded;
        }
        let (at, end_user) = (request.0, request.1.as_deref());
        let is_named = budgets.iter().any(|budget| budget.terms.scope.names(end_user));
        for Budget { id, terms, .. } in budgets {
            if !terms.scope.counts(end_user, is_named) {
                continue;
            }
            let BudgetWindow { starts_at, ends_at } = terms.period.window(&terms.zone, at);
            let end_user = end_user.filter(|_| terms.scope == BudgetScope::EachEndUser).unwrap_or_default();
            let window = self.costs.entry((id.clone(), end_user.to_owned(), starts_at)).or_insert((ends_at, 0));
            window.1 += i128::from(record.cost);
        }
        Ok(())
    }

    /// Writes the costs, and returns what is spent of each window then.
    ///
    /// # Errors
    /// `Refused` when a sum would be out of range.
    pub(crate) async fn write(
        self,
        transaction: &mut Transaction<'_, Any>,
        now: i64,
    ) -> Result<Vec<BudgetSpend>, StoreError> {
        let mut written = Vec::with_capacity(self.costs.len());
        for ((budget_id, end_user, starts_at), (ends_at, cost)) in self.costs {
            let window = BudgetWindow { starts_at, ends_at };
            written.push(add_spend(transaction, &budget_id, &end_user, window, cost, now).await?);
        }
        Ok(written)
    }
}

/// The time and the end user of the request that a refund is for, if its record is in the store.
async fn refunded_request(
    transaction: &mut Transaction<'_, Any>,
    refund_id: &str,
) -> Result<Option<(i64, Option<String>)>, StoreError> {
    let Some(id) = refund_id.strip_suffix(":refund") else { return Ok(None) };
    let row = sqlx::query("select at, end_user from usage_records where id = $1").bind(id);
    let row = row.fetch_optional(&mut **transaction).await?;
    row.map(|row| Ok((row.try_get("at")?, row.try_get("end_user")?))).transpose()
}

async fn add_spend(
    transaction: &mut Transaction<'_, Any>,
    budget_id: &str,
    end_user: &str,
    window: BudgetWindow,
    cost: i128,
    now: i64,
) -> Result<BudgetSpend, StoreError> {
    let refused = || {
        StoreError::Refused(format!("what is spent of the budget `{budget_id}` would be out of range with {cost} more"))
    };
    let cost = i64::try_from(cost).ok().filter(|cost| (-MAX_SPENT..=MAX_SPENT).contains(cost)).ok_or_else(refused)?;
    let upsert = sqlx::query(
        "insert into budget_spend (budget_id, end_user, starts_at, ends_at, spent, changed_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (budget_id, end_user, starts_at) do update set spent = budget_spend.spent + excluded.spent,
             changed_at = case when budget_spend.changed_at < excluded.changed_at then excluded.changed_at
                 else budget_spend.changed_at + 1 end
         where budget_spend.spent between $7 and $8 returning *",
    );
    let upsert = upsert.bind(budget_id).bind(end_user).bind(window.starts_at).bind(window.ends_at).bind(cost).bind(now);
    // The sum must be in range before and after the addition. A refund can be committed a moment
    // before the record that it refunds.
    let (min, max) = ((-MAX_COST - cost).max(-MAX_SPENT), (MAX_SPENT - cost).min(MAX_SPENT));
    let row = upsert.bind(min).bind(max).fetch_optional(&mut **transaction).await?;
    Ok(spend_from_row(&row.ok_or_else(refused)?)?)
}

/// Counts the records in the window of now for a new budget.
pub(crate) async fn insert_past_spend(
    transaction: &mut Transaction<'_, Any>,
    owner: BudgetOwner<'_>,
    budget_id: &str,
    terms: &BudgetTerms,
    now: i64,
) -> Result<(), StoreError> {
    let window = terms.period.window(&terms.zone, now);
    // Sums of hours and days do not tell end users apart.
    let (source, by_end_user) = match &terms.scope {
        BudgetScope::Owner => (SumSource::Table(SumTable::Days), false),
        BudgetScope::EachEndUser | BudgetScope::EndUser(_) => (SumSource::Records, true),
    };
    let costs = WindowRecords { owner_kind: owner.kind(), owner_id: Some(owner.id()), by_end_user, window, source };
    let mut spent = costs.sum(transaction).await?;
    if let BudgetScope::EndUser(name) = &terms.scope {
        let own = spent.remove(&(owner.id().to_owned(), name.clone())).unwrap_or_default();
        spent = BTreeMap::from([((owner.id().to_owned(), String::new()), own)]);
    }
    for ((_, end_user), cost) in spent.into_iter().filter(|(_, cost)| *cost != 0) {
        let cost = cost.clamp(i128::from(-MAX_SPENT), i128::from(MAX_SPENT));
        add_spend(transaction, budget_id, &end_user, window, cost, now).await?;
    }
    Ok(())
}

impl Store {
    /// The amounts that were spent of windows that have not ended at `now`, where it was changed at
    /// `since` or later.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn budget_spend_changed(&self, since: i64, now: i64) -> Result<Vec<BudgetSpend>, StoreError> {
        let rows = sqlx::query("select * from budget_spend where changed_at >= $1 and ends_at > $2");
        let rows = rows.bind(since).bind(now).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(spend_from_row).collect::<Result<_, _>>()?)
    }

    /// All budgets by the ids of their owners, and what is spent of the windows of now.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn budget_states(&self) -> Result<BTreeMap<String, Vec<BudgetState>>, StoreError> {
        let now = now_micros();
        let rows = sqlx::query(AssertSqlSafe(states_sql("true"))).bind(now).fetch_all(&self.pool).await?;
        let mut states = BTreeMap::<String, Vec<BudgetState>>::new();
        for row in rows {
            let state = state_from_row(&row, now)?;
            states.entry(state.budget.owner_id.clone()).or_default().push(state);
        }
        Ok(states)
    }

    /// The budgets of one owner, and what is spent of the windows of now.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn budget_states_of(&self, owner_id: &str) -> Result<Vec<BudgetState>, StoreError> {
        let now = now_micros();
        let rows = sqlx::query(AssertSqlSafe(states_sql("b.owner_id = $2"))).bind(now).bind(owner_id);
        let rows = rows.fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| state_from_row(row, now)).collect::<Result<_, _>>()?)
    }

    /// The amounts that end users have spent of the budgets of a key that count each of them alone,
    /// in the windows of now; at most 1,000, those who spent the most first.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn end_user_spend(&self, key_id: &str) -> Result<Vec<BudgetSpend>, StoreError> {
        let rows = sqlx::query(
            "select s.* from budget_spend s join budgets b on b.id = s.budget_id
             where b.owner_id = $1 and b.scope = 'each' and b.removed_at is null and s.starts_at <= $2 and s.ends_at > $2
             order by s.spent desc, s.end_user limit $3",
        );
        let rows = rows.bind(key_id).bind(now_micros()).bind(MAX_LISTED_END_USERS).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(spend_from_row).collect::<Result<_, _>>()?)
    }

    /// Deletes what was spent of windows that ended before `before`.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn delete_budget_spend_before(&self, before: i64) -> Result<(), StoreError> {
        sqlx::query("delete from budget_spend where ends_at < $1").bind(before).execute(&self.pool).await?;
        Ok(())
    }
}

/// The budgets that meet the condition, with what is spent of their windows at the time `$1`.
fn states_sql(condition: &str) -> String {
    format!(
        "select b.*, s.spent from budgets b left join budget_spend s
             on s.budget_id = b.id and b.scope <> 'each' and s.starts_at <= $1 and s.ends_at > $1
         where b.removed_at is null and {condition} order by b.owner_id, b.id"
    )
}

fn state_from_row(row: &AnyRow, now: i64) -> Result<BudgetState, sqlx::Error> {
    let budget = budget_from_row(row)?;
    let window = budget.terms.period.window(&budget.terms.zone, now);
    let spent = row.try_get::<Option<i64>, _>("spent")?.unwrap_or(0);
    let spent = (budget.terms.scope != BudgetScope::EachEndUser).then_some(spent);
    Ok(BudgetState { budget, window, spent })
}

fn spend_from_row(row: &AnyRow) -> Result<BudgetSpend, sqlx::Error> {
    Ok(BudgetSpend {
        budget_id: row.try_get("budget_id")?,
        end_user: row.try_get("end_user")?,
        window: BudgetWindow { starts_at: row.try_get("starts_at")?, ends_at: row.try_get("ends_at")? },
        spent: row.try_get("spent")?,
        changed_at: row.try_get("changed_at")?,
    })
}
