//! Changes the budgets with a period of an owner.

use sqlx::{Any, Transaction};

use crate::budget_spend::insert_past_spend;
use crate::budgets::budgets_of;
use crate::{Budget, BudgetOwner, BudgetScope, BudgetTerms, Store, StoreError, check_budgets, now_micros};

impl Store {
    /// Replaces the budgets with a period of an owner. What was spent of a budget that stays with
    /// its scope, period and time zone still counts. A new budget starts with what the records of
    /// its window cost.
    ///
    /// # Errors
    /// `Refused` for budgets that are not valid; a database or a `store-id` that cannot be written.
    pub async fn set_budgets(&self, owner: BudgetOwner<'_>, terms: &[BudgetTerms]) -> Result<Vec<Budget>, StoreError> {
        check_budgets(terms, matches!(owner, BudgetOwner::Key(_))).map_err(StoreError::Refused)?;
        let now = now_micros();
        let mut transaction = self.pool.begin().await?;
        lock_spend(&mut transaction, owner).await?;
        let current = budgets_of(&mut transaction, owner.id()).await?;
        let same = |a: &BudgetTerms, b: &BudgetTerms| (&a.scope, a.period, &a.zone) == (&b.scope, b.period, &b.zone);
        let update = "update budgets set amount = $1, warn_at = $2, removed_at = $3,
             changed_at = case when changed_at < $4 then $4 else changed_at + 1 end where id = $5";
        for budget in current.iter().filter(|budget| !terms.iter().any(|terms| same(terms, &budget.terms))) {
            let remove = sqlx::query(update).bind(budget.terms.amount).bind(budget.terms.warn_at).bind(now);
            remove.bind(now).bind(&budget.id).execute(&mut *transaction).await?;
        }
        for terms in terms {
            if let Some(budget) = current.iter().find(|budget| same(terms, &budget.terms)) {
                let change = sqlx::query(update).bind(terms.amount).bind(terms.warn_at).bind(None::<i64>);
                change.bind(now).bind(&budget.id).execute(&mut *transaction).await?;
            } else {
                let id = insert_budget(&mut transaction, owner, terms, now).await?;
                insert_past_spend(&mut transaction, owner, &id, terms, now).await?;
            }
        }
        let budgets = budgets_of(&mut transaction, owner.id()).await?;
        self.commit_change(transaction, format!("budgets of {} `{}` changed", owner.kind(), owner.name())).await?;
        Ok(budgets)
    }
}

/// Makes transactions wait that add to what the owner has spent, until this one ends: a cost is
/// either in the records that this one sees, or is added to the budgets that it makes.
async fn lock_spend(transaction: &mut Transaction<'_, Any>, owner: BudgetOwner<'_>) -> Result<(), StoreError> {
    let lock = match owner {
        BudgetOwner::Key(_) => "update keys set spent = spent where id = $1",
        BudgetOwner::Project(_) => "update projects set spent = spent where id = $1",
        BudgetOwner::User(_) => "update keys set spent = spent where user_id = $1",
    };
    sqlx::query(lock).bind(owner.id()).execute(&mut **transaction).await?;
    Ok(())
}

async fn insert_budget(
    transaction: &mut Transaction<'_, Any>,
    owner: BudgetOwner<'_>,
    terms: &BudgetTerms,
    now: i64,
) -> Result<String, StoreError> {
    let id = uuid::Uuid::now_v7().to_string();
    let end_user = if let BudgetScope::EndUser(name) = &terms.scope { name.as_str() } else { "" };
    let insert = sqlx::query(
        "insert into budgets (id, owner_kind, owner_id, scope, end_user, period, time_zone, amount, warn_at, changed_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    );
    let insert = insert.bind(&id).bind(owner.kind()).bind(owner.id()).bind(terms.scope.as_str()).bind(end_user);
    let insert = insert.bind(terms.period.as_str()).bind(terms.zone.name()).bind(terms.amount).bind(terms.warn_at);
    insert.bind(now).execute(&mut **transaction).await?;
    Ok(id)
}
