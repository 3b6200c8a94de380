//! Azure OpenAI and Vertex AI, as far as their documents describe them.

use std::sync::Arc;

use chat::ErrorKind;
use gateway::{Caller, Gateway, RawRequest, Router, Secret, Service, ServiceAccount, Upstream, UpstreamConfig};
use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::{FakeResponse, ReceivedRequest};
use testkit::transcripts::{Scenario, json_body, stream_response};
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::passthrough_helpers::{pass_through, read_response};
use crate::providers::{chat, collect_reply, primary};

fn cloud(fake: &FakeUpstream, path: &str, dialect: Dialect, service: Service) -> Gateway {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let base_url = format!("http://{}{path}", fake.address);
    let key = matches!(service, Service::Azure { .. }).then(|| Secret::new("azure-key"));
    let config =
        UpstreamConfig { name: "cloud".into(), preset: None, base_url, dialect, key, private: true, metrics: None };
    let upstream = Arc::new(Upstream::new(config).unwrap().with_service(service).unwrap());
    let mut router = Router::default();
    router.add_upstream(&upstream, &["m".into()], primary());
    Gateway::new(router, Arc::default())
}

/// A service account whose tokens the fake provider gives.
fn vertex(fake: &FakeUpstream) -> Service {
    let key_file = json!({
        "client_email": "robot@project.iam.gserviceaccount.com", "token_uri": format!("http://{}/token", fake.address),
        "private_key": include_str!("../../src/upstream/service/google_token/test_key.pem"),
    });
    Service::Vertex(Arc::new(ServiceAccount::parse(&key_file.to_string(), true).unwrap()))
}

/// A provider of a dialect, which gives tokens, too.
async fn provider(dialect: &'static str) -> FakeUpstream {
    FakeUpstream::start(move |received| match received.path.as_str() {
        "/token" => FakeResponse::json(200, json!({"access_token": "ya29.a-token", "expires_in": 3600})),
        path if path.contains("tream") || received.json()["stream"] == true => stream_response(dialect, Scenario::Text),
        _ => FakeResponse::json(200, json_body(dialect, Scenario::Text)),
    })
    .await
}

async fn answered(gateway: &Gateway) -> String {
    collect_reply(gateway.answer(&Caller::default(), chat("m")).await.unwrap()).await.unwrap().text
}

fn last(fake: &FakeUpstream) -> ReceivedRequest {
    fake.requests().pop().unwrap()
}

#[tokio::test]
async fn azure_has_deployments_in_its_paths_and_a_header_of_its_own() {
    let fake = provider("openai").await;
    let classic = Service::Azure { api_version: Some("2024-10-21".into()) };
    let gateway = cloud(&fake, "/openai", Dialect::OpenAi, classic);
    assert_eq!(answered(&gateway).await, "Hello, whale.");
    let received = last(&fake);
    assert_eq!(received.path, "/openai/deployments/m/chat/completions?api-version=2024-10-21");
    assert_eq!((received.header("api-key"), received.header("authorization")), (Some("azure-key"), None));
    assert_eq!(received.json()["messages"], json!([{"role": "user", "content": "hi"}]));
    // The same for forwarded bodies, of other endpoints too.
    for (endpoint, path) in [
        (ApiEndpoint::ChatCompletions, "/openai/deployments/m/chat/completions?api-version=2024-10-21"),
        (ApiEndpoint::Completions, "/openai/deployments/m/completions?api-version=2024-10-21"),
    ] {
        let body = r#"{"model":"m","messages":[],"prompt":"x","stream":true}"#;
        pass_through(&gateway, &Caller::default(), endpoint, body).await.unwrap().unwrap();
        assert_eq!(last(&fake).path, path);
    }
    let v1 = cloud(&fake, "/openai/v1", Dialect::OpenAi, Service::Azure { api_version: None });
    assert_eq!(answered(&v1).await, "Hello, whale.");
    let received = last(&fake);
    assert_eq!(
        (received.path.as_str(), received.header("api-key")),
        ("/openai/v1/chat/completions", Some("azure-key"))
    );
    let responses = provider("responses").await;
    let v1 = cloud(&responses, "/openai/v1", Dialect::Responses, Service::Azure { api_version: None });
    assert_eq!(answered(&v1).await, "Hello, whale.");
    assert_eq!(last(&responses).path, "/openai/v1/responses");
}

#[tokio::test]
async fn gemini_on_vertex_is_called_and_forwarded_with_the_token_of_a_service_account() {
    let fake = provider("gemini").await;
    let location = "/v1/projects/p/locations/us-central1";
    let gateway = cloud(&fake, location, Dialect::Gemini, vertex(&fake));
    assert_eq!(answered(&gateway).await, "Hello, whale.");
    let received = last(&fake);
    assert_eq!(received.path, format!("{location}/publishers/google/models/m:streamGenerateContent?alt=sse"));
    assert_eq!(received.header("authorization"), Some("Bearer ya29.a-token"));
    let bytes = r#"{"contents":[],"unknown":1}"#.into();
    let request =
        RawRequest { model_in_path: Some(("m", false)), ..RawRequest::new(ApiEndpoint::GenerateContent, &bytes) };
    let passed = gateway.passthrough(&Caller::default(), request).await.unwrap().unwrap();
    read_response(passed).await.unwrap();
    let received = last(&fake);
    assert_eq!(received.path, format!("{location}/publishers/google/models/m:generateContent"));
    assert_eq!(received.body, &bytes[..]);
    let tokens = fake.requests().iter().filter(|received| received.path == "/token").count();
    assert_eq!(tokens, 1);
}

#[tokio::test]
async fn claude_on_vertex_has_its_version_in_the_body_and_its_model_in_the_path() {
    let fake = provider("anthropic").await;
    let location = "/v1/projects/p/locations/global";
    let gateway = cloud(&fake, location, Dialect::Anthropic, vertex(&fake));
    assert_eq!(answered(&gateway).await, "Hello, whale.");
    let received = last(&fake);
    assert_eq!(received.path, format!("{location}/publishers/anthropic/models/m:streamRawPredict"));
    assert_eq!((received.header("authorization"), received.header("x-api-key")), (Some("Bearer ya29.a-token"), None));
    let body = received.json();
    assert_eq!((&body["anthropic_version"], &body["model"]), (&json!("vertex-2023-10-16"), &Value::Null));
    assert_eq!((&body["stream"], &body["max_tokens"]), (&json!(true), &json!(4096)));
    // A body for Anthropic has other fields, so it is converted.
    let body = r#"{"model":"m","max_tokens":5,"messages":[]}"#;
    assert!(pass_through(&gateway, &Caller::default(), ApiEndpoint::Messages, body).await.unwrap().is_none());
    // A whole answer has another method.
    let whole = chat::Chat { takes_whole: true, ..chat("m") };
    collect_reply(gateway.answer(&Caller::default(), whole).await.unwrap()).await.unwrap();
    assert_eq!(last(&fake).path, format!("{location}/publishers/anthropic/models/m:rawPredict"));
}

#[tokio::test]
async fn a_service_account_that_is_refused_is_a_failure_of_the_provider() {
    let fake = FakeUpstream::start(|_| FakeResponse::json(401, json!({"error": "invalid_client"}))).await;
    let gateway = cloud(&fake, "/v1/projects/p/locations/global", Dialect::Gemini, vertex(&fake));
    let error = gateway.answer(&Caller::default(), chat("m")).await.err();
    let error = match error {
        Some(error) => error,
        None => {
            let answer = gateway.answer(&Caller::default(), chat("m")).await.unwrap();
            collect_reply(answer).await.unwrap_err()
        }
    };
    assert_eq!(error.kind, ErrorKind::Upstream(502));
    assert!(error.message.contains("refused this server's credentials"), "{error}");
    assert!(fake.requests().iter().all(|received| received.path == "/token"));
}

#[test]
fn a_cloud_without_the_dialect_is_refused() {
    let config = UpstreamConfig {
        name: "x".into(),
        preset: None,
        base_url: "https://r.openai.azure.com/openai".into(),
        dialect: Dialect::Anthropic,
        key: None,
        private: false,
        metrics: None,
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let error = Upstream::new(config).unwrap().with_service(Service::Azure { api_version: None }).unwrap_err();
    assert_eq!(error.to_string(), "`service = \"azure\"` does not have its dialect");
}
