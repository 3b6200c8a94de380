//! `GET /user/balance`: the remaining budget of the key.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;

use crate::api::authed_request::authenticate;
use crate::app::AppState;
use crate::error_response::error_response;
use crate::request_log::RequestLog;
use crate::respond::json_response;

pub(crate) async fn show(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    match authenticate(&app, &log, &request.into_parts().0) {
        Ok(caller) => {
            json_response(balance_json(caller.api_key.as_ref().and_then(|api_key| api_key.remaining_budget())))
        }
        Err(error) => error_response(&error),
    }
}

/// The body for a remaining budget in nano-dollars; `None`: unlimited (docs/api.md 1.14).
fn balance_json(remaining: Option<i64>) -> String {
    let Some(remaining) = remaining else { return r#"{"is_available":true,"balance_infos":[]}"#.into() };
    let mut amount = store::money::format(remaining, 2);
    // Rounded down, a debt of a fraction of a cent would be a whole one.
    if remaining < 0 && remaining % 10_000_000 != 0 {
        amount = store::money::format(remaining, 9).trim_end_matches('0').to_owned();
    }
    format!(
        r#"{{"is_available":{},"balance_infos":[{{"currency":"USD","total_balance":"{amount}","granted_balance":"0.00","topped_up_balance":"{amount}"}}]}}"#,
        remaining > 0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_below_a_cent_is_exact() {
        for (remaining, amount) in
            [(12_345_678_901, "12.34"), (9_999_999, "0.00"), (-1000, "-0.000001"), (-50_000_000, "-0.05"), (0, "0.00")]
        {
            let body = balance_json(Some(remaining));
            assert!(body.contains(&format!("\"total_balance\":\"{amount}\"")), "{remaining}: {body}");
        }
    }
}
