//! The route table.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use wire::passthrough::ApiEndpoint;

use crate::admin;
use crate::api;
use crate::api::media::route as media;
use crate::app::AppState;
use crate::body::BodyType;
use crate::metrics;

/// The routes of every API, and the fallbacks for unknown paths and methods.
pub(crate) fn routes() -> Router<Arc<AppState>> {
    let mut router = Router::new()
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
            .route(&format!("{prefix}/images/generations"), media(ApiEndpoint::ImageGenerations, BodyType::Json))
            .route(&format!("{prefix}/images/edits"), media(ApiEndpoint::ImageEdits, BodyType::Multipart))
            .route(&format!("{prefix}/audio/speech"), media(ApiEndpoint::Speech, BodyType::Json))
            .route(&format!("{prefix}/audio/transcriptions"), media(ApiEndpoint::Transcriptions, BodyType::Multipart))
            .route(&format!("{prefix}/audio/translations"), media(ApiEndpoint::Translations, BodyType::Multipart))
            .route(&format!("{prefix}/responses"), post(api::responses::create))
            .route(
                &format!("{prefix}/responses/{{id}}"),
                get(api::responses::not_stored).delete(api::responses::not_stored),
            )
            .route(&format!("{prefix}/user/balance"), get(api::balance::show))
            .route(&format!("{prefix}/models"), get(api::models::list))
            .route(&format!("{prefix}/models/{{*id}}"), get(api::models::show));
    }
    for prefix in ["/v1", "/anthropic/v1"] {
        router = router
            .route(&format!("{prefix}/messages"), post(api::messages::create))
            .route(&format!("{prefix}/messages/count_tokens"), post(api::messages::count_tokens));
    }
    router = router
        .merge(api::tasks::routes())
        .merge(admin::routes())
        .route("/v1beta/models", get(api::gemini::list))
        .route("/v1beta/models/{*id}", get(api::gemini::show).post(api::gemini::generate));
    router.fallback(api::fallback::not_found).method_not_allowed_fallback(api::fallback::method_not_allowed)
}
