//! `GET /user/balance`. Nobody keeps accounts here yet, so everybody may go on.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;

use crate::exchange::json;
use crate::line::Line;
use crate::server::App;
use crate::{auth, reply};

pub(crate) async fn show(State(app): State<Arc<App>>, Extension(line): Extension<Line>, request: Request) -> Response {
    match auth::admit(&app, &request.into_parts().0) {
        Ok(caller) => {
            line.caller(&caller);
            json(r#"{"is_available":true,"balance_infos":[]}"#.into())
        }
        Err(error) => reply::refusal(&error),
    }
}
