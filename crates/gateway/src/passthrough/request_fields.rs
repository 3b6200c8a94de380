//! The fields of a request body that policy reads, and the changes that it makes to a body. All
//! other bytes stay as they are.

use bytes::Bytes;
use chat::Error;
use http::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;
use wire::passthrough::ApiEndpoint;
use wire::passthrough::json_fields::JsonFields;
use wire::passthrough::multipart_fields::MultipartFields;
use wire::surface::responses::has_own_summary;

use crate::billing::usage_estimate::UsageEstimate;
use crate::routing::prefix_affinity::PromptPrefix;
use crate::routing::target::Target;

/// Most bytes of a value that policy reads, and most characters of a model id.
pub(crate) const MAX_INSPECTED_VALUE_BYTES: usize = 4 << 10;
const MAX_MODEL_CHARS: usize = 512;

/// The fields of a body.
pub(crate) enum RequestFields<'a> {
    Json(JsonFields<'a>),
    Form(MultipartFields<'a>),
}

/// The fields by which a request is admitted and routed.
pub(crate) struct RoutingFields {
    pub(crate) model: Option<String>,
    /// Whether the answer is to be a stream of events.
    pub(crate) wants_stream: bool,
    /// Whether there is an object `cachalot`, which no provider may see.
    pub(crate) is_local_only: bool,
    /// Whether one of the events is to be the usage.
    pub(crate) wants_usage: bool,
    /// Whether the body must be parsed, although the providers have the endpoint.
    pub(crate) needs_parser: bool,
    /// The estimate, or why there is none. The error is returned after the checks of model and key.
    pub(crate) estimate: Result<UsageEstimate, Error>,
    pub(crate) prompt_prefix: Option<PromptPrefix>,
    pub(crate) end_user: Option<String>,
}

/// The changes of a body for one target.
#[derive(Default)]
pub(crate) struct BodyChanges<'a> {
    /// The target's name for the model, if the body has another.
    pub(crate) model: Option<&'a str>,
    /// JSON fields, and their new values as JSON text; `None` for one that is removed.
    pub(crate) fields: Vec<(String, Option<String>)>,
}

impl BodyChanges<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.model.is_none() && self.fields.is_empty()
    }
}

impl<'a> RequestFields<'a> {
    /// Scans a body: a form if the content type is `multipart/...`, else JSON.
    ///
    /// # Errors
    /// `Invalid` for a malformed body.
    pub(crate) fn scan(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Error> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        match content_type.filter(|value| value.starts_with("multipart/")) {
            Some(content_type) => MultipartFields::scan(content_type, body).map(Self::Form),
            None => JsonFields::scan(body).map(Self::Json),
        }
    }

    /// The value of a text field.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        match self {
            Self::Json(fields) => fields.text(key),
            Self::Form(form) => form.text(key),
        }
    }

    /// Returns `body`, whose fields these are, with the target's name for the model.
    pub(crate) fn with_target_model(&self, body: &Bytes, target: &Target) -> Bytes {
        let model = self.model_change(&target.upstream_model);
        if model.is_none() {
            return body.clone();
        }
        self.apply(BodyChanges { model, ..BodyChanges::default() }).into()
    }

    /// Returns `model`, unless the body has this model already.
    pub(super) fn model_change<'m>(&self, model: &'m str) -> Option<&'m str> {
        (self.text("model").as_deref() != Some(model)).then_some(model)
    }

    /// Returns the body with these changes. In a form, only the model can change.
    pub(crate) fn apply(&self, changes: BodyChanges<'_>) -> Vec<u8> {
        let BodyChanges { model, mut fields } = changes;
        match self {
            Self::Json(json) => {
                if let Some(model) = model {
                    fields.insert(0, ("model".into(), Some(Value::from(model).to_string())));
                }
                json.with_edits(&fields)
            }
            Self::Form(form) => form.with_value("model", model.unwrap_or_default()),
        }
    }

    /// The bytes of a JSON field.
    fn json_field(&self, key: &str) -> Option<&'a [u8]> {
        match self {
            Self::Json(fields) => fields.get(key),
            Self::Form(_) => None,
        }
    }

    /// The value of a JSON field; `None` if it is absent, null, or longer than
    /// [`MAX_INSPECTED_VALUE_BYTES`].
    pub(crate) fn short_value(&self, key: &str) -> Option<Value> {
        let raw = self.json_field(key).filter(|raw| raw.len() <= MAX_INSPECTED_VALUE_BYTES)?;
        serde_json::from_slice(raw).ok().filter(|value: &Value| !value.is_null())
    }

    /// Reads the fields by which the request is admitted and routed, without the prompt prefix.
    pub(crate) fn routing_fields(&self, endpoint: ApiEndpoint, body: &[u8]) -> RoutingFields {
        RoutingFields {
            // No model has a longer id.
            model: self.text("model").map(|name| name.chars().take(MAX_MODEL_CHARS).collect()),
            wants_stream: self.wants_stream(),
            is_local_only: self.has_json_field("cachalot"),
            wants_usage: self.short_value("stream_options").is_some_and(|options| options["include_usage"] == true),
            needs_parser: endpoint == ApiEndpoint::Responses && self.needs_responses_parser(),
            estimate: self.usage_estimate(endpoint, body),
            prompt_prefix: None,
            end_user: self.end_user(),
        }
    }

    /// Whether a response needs state of the provider, which belongs to no caller and is not
    /// billed, or continues a compaction of this server, which no provider can read.
    fn needs_responses_parser(&self) -> bool {
        let is_set = |key: &&str| self.json_field(key).is_some_and(|value| value != b"null" && value != b"false");
        ["previous_response_id", "conversation", "background"].iter().any(is_set)
            || self.json_field("input").is_some_and(has_own_summary)
    }

    /// The name of the caller's end user, in the field of any dialect.
    pub(crate) fn end_user(&self) -> Option<String> {
        let in_metadata = || Some(self.short_value("metadata")?.get("user_id")?.as_str()?.to_owned());
        self.text("user_id").or_else(|| self.text("user")).or_else(in_metadata)
    }

    /// The prefix of the prompt, for prefix affinity.
    pub(super) fn prompt_prefix(&self) -> PromptPrefix {
        let prompt_fields = [
            "systemInstruction",
            "system_instruction",
            "system",
            "instructions",
            "contents",
            "messages",
            "prompt",
            "input",
        ];
        PromptPrefix::hash(prompt_fields.iter().filter_map(|key| self.json_field(key)))
    }

    fn wants_stream(&self) -> bool {
        match self {
            Self::Json(fields) => fields.get("stream") == Some(b"true"),
            Self::Form(form) => form.text("stream").is_some_and(|stream| stream == "true"),
        }
    }
}

/// The headers that decide how a body is scanned.
pub(super) fn content_type_only(headers: &HeaderMap) -> HeaderMap {
    headers.get(CONTENT_TYPE).map(|value| (CONTENT_TYPE, value.clone())).into_iter().collect()
}
