//! A body that passes: what it says, and what it becomes for each target. Both take as long as the
//! body is large, and so leave the threads that serve connections where it is.

use std::sync::Arc;

use bytes::Bytes;
use chat::{Error, ErrorKind};
use http::header::{CONTENT_TYPE, HeaderMap};
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::billing::billable_fields;
use crate::billing::usage_estimate::UsageEstimate;
use crate::memory::inflight_budget::{MemoryReservation, RequestMemory};
use crate::offload::{INLINE_MAX_BYTES, offload};
use crate::passthrough::request::RequestFields;
use crate::routing::prefix_affinity::PromptPrefix;
use crate::routing::target::{Backend, Target};
use crate::routing::thinking_mode::ThinkingMode;

/// Most bytes that changed fields add to a body.
const MAX_ADDED_BYTES: usize = 8 << 10;

/// The fields of a body by which a request is admitted and routed.
pub(crate) struct RoutingFields {
    pub(crate) model: Option<String>,
    /// Events are wanted,
    pub(crate) wants_stream: bool,
    /// and one of them for the usage.
    pub(crate) wants_usage: bool,
    /// Or why it has none, which is told to those who may ask.
    pub(crate) estimate: Result<UsageEstimate, Error>,
    pub(crate) prompt_prefix: Option<PromptPrefix>,
}

/// A body and what it says. One that is quick to scan is scanned once; of others, only what was
/// routing_fields for is kept.
pub(crate) struct ScannedBody<'a> {
    body: &'a Bytes,
    fields: Option<RequestFields<'a>>,
    memory: RequestMemory,
    pub(crate) routing_fields: RoutingFields,
}

impl<'a> ScannedBody<'a> {
    /// # Errors
    /// `Invalid` for what is no body of its kind.
    pub(crate) async fn scan(
        memory: &RequestMemory,
        endpoint: ApiEndpoint,
        headers: &HeaderMap,
        body: &'a Bytes,
    ) -> Result<Self, Error> {
        let memory = memory.clone();
        if body.len() <= INLINE_MAX_BYTES {
            let request_fields = RequestFields::scan(headers, body)?;
            let routing_fields = request_fields.routing_fields(endpoint, body);
            return Ok(Self { body, fields: Some(request_fields), memory, routing_fields });
        }
        let (headers, bytes) = (content_type_only(headers), body.clone());
        let scan = move || {
            let request_fields = RequestFields::scan(&headers, &bytes)?;
            let prompt_prefix = Some(request_fields.prompt_prefix());
            Ok(RoutingFields { prompt_prefix, ..request_fields.routing_fields(endpoint, &bytes) })
        };
        let routing_fields = offload(&memory, body.len(), scan).await?;
        Ok(Self { body, fields: None, memory, routing_fields })
    }

    pub(crate) fn take_prompt_prefix(&mut self) -> PromptPrefix {
        let scanned = self.fields.as_ref().map(RequestFields::prompt_prefix);
        self.routing_fields.prompt_prefix.take().or(scanned).unwrap_or_default()
    }

    /// The bodies for `targets`, of which that for the first is made now.
    ///
    /// # Errors
    /// As [`RequestMemory::reserve`].
    pub(crate) async fn rewrite_for(
        self,
        rewrite: BodyRewrite,
        headers: &HeaderMap,
        targets: &[Target],
    ) -> Result<TargetBodies, Error> {
        let model = targets[0].upstream_model.clone();
        let first = match &self.fields {
            Some(request_fields) => {
                rewrite_body(&rewrite, request_fields, self.body.clone(), &model, self.memory.empty_reservation())?
            }
            None => rewrite_offloaded(&self.memory, &rewrite, headers, self.body, &model).await?,
        };
        // Nearly always all of them call the model the same.
        let others = targets.iter().any(|target| target.upstream_model != model);
        let original = others.then(|| (self.body.clone(), content_type_only(headers), rewrite));
        Ok(TargetBodies { first, model, original, memory: self.memory })
    }
}

/// The header that says of which kind a body is.
fn content_type_only(headers: &HeaderMap) -> HeaderMap {
    headers.get(CONTENT_TYPE).map(|kind| (CONTENT_TYPE, kind.clone())).into_iter().collect()
}

async fn rewrite_offloaded(
    memory: &RequestMemory,
    rewrite: &BodyRewrite,
    headers: &HeaderMap,
    body: &Bytes,
    model: &Arc<str>,
) -> Result<Bytes, Error> {
    let reservation = memory.empty_reservation();
    let (headers, bytes, rewrite, model) = (content_type_only(headers), body.clone(), rewrite.clone(), model.clone());
    offload(memory, body.len(), move || {
        let request_fields = RequestFields::scan(&headers, &bytes)?;
        rewrite_body(&rewrite, &request_fields, bytes.clone(), &model, reservation)
    })
    .await
}

/// `body`, which says `request_fields`, for a target that calls the model so. Its memory is
/// reserved before it is copied.
///
/// # Errors
/// As [`RequestMemory::reserve`].
fn rewrite_body(
    rewrite: &BodyRewrite,
    request_fields: &RequestFields<'_>,
    body: Bytes,
    model: &str,
    mut reservation: MemoryReservation,
) -> Result<Bytes, Error> {
    let changes = rewrite.changes(request_fields, model);
    if changes.is_empty() {
        return Ok(body);
    }
    reservation.grow(body.len() + MAX_ADDED_BYTES)?;
    let rewritten = request_fields.apply(changes);
    reservation.resize(rewritten.len())?;
    Ok(reservation.attach_to(rewritten))
}

/// The fields of a body that policy changes: the model's name, the thinking mode of its id, the
/// request for usage, and the output bound that the budget sets.
#[derive(Clone)]
pub(crate) struct BodyRewrite {
    pub(crate) endpoint: ApiEndpoint,
    pub(crate) mode: ThinkingMode,
    pub(crate) stream: bool,
    pub(crate) output_cap: Option<OutputCap>,
}

/// The bound of an answer that money sets where the caller sets none.
#[derive(Clone, Copy)]
pub(crate) struct OutputCap {
    tokens: u64,
    /// The name of the field in chat completions.
    field: &'static str,
}

impl OutputCap {
    pub(crate) fn new(tokens: Option<u64>, targets: &[Target]) -> Option<Self> {
        let openai = |target: &Target| matches!(&target.backend, Backend::Remote(upstream) if upstream.dialect() == Dialect::OpenAi);
        let field = if targets.iter().all(openai) { "max_completion_tokens" } else { "max_tokens" };
        Some(Self { tokens: tokens?, field })
    }

    /// The fields that are to say it: those that are there, else the one that the provider knows.
    fn field_values(self, endpoint: ApiEndpoint, request_fields: &RequestFields<'_>) -> Vec<(&'static str, String)> {
        let present =
            ["max_tokens", "max_completion_tokens"].into_iter().filter(|field| request_fields.has_field(field));
        let mut fields: Vec<_> = present.collect();
        if fields.is_empty() {
            fields.push(if endpoint == ApiEndpoint::ChatCompletions { self.field } else { "max_tokens" });
        }
        fields.into_iter().map(|field| (field, self.tokens.to_string())).collect()
    }
}

/// The changes of a body for one target.
#[derive(Default)]
pub(crate) struct BodyChanges<'a> {
    /// The target's name for the model, where the body names another.
    pub(crate) model: Option<&'a str>,
    /// Fields of JSON and their new values, as JSON.
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl BodyChanges<'_> {
    fn is_empty(&self) -> bool {
        self.model.is_none() && self.fields.is_empty()
    }
}

impl BodyRewrite {
    /// The changes for a target that calls the model so.
    fn changes<'a>(&self, request_fields: &RequestFields<'_>, model: &'a str) -> BodyChanges<'a> {
        let RequestFields::Json(fields) = request_fields else {
            return BodyChanges { model: request_fields.model_change(model), ..BodyChanges::default() };
        };
        // The path of this one says all else of it. A configuration that is none
        // was refused before.
        if self.endpoint == ApiEndpoint::GenerateContent {
            let bound = self
                .output_cap
                .and_then(|output_cap| billable_fields::gemini_output_limit(fields, output_cap.tokens).ok());
            return BodyChanges { model: None, fields: bound.into_iter().collect() };
        }
        BodyChanges {
            model: request_fields.model_change(model),
            fields: self.target_independent_changes(request_fields),
        }
    }

    /// The fields that change whatever the target is.
    fn target_independent_changes(&self, request_fields: &RequestFields<'_>) -> Vec<(&'static str, String)> {
        let mut changes = Vec::new();
        match self.mode {
            ThinkingMode::Always => changes.push(("thinking", r#"{"type":"enabled"}"#.into())),
            ThinkingMode::Never => changes.push(("thinking", r#"{"type":"disabled"}"#.into())),
            _ => {}
        }
        changes.extend(
            self.output_cap.into_iter().flat_map(|output_cap| output_cap.field_values(self.endpoint, request_fields)),
        );
        if self.stream && self.endpoint.is_completions() {
            let mut options = request_fields.short_value("stream_options").unwrap_or_else(|| serde_json::json!({}));
            if options.is_object() && options["include_usage"] != true {
                options["include_usage"] = true.into();
                changes.push(("stream_options", options.to_string()));
            }
        }
        changes
    }
}

/// The body for each target: made for the first, and for others when they are asked.
pub(crate) struct TargetBodies {
    first: Bytes,
    /// The first target's name for the model.
    model: Arc<str>,
    original: Option<(Bytes, HeaderMap, BodyRewrite)>,
    memory: RequestMemory,
}

impl TargetBodies {
    /// # Errors
    /// As [`RequestMemory::reserve`].
    pub(crate) async fn for_target(&self, target: &Target) -> Result<Bytes, Error> {
        match &self.original {
            Some((body, headers, rewrite)) if target.upstream_model != self.model => {
                rewrite_offloaded(&self.memory, rewrite, headers, body, &target.upstream_model).await
            }
            _ => Ok(self.first.clone()),
        }
    }
}

/// Whether the body is malformed: its parser then returns the documented error.
pub(crate) fn is_malformed(error: &Error) -> bool {
    error.kind == ErrorKind::InvalidRequest
}
