//! `GET /user/quota`: spending and budgets of the key and its project, in the format of
//! CometAPI's query service.

use std::sync::Arc;

use ::chat::{Error, ErrorKind};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use gateway::Caller;
use serde_json::{Value, json};
use store::{BudgetScope, BudgetState, StoreError};

use crate::admin::budgets_json;
use crate::api::authed_request::authenticate;
use crate::app::AppState;
use crate::error_response::error_response_with_id;
use crate::request_log::RequestLog;
use crate::respond::json_response;

pub(crate) async fn show(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    let response = async {
        let caller = authenticate(&app, &log, &request.into_parts().0)?;
        quota_response(&app, &caller).await
    };
    response.await.unwrap_or_else(|error| error_response_with_id(error, &log))
}

async fn quota_response(app: &AppState, caller: &Caller) -> Result<Response, Error> {
    let (Some(api_key), Some(store)) = (&caller.api_key, app.gateway.accounting().store()) else {
        let name = caller.key_name.as_deref().unwrap_or_default();
        let unlimited =
            json!({"username": name, "total_quota": -1, "total_used_quota": 0, "request_count": 0, "keys": []});
        return Ok(json_response(unlimited.to_string()));
    };
    let read = async {
        let overview = store.key_overview(api_key.id()).await?;
        let of_key = store.budget_states_of(&overview.key.id).await?;
        let of_project = store.budget_states_of(&overview.project.id).await?;
        Ok::<_, StoreError>((overview, of_key, of_project))
    };
    let (overview, of_key, of_project) = read.await.map_err(|error| {
        tracing::error!(%error, "failed to read the quota from the store");
        Error::new(ErrorKind::Overloaded, "The account cannot be looked up right now, please try again later")
    })?;
    let quota = json!({
        "username": overview.project.name,
        "total_quota": remaining(overview.project.budget, overview.project.spent, &of_project),
        "budgets": budgets_json(&of_project),
        "total_used_quota": dollars(overview.project.spent),
        "request_count": overview.requests,
        // Only this key: the other keys of the project stay private.
        "keys": [{
            "name": overview.key.name,
            "remain_quota": remaining(overview.key.limits.budget, overview.key.spent, &of_key),
            "used_quota": dollars(overview.key.spent),
            "budgets": budgets_json(&of_key),
        }],
    });
    Ok(json_response(quota.to_string()))
}

fn dollars(nano: i64) -> f64 {
    nano as f64 / 1e9
}

/// The dollars that are left of the budget and of each window of now, whichever is least; -1
/// without a limit. Budgets of end users limit only them.
fn remaining(budget: Option<i64>, spent: i64, windows: &[BudgetState]) -> Value {
    let left = |amount: Option<i64>, spent: i64| amount.map(|amount| amount.saturating_sub(spent));
    let of_owner = windows.iter().filter(|state| state.budget.terms.scope == BudgetScope::Owner);
    let of_windows = of_owner.filter_map(|state| left(state.budget.terms.amount, state.spent?));
    of_windows.chain(left(budget, spent)).min().map_or(json!(-1), |left| json!(dollars(left)))
}
