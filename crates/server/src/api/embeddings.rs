//! `POST /embeddings`: passes to providers that have them; no embedding model is built in (API document 2.2).

use std::sync::Arc;

use ::chat::Error;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;
use wire::glance::Passage;

use crate::api::{Taken, take};
use crate::line::Line;
use crate::relay::Tongue;
use crate::server::App;
use crate::{relay, reply};

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(line): Extension<Line>,
    request: Request,
) -> Response {
    answer(&app, line.clone(), request).await.unwrap_or_else(|error| reply::failure(error, &line))
}

async fn answer(app: &App, line: Line, request: Request) -> Result<Response, Error> {
    let Taken { caller, bytes, .. } = take(app, &line, request).await?;
    let fields = wire::splice::Fields::scan(&bytes)?;
    let missing = "Failed to deserialize the JSON body into the target type: missing field `model`";
    fields.text("model").ok_or_else(|| Error::invalid(missing))?;
    let relay = app.gateway.relay(&caller, Passage::Embeddings, &bytes, HeaderMap::new()).await?;
    let relay = relay.ok_or_else(|| Error::invalid("Model Not Exist"))?;
    relay::send(app, relay, Tongue::OpenAi, line).await
}
