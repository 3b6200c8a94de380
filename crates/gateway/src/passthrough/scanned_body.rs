//! A body whose fields were scanned for routing and admission. Scanning takes time in proportion to
//! the length of the body, so large bodies are scanned off thread.

use bytes::Bytes;
use chat::{Error, ErrorKind};
use http::header::HeaderMap;
use wire::passthrough::ApiEndpoint;

use crate::memory::inflight_budget::RequestMemory;
use crate::offload::{INLINE_MAX_BYTES, offload};
use crate::passthrough::body_rewrite::{BodyRewrite, TargetBodies, TargetModel, rewrite_body, rewrite_offloaded};
use crate::passthrough::request_fields::{RequestFields, RoutingFields, content_type_only};
use crate::routing::prefix_affinity::PromptPrefix;
use crate::routing::target::Target;
use crate::upstream::shared_notes::SharedNotes;

/// A body and its routing fields. Of a small body all fields are kept, so that it is scanned once.
pub(super) struct ScannedBody<'a> {
    body: &'a Bytes,
    fields: Option<RequestFields<'a>>,
    memory: RequestMemory,
    pub(super) routing_fields: RoutingFields,
}

impl<'a> ScannedBody<'a> {
    /// Scans a body.
    ///
    /// # Errors
    /// `Invalid` for a malformed body.
    pub(super) async fn scan(
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
        let headers = content_type_only(headers);
        let bytes = body.clone();
        let scan = move || {
            let request_fields = RequestFields::scan(&headers, &bytes)?;
            let prompt_prefix = Some(request_fields.prompt_prefix());
            Ok(RoutingFields { prompt_prefix, ..request_fields.routing_fields(endpoint, &bytes) })
        };
        let routing_fields = offload(&memory, body.len(), scan).await?;
        Ok(Self { body, fields: None, memory, routing_fields })
    }

    pub(super) fn take_prompt_prefix(&mut self) -> PromptPrefix {
        let scanned = self.fields.as_ref().map(RequestFields::prompt_prefix);
        self.routing_fields.prompt_prefix.take().or(scanned).unwrap_or_default()
    }

    /// Rewrites the body for `targets`: for the first one now, for others when they are tried.
    ///
    /// # Errors
    /// As [`RequestMemory::reserve`].
    pub(super) async fn rewrite_for(
        self,
        rewrite: BodyRewrite,
        headers: &HeaderMap,
        targets: &[Target],
        notes: SharedNotes,
    ) -> Result<TargetBodies, Error> {
        let models = targets.iter().map(TargetModel::of).collect::<Result<Vec<_>, _>>()?;
        let first_target = models[0].clone();
        let (first, first_notes) = match &self.fields {
            Some(request_fields) => {
                let reservation = self.memory.empty_reservation();
                rewrite_body(&rewrite, request_fields, self.body.clone(), &first_target, reservation)?
            }
            None => rewrite_offloaded(&self.memory, &rewrite, headers, self.body, &first_target).await?,
        };
        // Usually all targets take the same body.
        let others = models.iter().any(|model| *model != first_target);
        let original = others.then(|| (self.body.clone(), content_type_only(headers), rewrite));
        notes.store(first_notes);
        Ok(TargetBodies { first, first_target, original, memory: self.memory, notes })
    }
}

/// Whether the body is malformed: its parser then returns the documented error.
pub(super) fn is_invalid_request(error: &Error) -> bool {
    error.kind == ErrorKind::InvalidRequest
}
