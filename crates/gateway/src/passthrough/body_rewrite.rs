//! The changes that policy makes to a body, and the resulting body for each target.

use std::sync::Arc;

use bytes::Bytes;
use chat::Error;
use http::header::HeaderMap;
use serde_json::json;
use wire::model_rules::{RequestOrigin, RequestRules};
use wire::passthrough::ApiEndpoint;
use wire::passthrough::body_editor::BodyEditor;
use wire::upstream::Dialect;

use crate::billing::billable_fields;
use crate::memory::inflight_budget::{MemoryReservation, RequestMemory};
use crate::offload::offload;
use crate::passthrough::request_fields::{BodyChanges, RequestFields, content_type_only};
use crate::routing::target::{Backend, Target};
use crate::routing::thinking_mode::ThinkingMode;
use crate::upstream::shared_notes::SharedNotes;

/// Most bytes that changed fields add to a body.
const MAX_ADDED_BYTES: usize = 8 << 10;

/// The fields of a body that change: the model, the thinking mode of its id, the request for usage,
/// the output cap that the budget sets, and what the model does not take.
#[derive(Clone)]
pub(crate) struct BodyRewrite {
    pub(crate) endpoint: ApiEndpoint,
    pub(crate) thinking_mode: ThinkingMode,
    pub(crate) stream: bool,
    pub(crate) output_cap: Option<OutputCap>,
}

/// The limit of an answer that the budget sets if the caller sets none.
#[derive(Clone, Copy)]
pub(crate) struct OutputCap {
    tokens: u64,
    /// The name of the field in chat completions.
    field: &'static str,
}

impl OutputCap {
    /// The cap of `tokens` for these targets.
    pub(super) fn new(tokens: Option<u64>, targets: &[Target]) -> Option<Self> {
        let is_openai = |target: &Target| matches!(&target.backend, Backend::Remote(upstream) if upstream.dialect() == Dialect::OpenAi);
        let field = if targets.iter().all(is_openai) { "max_completion_tokens" } else { "max_tokens" };
        Some(Self { tokens: tokens?, field })
    }

    /// The fields that carry the cap: those that the body has, else the one that the provider
    /// supports.
    fn field_values(self, endpoint: ApiEndpoint, request_fields: &RequestFields<'_>) -> Vec<(&'static str, String)> {
        if endpoint == ApiEndpoint::Responses {
            return vec![("max_output_tokens", self.tokens.to_string())];
        }
        let present =
            ["max_tokens", "max_completion_tokens"].into_iter().filter(|field| request_fields.has_json_field(field));
        let mut fields: Vec<_> = present.collect();
        if fields.is_empty() {
            fields.push(if endpoint == ApiEndpoint::ChatCompletions { self.field } else { "max_tokens" });
        }
        fields.into_iter().map(|field| (field, self.tokens.to_string())).collect()
    }
}

/// The properties of a target on which the body depends.
#[derive(Clone, PartialEq)]
pub(crate) struct TargetModel {
    /// The target's name for the model.
    pub(crate) name: Arc<str>,
    dialect: Dialect,
    rules: Arc<RequestRules>,
}

impl TargetModel {
    /// The model of a target, which is remote.
    ///
    /// # Errors
    /// `Internal` for the local engine.
    pub(crate) fn of(target: &Target) -> Result<Self, Error> {
        let Backend::Remote(upstream) = &target.backend else {
            return Err(Error::internal("the local engine takes no part in passthrough"));
        };
        let (name, rules) = (target.upstream_model.clone(), target.rules.clone());
        Ok(Self { name, dialect: upstream.dialect(), rules })
    }

    /// A model of OpenAI's dialect without rules.
    #[cfg(test)]
    pub(crate) fn for_tests(name: &str) -> Self {
        Self { name: name.into(), dialect: Dialect::OpenAi, rules: Arc::default() }
    }
}

impl BodyRewrite {
    /// The changes for a target, and the notes on them.
    pub(crate) fn changes<'a>(
        &self,
        request_fields: &RequestFields<'_>,
        target: &'a TargetModel,
    ) -> (BodyChanges<'a>, Vec<String>) {
        let RequestFields::Json(fields) = request_fields else {
            return (
                BodyChanges { model: request_fields.model_change(&target.name), ..BodyChanges::default() },
                vec![],
            );
        };
        let mut editor = BodyEditor::new(fields);
        // Gemini's path has the model and whether the answer is a stream. A malformed configuration
        // was refused before.
        let is_gemini = self.endpoint == ApiEndpoint::GenerateContent;
        let changes = if is_gemini {
            let limit = self.output_cap.and_then(|output_cap| {
                billable_fields::gemini_config_with_output_limit(fields, output_cap.tokens).ok()
            });
            limit.into_iter().collect()
        } else {
            self.target_independent_changes(request_fields)
        };
        changes.into_iter().for_each(|(name, value)| editor.set(name, value));
        let notes = if self.is_for_chat() {
            target.rules.apply(target.dialect, RequestOrigin::Forwarded, &mut editor).into_notes()
        } else {
            Vec::new()
        };
        let model = if is_gemini { None } else { request_fields.model_change(&target.name) };
        (BodyChanges { model, fields: editor.into_changes() }, notes)
    }

    /// Whether the rows of models are about this endpoint.
    fn is_for_chat(&self) -> bool {
        use ApiEndpoint::{ChatCompletions, GenerateContent, Messages, Responses};
        matches!(self.endpoint, ChatCompletions | Responses | Messages | GenerateContent)
    }

    /// The bytes that changes add to a body of this length.
    fn max_added_bytes(&self, length: usize, target: &TargetModel) -> usize {
        // Changed messages are in memory beside the body.
        let messages = if self.is_for_chat() && target.rules.may_change_messages() { length } else { 0 };
        messages + MAX_ADDED_BYTES
    }

    /// The changes that are the same for every target.
    fn target_independent_changes(&self, request_fields: &RequestFields<'_>) -> Vec<(&'static str, String)> {
        let mut changes = Vec::new();
        match self.thinking_mode {
            ThinkingMode::Always => changes.push(("thinking", r#"{"type":"enabled"}"#.into())),
            ThinkingMode::Never => changes.push(("thinking", r#"{"type":"disabled"}"#.into())),
            _ => {}
        }
        changes.extend(
            self.output_cap.into_iter().flat_map(|output_cap| output_cap.field_values(self.endpoint, request_fields)),
        );
        if self.stream && self.endpoint.is_completions() {
            let mut options = request_fields.short_value("stream_options").unwrap_or_else(|| json!({}));
            if options.is_object() && options["include_usage"] != true {
                options["include_usage"] = true.into();
                changes.push(("stream_options", options.to_string()));
            }
        }
        changes
    }
}

/// Rewrites `body`, whose fields are `request_fields`, and returns the notes on it. Memory is
/// reserved before the body is copied.
///
/// # Errors
/// As [`RequestMemory::reserve`].
pub(super) fn rewrite_body(
    rewrite: &BodyRewrite,
    request_fields: &RequestFields<'_>,
    body: Bytes,
    target: &TargetModel,
    mut reservation: MemoryReservation,
) -> Result<(Bytes, Vec<String>), Error> {
    reservation.grow(rewrite.max_added_bytes(body.len(), target))?;
    let (changes, notes) = rewrite.changes(request_fields, target);
    if changes.is_empty() {
        return Ok((body, notes));
    }
    reservation.grow(body.len())?;
    let rewritten = request_fields.apply(changes);
    reservation.resize(rewritten.len())?;
    Ok((reservation.attach_to(rewritten), notes))
}

/// Scans and rewrites a body off thread.
///
/// # Errors
/// As [`rewrite_body`].
pub(super) async fn rewrite_offloaded(
    memory: &RequestMemory,
    rewrite: &BodyRewrite,
    headers: &HeaderMap,
    body: &Bytes,
    target: &TargetModel,
) -> Result<(Bytes, Vec<String>), Error> {
    let reservation = memory.empty_reservation();
    let (headers, bytes, rewrite, target) = (content_type_only(headers), body.clone(), rewrite.clone(), target.clone());
    offload(memory, body.len(), move || {
        let request_fields = RequestFields::scan(&headers, &bytes)?;
        rewrite_body(&rewrite, &request_fields, bytes.clone(), &target, reservation)
    })
    .await
}

/// The body for each target: rewritten in advance for the first, on demand for others.
pub(super) struct TargetBodies {
    pub(super) first: Bytes,
    pub(super) first_target: TargetModel,
    /// The original body, its headers and the rewrite, if a target needs another body.
    pub(super) original: Option<(Bytes, HeaderMap, BodyRewrite)>,
    pub(super) memory: RequestMemory,
    /// The notes on the body that was returned last.
    pub(super) notes: SharedNotes,
}

impl TargetBodies {
    /// The body for `target`.
    ///
    /// # Errors
    /// As [`RequestMemory::reserve`].
    pub(super) async fn for_target(&self, target: &Target) -> Result<Bytes, Error> {
        let target = TargetModel::of(target)?;
        match &self.original {
            Some((body, headers, rewrite)) if target != self.first_target => {
                let (body, notes) = rewrite_offloaded(&self.memory, rewrite, headers, body, &target).await?;
                self.notes.store(notes);
                Ok(body)
            }
            _ => Ok(self.first.clone()),
        }
    }
}
