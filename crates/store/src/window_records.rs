//! The cost of the records in the window of a budget: for a budget that is new, and for the check
//! of one that is not.

use std::collections::BTreeMap;

use sqlx::{Any, AssertSqlSafe, Transaction};
use sqlx::{Row, any::AnyRow};

use crate::amounts::{MAX_COST, read_split_sum};
use crate::outcome_class::{OutcomeClass, REFUNDED};
use crate::usage_rebuild::sums_pending;
use crate::usage_source::{SumSource, segments};
use crate::{BudgetWindow, StoreError};

/// The costs by owner and end user. Without end users, their name is empty.
pub(crate) type OwnerCosts = BTreeMap<(String, String), i128>;

/// The records whose costs count in a window. A refund counts in the window of the request that it
/// refunds.
pub(crate) struct WindowRecords<'a> {
    /// `key`, `project` or `user`.
    pub(crate) owner_kind: &'a str,
    /// The only owner. `None`: all of the kind.
    pub(crate) owner_id: Option<&'a str>,
    /// Whether records without an end user are left out, and end users are told apart.
    pub(crate) by_end_user: bool,
    pub(crate) window: BudgetWindow,
    /// The coarsest rows that are read. Only records tell end users apart.
    pub(crate) source: SumSource,
}

impl WindowRecords<'_> {
    /// The costs of the records, in nano-dollars. Costs out of range count as 0.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub(crate) async fn sum(&self, transaction: &mut Transaction<'_, Any>) -> Result<OwnerCosts, StoreError> {
        let mut costs = OwnerCosts::new();
        let pending = sums_pending(&mut **transaction).await?;
        let mut has_refunds = false;
        let refunded = OutcomeClass::Refunded.as_str();
        for segment in segments(self.window.starts_at, self.window.ends_at, pending, self.source) {
            let rows = if self.by_end_user { end_user_rows_sql() } else { segment.rows_sql("$1", "$2") };
            let rows = self.select_sql("u.end_user", "u.cost", "u.outcome_class", &rows, "1 = 1");
            let rows = sqlx::query(AssertSqlSafe(rows)).bind(segment.from).bind(segment.until).bind(self.owner_id);
            for row in rows.fetch_all(&mut **transaction).await? {
                match row.try_get::<String, _>("class")? == refunded {
                    true => has_refunds = true,
                    false => add(&mut costs, &row)?,
                }
            }
        }
        // A refund has no end user; its request has.
        if has_refunds || self.by_end_user {
            let select = self.refunds_sql();
            let rows = sqlx::query(AssertSqlSafe(select)).bind(self.window.starts_at).bind(self.window.ends_at);
            for row in rows.bind(self.owner_id).fetch_all(&mut **transaction).await? {
                add(&mut costs, &row)?;
            }
        }
        Ok(costs)
    }

    /// Selects the sums of `cost` by owner, end user and class. `$1` and `$2` are the span, `$3`
    /// the owner.
    fn select_sql(&self, end_user: &str, cost: &str, class: &str, rows: &str, condition: &str) -> String {
        let (owner, join) = match self.owner_kind {
            "key" => ("u.key_id", ""),
            "project" => ("u.project_id", ""),
            _ => ("k.user_id", " join keys k on k.id = u.key_id"),
        };
        let end_user = if self.by_end_user { end_user } else { "cast('' as text)" };
        let of_owner = if self.owner_id.is_some() { "= $3" } else { "is not null and cast($3 as text) is null" };
        format!(
            "select {owner} as owner_id, {end_user} as end_user, {class} as class,
                 cast(sum({cost} / 4294967296) as bigint) as high, cast(sum({cost} % 4294967296) as bigint) as low
             from {rows}{join} where {condition} and {owner} {of_owner} group by 1, 2, 3"
        )
    }

    /// Selects the costs of the refunds of requests in the window.
    fn refunds_sql(&self) -> String {
        let cost =
            format!("(case when u.cost between -{MAX_COST} and {MAX_COST} then cast(u.cost as bigint) else 0 end)");
        let rows = "usage_records u left join usage_records q
                on q.id = case when u.id like '%:refund' then substr(u.id, 1, length(u.id) - 7) end";
        let of_request = |column: &str| format!("(case when q.id is null then u.{column} else q.{column} end)");
        let (at, end_user) = (of_request("at"), of_request("end_user"));
        let mut condition = format!("u.outcome = '{REFUNDED}' and u.at >= $1 and u.at < $2 and {at} >= $1");
        if self.by_end_user {
            condition += &format!(" and {end_user} is not null");
        }
        self.select_sql(&end_user, &cost, "cast('' as text)", rows, &condition)
    }
}

/// The records with an end user, refunds aside.
fn end_user_rows_sql() -> String {
    format!(
        "(select key_id, project_id, end_user, cast('' as text) as outcome_class,
              case when cost between -{MAX_COST} and {MAX_COST} then cast(cost as bigint) else 0 end as cost
          from usage_records where at >= $1 and at < $2 and end_user is not null and outcome <> '{REFUNDED}') u"
    )
}

fn add(costs: &mut OwnerCosts, row: &AnyRow) -> Result<(), StoreError> {
    let of = (row.try_get("owner_id")?, row.try_get("end_user")?);
    *costs.entry(of).or_default() += read_split_sum(row, "high", "low")?;
    Ok(())
}
