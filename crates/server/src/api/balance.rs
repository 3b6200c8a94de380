//! `GET /user/balance`: what the key may still spend.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;

use crate::api::enter;
use crate::exchange::json;
use crate::line::Line;
use crate::reply;
use crate::server::App;

pub(crate) async fn show(State(app): State<Arc<App>>, Extension(line): Extension<Line>, request: Request) -> Response {
    match enter(&app, &line, &request.into_parts().0) {
        Ok(caller) => json(body(caller.api_key.as_ref().and_then(|holder| holder.remaining_budget()))),
        Err(error) => reply::refusal(&error),
    }
}

/// `left` is in nano-dollars; `None` where nothing bounds it (API document 1.14).
fn body(left: Option<i64>) -> String {
    let Some(left) = left else { return r#"{"is_available":true,"balance_infos":[]}"#.into() };
    let amount = store::money::format(left, 2);
    format!(
        r#"{{"is_available":{},"balance_infos":[{{"currency":"USD","total_balance":"{amount}","granted_balance":"0.00","topped_up_balance":"{amount}"}}]}}"#,
        left > 0
    )
}
