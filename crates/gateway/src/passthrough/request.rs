//! Passthrough of requests: if caller and provider use the same dialect, the bytes of the body are
//! forwarded, except for the few fields that policy changes. Admission, routing and metering are
//! as in [`Gateway::answer`].

use std::sync::Arc;

use bytes::Bytes;
use chat::Error;
use http::header::HeaderMap;
use wire::passthrough::ApiEndpoint;

use crate::Gateway;
use crate::billing::metered_stream::AnswerNotes;
use crate::billing::request_meter::RequestMeter;
use crate::keys::caller::Caller;
use crate::memory::inflight_budget::RequestMemory;
use crate::passthrough::body_rewrite::{BodyRewrite, OutputCap, TargetBodies};
use crate::passthrough::first_bytes::{BodyKind, PassthroughAttempt, expected_body_kind};
use crate::passthrough::response::PassthroughResponse;
use crate::passthrough::scanned_body::{ScannedBody, is_invalid_request};
use crate::routing::failover::{FIRST_TOKEN_TIMEOUT, Failover, FailoverPolicy};
use crate::routing::retry_budget::RetryBudget;
use crate::routing::route::not_local;
use crate::routing::router::check_model_access;
use crate::routing::selected_target::SelectedTarget;
use crate::routing::target::Target;
use crate::upstream::request_headers::traceparent_header;
use crate::upstream::shared_notes::SharedNotes;

/// A request whose body has not been parsed.
pub struct RawRequest<'a> {
    pub endpoint: ApiEndpoint,
    /// The model and whether to stream, for endpoints that have both in the path (Gemini). `None`
    /// if they are fields of the body.
    pub model_in_path: Option<(&'a str, bool)>,
    pub body: &'a Bytes,
    /// The headers to forward: those that the provider understands, and the content type of a body
    /// that is not JSON. [`Gateway::passthrough`] adds the `traceparent`.
    pub headers: HeaderMap,
}

impl<'a> RawRequest<'a> {
    /// A request without model in the path and without headers.
    pub fn new(endpoint: ApiEndpoint, body: &'a Bytes) -> Self {
        Self { endpoint, model_in_path: None, body, headers: HeaderMap::new() }
    }
}

/// An admitted request that has not been sent yet. If it is dropped instead of sent, its usage
/// record has the outcome `cancelled` and the cost 0.
pub struct PassthroughRequest {
    endpoint: ApiEndpoint,
    /// Whether the answer is to be a stream of events.
    stream: bool,
    /// Whether the caller requested the usage as an event of the stream.
    wants_usage: bool,
    targets: Vec<Target>,
    /// The rewritten body for each target.
    bodies: TargetBodies,
    headers: HeaderMap,
    selected: SelectedTarget,
    retry_budget: Arc<RetryBudget>,
    memory: RequestMemory,
    meter: RequestMeter,
}

impl Gateway {
    /// Admits a request that can be forwarded, because all targets of its model support the
    /// endpoint.
    ///
    /// Returns `None` for any other request: without a model or with an unknown one, with a target
    /// that is local or has another dialect, with a thinking mode that the endpoint cannot express,
    /// or a response that needs state. The caller then parses it for [`Gateway::answer`]. On the
    /// media endpoints, which have no parser, the caller returns an error.
    ///
    /// # Errors
    /// As [`Gateway::answer`], except for an unknown model; `InvalidRequest` (`not_local`) for a
    /// body with the object `cachalot`. A malformed body is `InvalidRequest` on the media
    /// endpoints, and `None` on all others.
    pub async fn passthrough(
        &self,
        caller: &Caller,
        request: RawRequest<'_>,
    ) -> Result<Option<PassthroughRequest>, Error> {
        let RawRequest { endpoint, model_in_path, body, mut headers } = request;
        let mut scanned = match ScannedBody::scan(&caller.memory, endpoint, &headers, body).await {
            Ok(scanned) => scanned,
            // The parser that runs after `None` returns the documented error.
            Err(error) if is_invalid_request(&error) && endpoint.media_name().is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        let model = model_in_path.map(|(model, _)| model.to_owned()).or_else(|| scanned.routing_fields.model.take());
        let Some(model) = model.filter(|_| !scanned.routing_fields.needs_parser) else { return Ok(None) };
        let Some(route) = self.router.load().passthrough_route(&model, endpoint) else {
            if !self.has_model(&model) {
                caller.set_model(None);
            }
            return Ok(None);
        };
        let route = check_model_access(caller, &model, route)?;

        if scanned.routing_fields.is_local_only {
            return Err(not_local(&model));
        }
        let stream = model_in_path.map_or(scanned.routing_fields.wants_stream, |(_, stream)| stream);
        let wants_usage = scanned.routing_fields.wants_usage;
        let estimate = scanned.routing_fields.estimate.clone();
        let end_user = scanned.routing_fields.end_user.take();
        let mut admission = self.open_admission(&route);
        let targets = route.targets_for(caller, || scanned.take_prompt_prefix());
        let (targets, estimate) = (admission.record_error(targets)?, admission.record_error(estimate)?);
        let mut admitted = admission.reserve(caller, &targets, estimate, end_user.as_deref()).await?;
        let rewrite = BodyRewrite {
            endpoint,
            thinking_mode: route.thinking_mode,
            stream,
            output_cap: OutputCap::new(admitted.output_cap(), &targets),
        };
        let notes = SharedNotes::new(&self.note_log, caller.key_name.as_ref());
        let bodies = admitted.record_error(scanned.rewrite_for(rewrite, &headers, &targets, notes).await)?;
        let (meter, selected) = admitted.begin()?;
        headers.extend(traceparent_header(caller.traceparent.as_deref()));
        Ok(Some(PassthroughRequest {
            endpoint,
            stream,
            wants_usage,
            targets,
            bodies,
            headers,
            selected,
            retry_budget: self.retry_budget.clone(),
            memory: caller.memory.clone(),
            meter,
        }))
    }
}

impl PassthroughRequest {
    /// The model id of the route.
    pub fn model(&self) -> &Arc<str> {
        self.meter.model()
    }

    /// The notes for the caller, to be read when the answer has begun: what was changed for the
    /// model.
    pub fn note_source(&self) -> AnswerNotes {
        AnswerNotes { notes: Vec::new(), body_notes: self.bodies.notes.clone() }
    }

    /// The kind of body that the answer will have.
    pub fn body_kind(&self) -> BodyKind {
        expected_body_kind(self.endpoint, self.stream)
    }

    /// Sends the request to the targets in order, until one answers. When all targets have failed,
    /// the first may be retried once. Resolves with the first content of a stream, the first
    /// bytes of audio, or the whole of any other body.
    ///
    /// # Errors
    /// The last target's error, or the first that is not a failure of the provider, such as a
    /// refused parameter (API document 4.5).
    pub async fn send(self) -> Result<PassthroughResponse, Error> {
        let Self { endpoint, stream, wants_usage, targets, bodies, headers, selected, retry_budget, memory, mut meter } =
            self;
        let body_kind = expected_body_kind(endpoint, stream);
        let hides_usage_event = stream && endpoint.is_completions() && !wants_usage;
        let (bodies, headers, memory_ref) = (&bodies, &headers, &memory);
        let attempt = |target: Target, _| async move {
            let body = bodies.for_target(&target).await?;
            let attempt =
                PassthroughAttempt { target, endpoint, stream, body_kind, hides_usage_event, memory: memory_ref };
            attempt.send_and_peek(body, headers).await
        };
        let failover = Failover {
            targets: &targets,
            selected: &selected,
            retry_budget: &retry_budget,
            policy: FailoverPolicy::AnyFailure,
            // Any other attempt may last as long as the answer takes to generate: minutes.
            time_limit: (body_kind == BodyKind::Sse).then_some(FIRST_TOKEN_TIMEOUT),
        };
        let (reply, active) = meter.record_error(failover.run(attempt).await)?;
        Ok(PassthroughResponse::new(reply, meter, memory, selected, active))
    }
}
