//! The budgets with a period of one owner (a key, a project or a user), and their windows in
//! memory.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use store::{BudgetScope, BudgetSpend, BudgetTerms, BudgetWindow};

use crate::limits::budget::{Budget, Renewal};

/// The longest part of an end user's name in an error, in characters.
const MAX_SHOWN_CHARS: usize = 64;

/// The budgets with a period of one owner.
#[derive(Debug, Default)]
pub(crate) struct OwnerBudgets {
    /// The owner by name, such as "key `alice`". It does not change.
    name: OnceLock<String>,
    budgets: RwLock<Vec<PeriodBudget>>,
    /// Other replicas have the same budgets.
    leased: bool,
}

/// A budget with a period. Each of its windows is a [`Budget`] of its own.
#[derive(Debug)]
struct PeriodBudget {
    id: String,
    leased: bool,
    state: Mutex<PeriodBudgetState>,
}

#[derive(Debug)]
struct PeriodBudgetState {
    terms: BudgetTerms,
    /// The windows that are in use, by end user. The name is empty unless each end user counts
    /// alone.
    windows: HashMap<String, Vec<(BudgetWindow, Arc<Budget>)>>,
}

impl OwnerBudgets {
    /// An owner without budgets. `leased`: other replicas have the same budgets.
    pub(crate) fn new(leased: bool) -> Self {
        Self { leased, ..Self::default() }
    }

    /// Sets the name for errors, such as "project `team`". A second call has no effect.
    pub(crate) fn set_name(&self, name: impl FnOnce() -> String) {
        self.name.get_or_init(name);
    }

    fn name(&self) -> &str {
        self.name.get().map_or("key", String::as_str)
    }

    /// Adds, changes or removes a budget.
    pub(crate) fn update(&self, changed: &store::Budget) {
        let mut budgets = self.budgets.write();
        match budgets.iter().position(|budget| budget.id == changed.id) {
            Some(index) if changed.is_removed => _ = budgets.remove(index),
            Some(index) => budgets[index].set_terms(&changed.terms),
            None if changed.is_removed => {}
            None => {
                let state = PeriodBudgetState { terms: changed.terms.clone(), windows: HashMap::new() };
                budgets.push(PeriodBudget { id: changed.id.clone(), leased: self.leased, state: Mutex::new(state) });
            }
        }
    }

    /// Adds to `windows` those that a request of `end_user` at `at` is reserved against.
    pub(crate) fn extend_windows(&self, at: i64, end_user: Option<&str>, windows: &mut Vec<Arc<Budget>>) {
        self.for_each(end_user, |budget| windows.push(budget.window(at, end_user, self.name())));
    }

    /// Records that the store has committed the cost of a request of `end_user` at `at`.
    pub(crate) fn record_committed(&self, at: i64, end_user: Option<&str>, cost: i64) {
        self.for_each(end_user, |budget| {
            if let Some(window) = budget.known_window(at, end_user) {
                window.record_committed(cost);
            }
        });
    }

    /// Sets what the store has committed of a window.
    pub(crate) fn set_committed(&self, spend: &BudgetSpend) {
        if let Some(budget) = self.budgets.read().iter().find(|budget| budget.id == spend.budget_id) {
            let window = budget.window(spend.window.starts_at, Some(&spend.end_user), self.name());
            window.set_committed(spend.spent, spend.changed_at);
        }
    }

    /// Whether a budget counts end users.
    pub(crate) fn has_end_users(&self) -> bool {
        self.budgets.read().iter().any(|budget| budget.state.lock().terms.scope != BudgetScope::Owner)
    }

    /// Whether a budget has an amount.
    pub(crate) fn has_amount(&self) -> bool {
        self.budgets.read().iter().any(|budget| budget.state.lock().terms.amount.is_some())
    }

    /// All windows in memory.
    pub(crate) fn all_windows(&self) -> Vec<Arc<Budget>> {
        let budgets = self.budgets.read();
        let windows = |budget: &PeriodBudget| -> Vec<_> {
            budget.state.lock().windows.values().flatten().map(|(_, window)| window.clone()).collect()
        };
        budgets.iter().flat_map(windows).collect()
    }

    /// Forgets windows that have ended, and those of end users in which nothing is spent.
    pub(crate) fn forget_unused(&self, now: i64) {
        for budget in self.budgets.read().iter() {
            budget.state.lock().windows.retain(|_, windows| {
                // A request that runs holds the window in which it is reserved.
                windows.retain(|(span, window)| {
                    Arc::strong_count(window) > 1 || (span.ends_at > now && !window.is_untouched())
                });
                !windows.is_empty()
            });
        }
    }

    /// Calls `visit` for each budget that counts a request of `end_user`.
    fn for_each(&self, end_user: Option<&str>, mut visit: impl FnMut(&PeriodBudget)) {
        let budgets = self.budgets.read();
        let is_named = budgets.iter().any(|budget| budget.state.lock().terms.scope.names(end_user));
        for budget in budgets.iter() {
            let counts = budget.state.lock().terms.scope.counts(end_user, is_named);
            if counts {
                visit(budget);
            }
        }
    }
}

impl PeriodBudget {
    /// Sets the amounts. Scope, period and time zone of a budget do not change.
    fn set_terms(&self, terms: &BudgetTerms) {
        let mut state = self.state.lock();
        // A budget that has warned warns again only after a change.
        if state.terms == *terms {
            return;
        }
        state.terms = terms.clone();
        for (_, window) in state.windows.values().flatten() {
            window.set_amounts(terms.amount, terms.warn_at);
        }
    }

    /// The window that contains `at`. `owner` is the name of the owner.
    fn window(&self, at: i64, end_user: Option<&str>, owner: &str) -> Arc<Budget> {
        let mut state = self.state.lock();
        let PeriodBudgetState { terms, windows } = &mut *state;
        let end_user = counted_alone(terms, end_user);
        if let Some((_, window)) = windows.get(end_user).and_then(|windows| find(windows, at)) {
            return window.clone();
        }
        let span = terms.period.window(&terms.zone, at);
        let name = format!("budget:{}:{}", self.id, span.starts_at);
        let (name, owner) = match &terms.scope {
            BudgetScope::Owner => (name, owner.to_owned()),
            BudgetScope::EachEndUser => (format!("{name}:{end_user}"), end_user_name(end_user, owner)),
            BudgetScope::EndUser(named) => (name, end_user_name(named, owner)),
        };
        let renewal = Renewal { period: terms.period, zone: terms.zone.clone(), ends_at: span.ends_at };
        let window = Arc::new(Budget::of_window(name, self.leased, owner, renewal));
        window.set_amounts(terms.amount, terms.warn_at);
        windows.entry(end_user.to_owned()).or_default().push((span, window.clone()));
        window
    }

    fn known_window(&self, at: i64, end_user: Option<&str>) -> Option<Arc<Budget>> {
        let state = self.state.lock();
        let windows = state.windows.get(counted_alone(&state.terms, end_user))?;
        find(windows, at).map(|(_, window)| window.clone())
    }
}

/// The end user if each counts alone, else nobody.
fn counted_alone<'a>(terms: &BudgetTerms, end_user: Option<&'a str>) -> &'a str {
    end_user.filter(|_| terms.scope == BudgetScope::EachEndUser).unwrap_or_default()
}

fn find(windows: &[(BudgetWindow, Arc<Budget>)], at: i64) -> Option<&(BudgetWindow, Arc<Budget>)> {
    windows.iter().find(|(span, _)| span.contains(at))
}

fn end_user_name(end_user: &str, owner: &str) -> String {
    match end_user {
        "" => format!("requests without an end user of the {owner}"),
        _ => format!("end user `{end_user:.MAX_SHOWN_CHARS$}` of the {owner}"),
    }
}

#[cfg(test)]
mod tests;
