//! The route table.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, any, get, post};
use wire::passthrough::ApiEndpoint;

use crate::admin;
use crate::api;
use crate::api::media::route as media;
use crate::app::AppState;
use crate::body::BodyType;
use crate::console;
use crate::metrics;

/// The routes of every API, and the fallbacks for unknown paths and methods.
pub(crate) fn routes() -> Router<Arc<AppState>> {
    let mut router = Router::new()
        .route("/", any(console::root))
        .route("/console", any(console::show))
        .route("/console/{*path}", any(console::show))
        .route("/healthz", get(metrics::healthz))
        .route("/readyz", get(metrics::readyz))
        .route("/metrics", get(metrics::render))
        .route("/api/models", get(api::model_catalog::list))
        .route("/user/quota", get(api::quota::show));
    for prefix in ["", "/v1", "/beta", "/beta/v1"] {
        router = router
            .route(&format!("{prefix}/chat/completions"), post(api::chat::create))
            .route(&format!("{prefix}/completions"), post(api::completions::create))
            .route(&format!("{prefix}/embeddings"), media(ApiEndpoint::Embeddings, BodyType::Json))
            .route(&format!("{prefix}/moderations"), media(ApiEndpoint::Moderations, BodyType::Json))
            .route(&format!("{prefix}/rerank"), media(ApiEndpoint::Rerank, BodyType::Json))
            .route(&format!("{prefix}/realtime"), any(api::fallback::no_realtime))
            .route(&format!("{prefix}/realtime/{{*rest}}"), any(api::fallback::no_realtime))
            .route(&format!("{prefix}/images/generations"), media(ApiEndpoint::ImageGenerations, BodyType::Json))
            .route(&format!("{prefix}/images/edits"), media(ApiEndpoint::ImageEdits, BodyType::Multipart))
            .route(&format!("{prefix}/audio/speech"), media(ApiEndpoint::Speech, BodyType::Json))
            .route(&format!("{prefix}/audio/transcriptions"), media(ApiEndpoint::Transcriptions, BodyType::Multipart))
            .route(&format!("{prefix}/audio/translations"), media(ApiEndpoint::Translations, BodyType::Multipart))
            .route(&format!("{prefix}/responses"), post(api::responses::create))
            .route(&format!("{prefix}/responses/compact"), post(api::responses::compact))
            .route(&format!("{prefix}/responses/input_tokens"), post(api::responses::count_input_tokens))
            .route(
                &format!("{prefix}/responses/{{id}}"),
                get(api::responses::not_stored).delete(api::responses::not_stored),
            )
            .route(&format!("{prefix}/user/balance"), get(api::balance::show))
            .route(&format!("{prefix}/models"), get(api::models::list))
            .route(&format!("{prefix}/models/{{*id}}"), model_methods(prefix));
    }
    for prefix in ["/v1", "/anthropic/v1"] {
        router = router
            .route(&format!("{prefix}/messages"), post(api::messages::create))
            .route(&format!("{prefix}/messages/count_tokens"), post(api::messages::count_tokens));
    }
    router = router
        .merge(api::tasks::routes())
        .merge(api::files::routes())
        .merge(api::batches::routes())
        .merge(admin::routes())
        .merge(gemini_routes("/v1alpha"))
        .merge(gemini_routes("/v1beta"));
    router.fallback(api::fallback::not_found).method_not_allowed_fallback(api::fallback::method_not_allowed)
}

/// The routes of a version of Gemini's API that no other API uses. Its version `/v1` shares the
/// paths of models with OpenAI's API.
fn gemini_routes(version: &str) -> Router<Arc<AppState>> {
    Router::new()
        .route(&format!("{version}/models"), get(api::gemini::list))
        .route(&format!("{version}/models/{{*id}}"), get(api::gemini::show).post(api::gemini::generate))
}

/// The methods of one model. Below `/v1` it also has those of Gemini's API, whose clients use this
/// version by default.
fn model_methods(prefix: &str) -> MethodRouter<Arc<AppState>> {
    let show = get(api::models::show);
    if prefix == "/v1" { show.post(api::gemini::generate) } else { show }
}
