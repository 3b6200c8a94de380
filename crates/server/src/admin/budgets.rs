//! Budgets with a period, as bodies of requests and in responses.

use std::collections::BTreeMap;

use chat::Error;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{BudgetOwner, BudgetPeriod, BudgetScope, BudgetSpend, BudgetState, BudgetTerms, BudgetZone, Role};

use super::errors::{invalid_value, role_error, store_error};
use super::request::AdminRequest;
use super::units::{Dollars, format_dollars, unix_seconds};

/// A budget with a period. Without `every` it never renews.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BudgetBody {
    every: Option<String>,
    time_zone: Option<String>,
    amount: Option<Dollars>,
    warn_at: Option<Dollars>,
    end_user: Option<String>,
    #[serde(default)]
    each_end_user: bool,
}

impl BudgetBody {
    fn terms(self) -> Result<BudgetTerms, Error> {
        let invalid = |reason: String| invalid_value("budgets", &reason);
        let period = match self.every.as_deref() {
            None => BudgetPeriod::Total,
            Some(name) => BudgetPeriod::parse(name)
                .filter(|period| *period != BudgetPeriod::Total)
                .ok_or_else(|| invalid(format!("`{name:.32}` is not a period: expected day, week or month")))?,
        };
        let scope = match (self.end_user, self.each_end_user) {
            (None, false) => BudgetScope::Owner,
            (None, true) => BudgetScope::EachEndUser,
            (Some(name), false) => BudgetScope::EndUser(name),
            (Some(_), true) => return Err(invalid("`end_user` and `each_end_user` exclude each other".into())),
        };
        let zone = self.time_zone.as_deref().map_or(Ok(BudgetZone::default()), BudgetZone::parse).map_err(invalid)?;
        let amount = self.amount.map(|amount| amount.nano_of("budgets")).transpose()?;
        let warn_at = self.warn_at.map(|amount| amount.nano_of("budgets")).transpose()?;
        Ok(BudgetTerms { scope, period, zone, amount, warn_at })
    }
}

/// The budgets of a body, checked.
///
/// # Errors
/// `Forbidden` unless the operator is an admin: a member's own key could lose them otherwise;
/// `InvalidRequest` that names the field.
pub(super) fn read_budgets(
    request: &AdminRequest,
    body: Option<Vec<BudgetBody>>,
    of_key: bool,
) -> Result<Option<Vec<BudgetTerms>>, Error> {
    let Some(body) = body else { return Ok(None) };
    if request.operator.role < Role::Admin {
        return Err(role_error("This needs the role `admin`: it sets budgets with a period"));
    }
    let terms = body.into_iter().map(BudgetBody::terms).collect::<Result<Vec<_>, _>>()?;
    store::check_budgets(&terms, of_key).map_err(|reason| invalid_value("budgets", &reason))?;
    Ok(Some(terms))
}

/// Replaces the budgets of an owner, if the body has some.
pub(super) async fn set_budgets(
    request: &AdminRequest,
    owner: BudgetOwner<'_>,
    budgets: Option<Vec<BudgetTerms>>,
) -> Result<(), Error> {
    if let Some(budgets) = budgets {
        request.store()?.set_budgets(owner, &budgets).await.map_err(store_error)?;
    }
    Ok(())
}

/// The budgets with a period of all owners, by their ids.
pub(super) async fn budget_states(request: &AdminRequest) -> Result<BTreeMap<String, Vec<BudgetState>>, Error> {
    request.store()?.budget_states().await.map_err(store_error)
}

/// The budgets of an owner, each with what is spent in the window of now. Money is in US dollars,
/// times are in seconds since 1970.
pub fn budgets_json(states: &[BudgetState]) -> Value {
    let budget = |state: &BudgetState| {
        let BudgetTerms { scope, period, zone, amount, warn_at } = &state.budget.terms;
        let renews = *period != BudgetPeriod::Total;
        json!({
            "every": renews.then(|| period.as_str()), "time_zone": zone.name(),
            "amount": amount.map(format_dollars), "warn_at": warn_at.map(format_dollars),
            "end_user": if let BudgetScope::EndUser(name) = scope { Some(name) } else { None },
            "each_end_user": *scope == BudgetScope::EachEndUser,
            "spent": state.spent.map(format_dollars), "renews_at": renews.then(|| unix_seconds(state.window.ends_at)),
        })
    };
    states.iter().map(budget).collect()
}

/// The amounts that end users have spent of the budgets of a key, in the form of [`budgets_json`].
pub(super) fn end_users_json(budgets: &[BudgetState], spends: &[BudgetSpend]) -> Value {
    let listed = spends.iter().filter_map(|spend| {
        let state = budgets.iter().find(|state| state.budget.id == spend.budget_id)?;
        let mut json = budgets_json(std::slice::from_ref(state))[0].take();
        json["end_user"] = spend.end_user.as_str().into();
        json["spent"] = format_dollars(spend.spent).into();
        Some(json)
    });
    listed.collect()
}
