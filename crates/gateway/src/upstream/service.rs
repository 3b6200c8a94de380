//! Clouds that serve the models of others: their addresses, their credentials, and what of a body
//! differs from the dialect's own service.

pub(crate) mod google_token;
pub(crate) mod sigv4;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use chat::Error;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use wire::passthrough::json_fields::JsonFields;
use wire::upstream::Dialect;

use crate::offload::run_in_place;
use crate::upstream::http_client::PooledHttpClient;
use google_token::ServiceAccount;
use sigv4::{AwsCredentials, RequestSigner, UnsignedRequest};

/// The version of Anthropic's API that Vertex AI requires in a body.
const VERTEX_ANTHROPIC_VERSION: &str = "vertex-2023-10-16";

/// A cloud, and what its requests need beside those of the dialect.
#[derive(Clone, Debug)]
pub enum Service {
    /// Azure OpenAI. With an API version, a model is a deployment, whose name is in the path.
    Azure { api_version: Option<String> },
    /// Vertex AI of Google Cloud, with Gemini's or Anthropic's dialect.
    Vertex(Arc<ServiceAccount>),
    /// Amazon Bedrock, whose requests are signed.
    Bedrock(Arc<RequestSigner>),
}

impl Service {
    /// Amazon Bedrock in a region.
    pub fn bedrock(credentials: AwsCredentials, region: String) -> Self {
        Self::Bedrock(Arc::new(RequestSigner { credentials, region, service: "bedrock" }))
    }

    /// Whether it signs requests, or obtains tokens for them.
    pub(super) fn has_credential(&self) -> bool {
        matches!(self, Self::Vertex(_) | Self::Bedrock(_))
    }

    /// The path and the query of a chat of `model`, where they are not those of the dialect.
    pub(super) fn chat_path(&self, dialect: Dialect, model: &str, stream: bool) -> (String, Option<String>) {
        let (path, query) = dialect.chat_path(model, stream);
        let query = query.map(str::to_owned);
        match self {
            Self::Azure { .. } => self.endpoint_path(&path, model),
            Self::Bedrock(_) => (path, query),
            Self::Vertex(_) if dialect == Dialect::Anthropic => {
                let method = if stream { "streamRawPredict" } else { "rawPredict" };
                (format!("publishers/anthropic/models/{model}:{method}"), query)
            }
            Self::Vertex(_) => (format!("publishers/google/{path}"), query),
        }
    }

    /// The path and the query of another endpoint of `model`.
    pub(super) fn endpoint_path(&self, path: &str, model: &str) -> (String, Option<String>) {
        match self {
            Self::Azure { api_version: Some(version) } => {
                (format!("deployments/{model}/{path}"), Some(format!("api-version={version}")))
            }
            Self::Azure { api_version: None } | Self::Vertex(_) | Self::Bedrock(_) => (path.to_owned(), None),
        }
    }

    /// Adds the credential of a request that is ready otherwise.
    ///
    /// # Errors
    /// `Upstream` or `Timeout` when a token cannot be obtained.
    pub(super) async fn authorize<B>(
        &self,
        client: &PooledHttpClient,
        provider: &str,
        request: &mut Request<B>,
        body: &Bytes,
    ) -> Result<(), Error> {
        match self {
            // Its key is among the headers of every request.
            Self::Azure { .. } => {}
            Self::Vertex(account) => {
                let token = account.authorization(client, provider).await?;
                request.headers_mut().insert(AUTHORIZATION, token);
            }
            Self::Bedrock(signer) => sign(signer, request, body)?,
        }
        Ok(())
    }
}

/// Signs a request whose other headers are there.
fn sign<B>(signer: &RequestSigner, request: &mut Request<B>, body: &Bytes) -> Result<(), Error> {
    let unsignable = |_| Error::internal("a request cannot be signed: a header is not text");
    let host = request.uri().authority().map_or("", |authority| authority.as_str()).to_owned();
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let headers: Vec<(&str, &str)> =
        content_type.map(|value| ("content-type", value)).into_iter().chain([("host", host.as_str())]).collect();
    let unsigned = UnsignedRequest {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        headers: &headers,
        body,
    };
    // The hash of a large body takes milliseconds.
    let signed = run_in_place(body.len(), || signer.sign(&unsigned, SystemTime::now()));
    let mut authorization = HeaderValue::try_from(signed.authorization).map_err(unsignable)?;
    authorization.set_sensitive(true);
    let date = HeaderValue::try_from(signed.date).map_err(unsignable)?;
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(HeaderName::from_static("x-amz-date"), date);
    if let Some(token) = &signer.credentials.session_token {
        let mut token = HeaderValue::try_from(token.expose()).map_err(unsignable)?;
        token.set_sensitive(true);
        headers.insert(HeaderName::from_static("x-amz-security-token"), token);
    }
    Ok(())
}

/// The body of a chat as `service` takes it.
///
/// # Errors
/// `Internal` for a body that is not an object.
pub(super) fn adapt_body(service: Option<&Service>, dialect: Dialect, body: Vec<u8>) -> Result<Vec<u8>, Error> {
    let (Some(Service::Vertex(_)), Dialect::Anthropic) = (service, dialect) else { return Ok(body) };
    let fields = JsonFields::scan(&body)
        .map_err(|error| Error::internal(format!("a request is not an object: {}", error.message)))?;
    // The path has the model.
    Ok(fields.with_edits(&[
        ("model".into(), None),
        ("anthropic_version".into(), Some(format!("\"{VERTEX_ANTHROPIC_VERSION}\""))),
    ]))
}
