use std::sync::Arc;

use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};

use super::*;

/// A key that only these tests have.
const TEST_KEY: &str = include_str!("test_key.pem");

fn key_file(token_uri: &str) -> String {
    json!({
        "type": "service_account", "project_id": "project", "private_key_id": "key-1", "private_key": TEST_KEY,
        "client_email": "robot@project.iam.gserviceaccount.com", "token_uri": token_uri,
    })
    .to_string()
}

fn client() -> PooledHttpClient {
    let _ = rustls::crypto::ring::default_provider().install_default();
    PooledHttpClient::new(true).unwrap()
}

/// The signature was made by OpenSSL: `openssl dgst -sha256 -sign test_key.pem`.
#[test]
fn an_assertion_is_signed_as_by_openssl() {
    let account = ServiceAccount::parse(&key_file("https://oauth2.googleapis.com/token"), false).unwrap();
    let assertion = account.assertion(UNIX_EPOCH + Duration::from_secs(1_440_938_160)).unwrap();
    let parts: Vec<&str> = assertion.split('.').collect();
    assert_eq!(
        parts,
        [
            "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImtleS0xIn0",
            "eyJpc3MiOiJyb2JvdEBwcm9qZWN0LmlhbS5nc2VydmljZWFjY291bnQuY29tIiwic2NvcGUiOiJodHRwczovL3d3dy5nb29nbGVhcGlzLmNvbS9hdXRoL2Nsb3VkLXBsYXRmb3JtIiwiYXVkIjoiaHR0cHM6Ly9vYXV0aDIuZ29vZ2xlYXBpcy5jb20vdG9rZW4iLCJleHAiOjE0NDA5NDE3NjAsImlhdCI6MTQ0MDkzODE2MH0",
            "oI8zhISicrGytgc3zlK2FZ-CDvAo0LWRuyXWQYc6Urb5mfDCabOkEz48VJlUkZfPU2A_VGoEj0spjqVe1sTdk8pwGmNwY0Iu4sTfUqED2D2RTSS3257X3682B9K_dWUnAchBK4im7I6qezaxoInf9EgLsY7uZUJOrj_TSm04ah35zaBmjfvE0HNh55ffzgZ5nTNT8CT8i6fUNcgmcCvSx6WxnkGu0eCvT2dkGdoZbmuuM9e3poyZN0Srsn446uH3wlYrYf5E5xz84E7m2hgTFgCWYq2nsmzBZFaIrw_OIS6EhZ-EaMbx3D7MoDxlxRbbyFk8DU0aLKk35vhNHQFUGA",
        ]
    );
}

#[tokio::test]
async fn a_token_is_obtained_once_for_many_requests_and_again_before_it_ends() {
    let fake = FakeUpstream::start(|received| {
        let lifetime = if received.path == "/short" { 200 } else { 3600 };
        let body = json!({"access_token": "ya29.of-the-account", "expires_in": lifetime, "token_type": "Bearer"});
        let answer = FakeResponse::json(200, body);
        let steps = [BodyStep::Wait(Duration::from_millis(30))].into_iter().chain(answer.steps).collect();
        FakeResponse { steps, ..answer }
    })
    .await;
    let address = |path: &str| format!("http://{}{path}", fake.address);
    let account = Arc::new(ServiceAccount::parse(&key_file(&address("/token")), true).unwrap());
    let client = client();
    let requests = (0..8).map(|_| account.authorization(&client, "vertex"));
    for header in futures_util::future::join_all(requests).await {
        let header = header.unwrap();
        assert_eq!((header.to_str().unwrap(), header.is_sensitive()), ("Bearer ya29.of-the-account", true));
    }
    assert_eq!(fake.requests().len(), 1);
    let received = &fake.requests()[0];
    assert_eq!(received.header("content-type"), Some("application/x-www-form-urlencoded"));
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&received.body).into_owned().collect();
    assert_eq!(form[0], ("grant_type".into(), "urn:ietf:params:oauth:grant-type:jwt-bearer".into()));
    assert_eq!((form[1].0.as_str(), form[1].1.split('.').count()), ("assertion", 3));

    let short = ServiceAccount::parse(&key_file(&address("/short")), true).unwrap();
    for _ in 0..2 {
        let header = short.authorization(&client, "vertex").await.unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer ya29.of-the-account", "the same token again");
    }
    assert_eq!(fake.requests().len(), 3, "it ends within five minutes");
}

#[tokio::test]
async fn a_refusal_is_repeated_without_another_request_and_has_no_secret() {
    let fake = FakeUpstream::start(|received| match received.path.as_str() {
        "/odd" => FakeResponse::json(200, json!({"token": 1})),
        _ => FakeResponse::json(400, json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."})),
    })
    .await;
    let client = client();
    for (path, words) in [("/token", "refused this server's credentials"), ("/odd", "no access token")] {
        let account = ServiceAccount::parse(&key_file(&format!("http://{}{path}", fake.address)), true).unwrap();
        for _ in 0..3 {
            let error = account.authorization(&client, "vertex").await.unwrap_err();
            assert!(error.message.contains(words), "{error}");
        }
        assert!(!format!("{account:?}").contains("PRIVATE"));
    }
    assert_eq!(fake.requests().len(), 2);
}

#[test]
fn a_key_file_that_cannot_be_used_is_named_without_its_key() {
    let whole = key_file("https://oauth2.googleapis.com/token");
    let odd_key = whole.replace("-----BEGIN PRIVATE KEY-----\\n", "-----BEGIN PRIVATE KEY-----\\nAAAA");
    for (text, words) in [
        ("{}".to_owned(), "client_email"),
        ("not json".into(), "client_email"),
        (odd_key, "private_key"),
        (key_file("http://oauth2.googleapis.com/token"), "token_uri"),
        (key_file("file:///etc/passwd"), "token_uri"),
    ] {
        let error = ServiceAccount::parse(&text, false).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("AAAA"), "{error}");
    }
}
