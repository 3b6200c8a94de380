//! Providers that are part of a cloud.

use http::header::{HeaderName, HeaderValue};
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use super::Upstream;
use crate::upstream::config::UpstreamError;
use crate::upstream::service::Service;

impl Upstream {
    /// Makes the provider one of a cloud.
    ///
    /// # Errors
    /// A dialect that the cloud does not have.
    pub fn with_service(mut self, service: Service) -> Result<Self, UpstreamError> {
        let dialect = self.dialect();
        let (name, is_supported) = match &service {
            Service::Azure { .. } => ("azure", dialect.has_openai_endpoints()),
            Service::Vertex(_) => ("vertex", matches!(dialect, Dialect::Gemini | Dialect::Anthropic)),
            Service::Bedrock(_) => ("bedrock", dialect == Dialect::Bedrock),
        };
        if !is_supported {
            return Err(UpstreamError::Service(name));
        }
        let (header, prefix) = dialect.credential_header();
        if let Some(value) = self.headers.remove(header)
            && let Service::Azure { .. } = &service
        {
            let key = value.as_bytes().strip_prefix(prefix.as_bytes()).unwrap_or_default();
            let mut value = HeaderValue::from_bytes(key).map_err(|_| UpstreamError::Key)?;
            value.set_sensitive(true);
            self.headers.insert(HeaderName::from_static("api-key"), value);
        }
        self.service = Some(service);
        Ok(self)
    }

    /// The path and the query of a chat of `model`.
    pub(super) fn chat_path(&self, model: &str, stream: bool) -> (String, Option<String>) {
        match &self.service {
            Some(service) => service.chat_path(self.dialect(), model, stream),
            None => {
                let (path, query) = self.dialect().chat_path(model, stream);
                (path, query.map(str::to_owned))
            }
        }
    }

    /// The path and the query of a request that is forwarded to `endpoint`.
    pub(super) fn request_path(&self, endpoint: ApiEndpoint, model: &str, stream: bool) -> (String, Option<String>) {
        match (&self.service, endpoint) {
            (Some(service), ApiEndpoint::ChatCompletions | ApiEndpoint::Responses | ApiEndpoint::GenerateContent) => {
                service.chat_path(self.dialect(), model, stream)
            }
            (Some(service), _) => service.endpoint_path(endpoint.path(), model),
            (None, _) => self.chat_path(model, stream),
        }
    }

    /// Whether bodies of this endpoint can be forwarded to the provider.
    pub(crate) fn forwards(&self, endpoint: ApiEndpoint) -> bool {
        // A body for Claude on Vertex AI has other fields than one for Anthropic.
        let has_other_body = endpoint == ApiEndpoint::Messages && matches!(self.service, Some(Service::Vertex(_)));
        endpoint.is_supported_by(self.dialect()) && !has_other_body
    }
}
