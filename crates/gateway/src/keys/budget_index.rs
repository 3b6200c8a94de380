//! The budgets with a period of all keys, projects and users.

use std::collections::HashMap;
use std::sync::Arc;

use store::{Budget, BudgetSpend};

use crate::keys::new_key::token_hash;
use crate::limits::owner_budgets::OwnerBudgets;

/// The time after which unused windows are forgotten, in microseconds.
const FORGET_INTERVAL_MICROS: i64 = 60_000_000;

/// The budgets with a period, by the ids of their owners.
#[derive(Debug, Default)]
pub(crate) struct BudgetIndex {
    by_owner: HashMap<String, Arc<OwnerBudgets>>,
    by_budget: HashMap<String, Arc<OwnerBudgets>>,
    /// Other replicas have the same budgets.
    leased: bool,
    /// The time at which unused windows were forgotten.
    forgot_at: i64,
}

impl BudgetIndex {
    /// An index without budgets. `leased`: other replicas have the same budgets.
    pub(crate) fn new(leased: bool) -> Self {
        Self { leased, ..Self::default() }
    }

    /// The budgets of the key, project or user with this id.
    pub(crate) fn owner(&mut self, id: &str) -> &Arc<OwnerBudgets> {
        let leased = self.leased;
        self.by_owner.entry(id.to_owned()).or_insert_with(|| Arc::new(OwnerBudgets::new(leased)))
    }

    /// Adds, changes or removes budgets.
    pub(crate) fn update(&mut self, budgets: &[Budget]) {
        for budget in budgets {
            let owner = self.owner(&budget.owner_id).clone();
            owner.update(budget);
            if budget.is_removed {
                self.by_budget.remove(&budget.id);
            } else {
                self.by_budget.insert(budget.id.clone(), owner);
            }
        }
    }

    /// Sets what the store has committed of windows.
    pub(crate) fn set_committed(&self, spends: &[BudgetSpend]) {
        for spend in spends {
            if let Some(owner) = self.by_budget.get(&spend.budget_id) {
                owner.set_committed(spend);
            }
        }
    }

    /// Forgets windows that are not used, from time to time.
    pub(crate) fn forget_unused(&mut self, now: i64) {
        if now.saturating_sub(self.forgot_at) >= FORGET_INTERVAL_MICROS {
            self.forgot_at = now;
            self.by_owner.values().for_each(|owner| owner.forget_unused(now));
        }
    }
}

/// The end user of a request as the store has it: a name that the store does not take is replaced
/// by its SHA-256.
pub(crate) fn stored_end_user(name: &str) -> Arc<str> {
    if store::is_end_user(name) {
        return name.into();
    }
    format!("sha256:{}", token_hash(name)).into()
}
