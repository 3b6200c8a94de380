//! Providers that require a key and have none: what the operator reads, and what callers get.

use std::sync::Arc;

use chat::ErrorKind;
use gateway::{Caller, Gateway, RawRequest, Router, Service, Upstream, UpstreamConfig};
use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::providers::{chat, collect_reply, primary};

fn keyless(fake: &FakeUpstream, dialect: Dialect, service: Option<Service>) -> Arc<Upstream> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = UpstreamConfig {
        name: "acme".into(),
        preset: None,
        base_url: format!("http://{}/v1", fake.address),
        dialect,
        key: None,
        private: true,
        metrics: None,
    };
    let upstream = Upstream::new(config).unwrap();
    Arc::new(match service {
        Some(service) => upstream.with_service(service).unwrap(),
        None => upstream,
    })
}

async fn refusing(status: u16) -> FakeUpstream {
    FakeUpstream::start(move |_| {
        FakeResponse::json(status, json!({"error": {"message": "no key"}, "message": "no key"}))
    })
    .await
}

fn gateway_to(upstream: &Arc<Upstream>) -> Gateway {
    let mut router = Router::default();
    router.add_upstream(upstream, &["m".into()], primary());
    Gateway::new(router, Arc::default())
}

#[tokio::test]
async fn callers_get_a_neutral_error_from_every_dialect() {
    let azure = Service::Azure { api_version: Some("2024-10-21".into()) };
    for (dialect, service) in [
        (Dialect::OpenAi, None),
        (Dialect::OpenAi, Some(azure)),
        (Dialect::DeepSeek, None),
        (Dialect::Responses, None),
        (Dialect::Anthropic, None),
        (Dialect::Gemini, None),
        (Dialect::Bedrock, None),
    ] {
        for status in [401, 403] {
            let fake = refusing(status).await;
            let gateway = gateway_to(&keyless(&fake, dialect, service.clone()));
            let error = match gateway.answer(&Caller::default(), chat("m")).await {
                Ok(answer) => collect_reply(answer).await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error.kind, ErrorKind::Overloaded, "{dialect:?}: {error}");
            assert!(error.message.ends_with("is not available right now"), "{dialect:?}: {error}");
        }
    }
    // A forwarded request gets the same.
    let fake = refusing(401).await;
    let gateway = gateway_to(&keyless(&fake, Dialect::OpenAi, None));
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#.to_owned().into();
    let raw = RawRequest::new(ApiEndpoint::ChatCompletions, &body);
    let error = match gateway.passthrough(&Caller::default(), raw).await {
        Ok(request) => crate::passthrough_helpers::read_response(request.unwrap()).await.map(|_| ()).unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
}

#[tokio::test]
async fn the_test_of_a_provider_says_what_is_missing() {
    for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini] {
        let fake = refusing(401).await;
        let result = keyless(&fake, dialect, None).test().await.unwrap();
        let error = result.error.clone().unwrap();
        assert!(error.contains("no API key is configured") && error.contains("`acme`"), "{error}");
        assert!(error.contains("`key_env`") && !result.succeeded() && result.key_good.is_none(), "{error}");
    }
}
