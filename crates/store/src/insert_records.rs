//! Insertion of usage records: with each record its costs, sums, tasks and attempts are written in
//! one transaction.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::amounts::{MAX_COST, MAX_SPENT};
use crate::attempts::insert_attempts;
use crate::budget_spend::WindowCosts;
use crate::insert_statements::{MAX_ROWS, bind_record};
use crate::{BudgetSpend, Store, StoreError, Task, UsageRecord, now_micros, tasks};

/// The amount that a key or a project has spent after a change of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendUpdate {
    pub id: String,
    /// Nano-dollars.
    pub spent: i64,
    /// The time of the change. Each later change of the row has a later time.
    pub changed_at: i64,
}

/// The amounts that keys, projects and budgets have spent, after records were inserted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendUpdates {
    pub keys: Vec<SpendUpdate>,
    pub projects: Vec<SpendUpdate>,
    pub budgets: Vec<BudgetSpend>,
}

impl Store {
    /// Inserts records and adds their costs to keys, projects and budgets, in one transaction. A
    /// record whose id exists is ignored.
    ///
    /// # Errors
    /// `Refused` for a record with a count or an amount out of range, or that would take the spent
    /// amount of a key or a project out of range; a database that cannot be used
    /// ([`StoreError::is_refusal`] tells them apart).
    pub async fn insert_records(&self, records: &[UsageRecord]) -> Result<SpendUpdates, StoreError> {
        records.iter().try_for_each(UsageRecord::check_ranges)?;
        // All records are new, except after a crash: then each is inserted by a
        // statement of its own.
        if let Some(updates) = self.insert_in_batches(records, MAX_ROWS).await? {
            return Ok(updates);
        }
        Ok(self.insert_in_batches(records, 1).await?.unwrap_or_default())
    }

    /// Inserts records, at most `max_rows` with one statement. Returns `None`, and writes nothing,
    /// when only some records of a statement are new: the database does not report which.
    async fn insert_in_batches(
        &self,
        records: &[UsageRecord],
        max_rows: usize,
    ) -> Result<Option<SpendUpdates>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        // Ordered by id, so that two writers never wait for each other.
        let mut cost_by_key = BTreeMap::<&str, i128>::new();
        let mut cost_by_project = BTreeMap::<&str, i128>::new();
        let mut inserted = Vec::with_capacity(records.len());
        let mut rest = records;
        while !rest.is_empty() {
            // Only powers of two, so that the statements stay prepared.
            let (batch, later) = rest.split_at(max_rows.min(1 << rest.len().ilog2()));
            let mut insert = sqlx::query(self.insert_statements.for_rows(batch.len()));
            for record in batch {
                insert = bind_record(insert, record);
            }
            let added = insert.execute(&mut *transaction).await?.rows_affected();
            if added > 0 && added < batch.len() as u64 {
                transaction.rollback().await?;
                return Ok(None);
            }
            if added > 0 {
                inserted.extend(batch);
            }
            rest = later;
        }
        self.sum_statements.add_records(&mut transaction, &inserted).await?;
        for record in &inserted {
            insert_attempts(&mut transaction, record).await?;
            if record.cost != 0 {
                if let Some(id) = &record.key_id {
                    *cost_by_key.entry(id).or_default() += i128::from(record.cost);
                }
                if let Some(id) = &record.project_id {
                    *cost_by_project.entry(id).or_default() += i128::from(record.cost);
                }
            }
        }
        for task in records.iter().filter_map(Task::from_record) {
            let insert = sqlx::query(tasks::INSERT_TASK)
                .bind(task.id.kind)
                .bind(task.id.id)
                .bind(&*task.upstream)
                .bind(&*task.model);
            let insert = insert
                .bind(task.project_id.as_deref())
                .bind(task.key_id.as_deref())
                .bind(&*task.key_name)
                .bind(task.record_id);
            let insert = insert.bind(task.cost).bind(task.created_at).bind(task.provider_id);
            insert.bind(task.end_user.as_deref()).execute(&mut *transaction).await?;
        }
        let now = now_micros();
        let mut updates = SpendUpdates::default();
        let mut users_of_keys = BTreeMap::<&str, Option<String>>::new();
        for (id, cost) in cost_by_key {
            if let Some(row) = add_spend(&mut transaction, &SPEND_OF_KEY, id, cost, now).await? {
                users_of_keys.insert(id, row.try_get("user_id")?);
                updates.keys.push(spend_update_from_row(&row)?);
            }
        }
        for (id, cost) in cost_by_project {
            if let Some(row) = add_spend(&mut transaction, &SPEND_OF_PROJECT, id, cost, now).await? {
                updates.projects.push(spend_update_from_row(&row)?);
            }
        }
        // Last: whoever makes a budget locks the rows of the owner before (`Store::set_budgets`).
        let mut window_costs = WindowCosts::default();
        for record in inserted.into_iter().filter(|record| record.cost != 0) {
            let user_id = record.key_id.as_deref().and_then(|id| users_of_keys.get(id)?.as_deref());
            window_costs.add(&mut transaction, record, user_id).await?;
        }
        updates.budgets = window_costs.write(&mut transaction, now).await?;
        transaction.commit().await?;
        Ok(Some(updates))
    }

    /// Checks that the database accepts records at all: inserts one, and rolls back.
    ///
    /// # Errors
    /// The error of the insertion.
    pub async fn check_accepts_records(&self) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let probe =
            UsageRecord { id: format!("probe:{}", uuid::Uuid::now_v7()), at: now_micros(), ..UsageRecord::default() };
        bind_record(sqlx::query(self.insert_statements.for_rows(1)), &probe).execute(&mut *transaction).await?;
        Ok(transaction.rollback().await?)
    }
}

/// The statement that adds a cost to a row, and the one that finds the row.
type SpendStatements = (&'static str, &'static str);

// An integer overflow becomes a float in SQLite and an error in PostgreSQL. The range in the
// condition avoids both.
const SPEND_OF_KEY: SpendStatements = (
    "update keys set spent = cast(spent as bigint) + $1,
         changed_at = case when changed_at < $2 then $2 else changed_at + 1 end
     where id = $3 and cast(spent as bigint) between $4 and $5 returning id, spent, changed_at, user_id",
    "select id from keys where id = $1",
);
const SPEND_OF_PROJECT: SpendStatements = (
    "update projects set spent = cast(spent as bigint) + $1,
         changed_at = case when changed_at < $2 then $2 else changed_at + 1 end
     where id = $3 and cast(spent as bigint) between $4 and $5 returning id, spent, changed_at",
    "select id from projects where id = $1",
);

/// Adds a cost to the spent amount of a row. Returns the row, or `None` when there is none.
///
/// # Errors
/// `Refused` when the sum would be out of range.
async fn add_spend(
    transaction: &mut Transaction<'_, Any>,
    (update, find): &SpendStatements,
    id: &str,
    cost: i128,
    now: i64,
) -> Result<Option<AnyRow>, StoreError> {
    let refused = || StoreError::Refused(format!("the spent amount of `{id}` would be out of range with {cost} more"));
    let cost = i64::try_from(cost).ok().filter(|cost| cost.checked_abs().is_some_and(|cost| cost <= MAX_SPENT));
    let cost = cost.ok_or_else(refused)?;
    // The sum must be in range before and after the addition.
    let (min, max) = ((-MAX_COST - cost).max(-MAX_COST), (MAX_SPENT - cost).min(MAX_SPENT));
    let update = sqlx::query(*update).bind(cost).bind(now).bind(id).bind(min).bind(max);
    if let Some(row) = update.fetch_optional(&mut **transaction).await? {
        return Ok(Some(row));
    }
    match sqlx::query(*find).bind(id).fetch_optional(&mut **transaction).await? {
        Some(_) => Err(refused()),
        None => Ok(None),
    }
}

fn spend_update_from_row(row: &AnyRow) -> Result<SpendUpdate, sqlx::Error> {
    Ok(SpendUpdate { id: row.try_get("id")?, spent: row.try_get("spent")?, changed_at: row.try_get("changed_at")? })
}
