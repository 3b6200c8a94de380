//! `GET /api/models`: the models and their prices, without a key (docs/api.md 4.4).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use gateway::ModelInfo;
use wire::surface::model_catalog::{CatalogEntry, Pricing};

use crate::app::AppState;
use crate::auth;
use crate::error_response::error_response;
use crate::respond::json_response;

pub(crate) async fn list(State(app): State<Arc<AppState>>, request: Request) -> Response {
    // A server that only this machine can reach must not be readable for web pages.
    if let Err(error) = auth::check_public_access(&app, &request.into_parts().0) {
        return error_response(&error);
    }
    let models: Vec<CatalogEntry> = app.gateway.all_models().into_iter().map(catalog_entry).collect();
    json_response(wire::surface::model_catalog::render_catalog(&models))
}

fn catalog_entry(model: ModelInfo) -> CatalogEntry {
    let pricing = model.price.map_or_else(Pricing::default, |price| {
        let [input, cached_input, output, per_request, per_second] = price.dollars();
        let positive = |dollars: f64| Some(dollars).filter(|&dollars| dollars > 0.0);
        let (per_request, per_second) = (positive(per_request), positive(per_second));
        Pricing { input: Some(input), cached_input: Some(cached_input), output: Some(output), per_request, per_second }
    });
    let (id, provider) = (model.id.to_string(), model.owned_by.to_string());
    CatalogEntry { id, provider, pricing, context_length: model.context }
}
