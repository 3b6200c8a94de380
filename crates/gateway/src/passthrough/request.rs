//! An answer that passes as it comes: caller and provider speak the same dialect, so the original
//! bytes go on, but for the few fields that policy changes. The same admission, routing and
//! metering as [`Gateway::answer`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use chat::Error;
use futures_core::Stream;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use wire::passthrough::ApiEndpoint;
use wire::passthrough::json_fields::JsonFields;
use wire::passthrough::usage_scanner::{self, ResponseStats};

use crate::billing::charge::Charge;
use crate::billing::request_meter::RequestMeter;
use crate::billing::usage_estimate::estimate_tokens;
use crate::memory::inflight_budget::{MemoryReservation, RequestMemory};
use crate::offload::offload;
use crate::passthrough::body_rewrite::{
    BodyChanges, BodyRewrite, OutputCap, RoutingFields, ScannedBody, TargetBodies, is_malformed,
};
use crate::passthrough::first_bytes::{PassthroughAttempt, RemainingBody, UpstreamReply, expected_body_kind};
use crate::routing::circuit_breaker::CircuitBreaker;
use crate::routing::failover::{self, RetryBudget, SelectedTarget};
use crate::routing::prefix_affinity::{ActiveRequestGuard, PromptPrefix};
use crate::routing::router::check_model_access;
use crate::routing::target::Target;
use crate::upstream::error::{transport_error, upstream_error};
use crate::upstream::remote_provider::{answer_memory_error, traceparent_header};
use crate::{Caller, Gateway};

/// Bytes of a partial event from which on it is charged to its request, and of a line from which on
/// it is scanned off thread.
const UNCHARGED_EVENT_BYTES: usize = 64 << 10;
const OFFLOAD_LINE_BYTES: usize = 256 << 10;
/// Most bytes of a field that policy looks at, and most letters of a model's name.
pub(crate) const MAX_POLICY_VALUE_BYTES: usize = 4 << 10;
const MAX_MODEL_CHARS: usize = 512;

/// What a body says, where policy needs to know.
pub(crate) enum RequestFields<'a> {
    Json(JsonFields<'a>),
    Form(wire::passthrough::multipart_fields::MultipartFields<'a>),
}

impl<'a> RequestFields<'a> {
    /// # Errors
    /// `Invalid` for what is neither whole.
    pub(crate) fn scan(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Error> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        match content_type.filter(|kind| kind.starts_with("multipart/")) {
            Some(kind) => wire::passthrough::multipart_fields::MultipartFields::scan(kind, body).map(Self::Form),
            None => JsonFields::scan(body).map(Self::Json),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        match self {
            Self::Json(fields) => fields.text(key),
            Self::Form(form) => form.text(key),
        }
    }

    /// `body`, which says this, with the target's name for its model.
    pub(crate) fn with_target_model(&self, body: &Bytes, target: &Target) -> Bytes {
        let model = self.model_change(&target.upstream_model);
        if model.is_none() {
            return body.clone();
        }
        self.apply(BodyChanges { model, ..BodyChanges::default() }).into()
    }

    /// `model`, unless the body names it already.
    pub(crate) fn model_change<'m>(&self, model: &'m str) -> Option<&'m str> {
        (self.text("model").as_deref() != Some(model)).then_some(model)
    }

    /// The body with these changes. Of a form, only the model can change.
    pub(crate) fn apply(&self, changes: BodyChanges<'_>) -> Vec<u8> {
        let BodyChanges { model, mut fields } = changes;
        match self {
            Self::Json(json) => {
                if let Some(model) = model {
                    fields.insert(0, ("model", serde_json::Value::from(model).to_string()));
                }
                json.with_changes(&fields)
            }
            Self::Form(form) => form.with_value("model", model.unwrap_or_default()),
        }
    }

    /// The bytes of a field of JSON.
    fn json_field(&self, key: &str) -> Option<&'a [u8]> {
        match self {
            Self::Json(fields) => fields.get(key),
            Self::Form(_) => None,
        }
    }

    /// The value of a field of JSON that is short, as those are which policy looks at; `None` when
    /// it is absent, null or long.
    pub(crate) fn short_value(&self, key: &str) -> Option<serde_json::Value> {
        let raw = self.json_field(key).filter(|raw| raw.len() <= MAX_POLICY_VALUE_BYTES)?;
        serde_json::from_slice(raw).ok().filter(|value: &serde_json::Value| !value.is_null())
    }

    /// Reads the fields by which the request is admitted and routed.
    pub(crate) fn routing_fields(&self, endpoint: ApiEndpoint, body: &[u8]) -> RoutingFields {
        RoutingFields {
            // No model has a name as long as that.
            model: self.text("model").map(|name| name.chars().take(MAX_MODEL_CHARS).collect()),
            wants_stream: self.wants_stream(),
            wants_usage: self.short_value("stream_options").is_some_and(|options| options["include_usage"] == true),
            estimate: self.usage_estimate(endpoint, body),
            prompt_prefix: None,
        }
    }

    /// The prompt_prefix of the prompt.
    pub(crate) fn prompt_prefix(&self) -> PromptPrefix {
        let prompt_fields = ["systemInstruction", "system_instruction", "system", "contents", "messages", "prompt"];
        PromptPrefix::hash(prompt_fields.iter().filter_map(|key| self.json_field(key)))
    }

    fn wants_stream(&self) -> bool {
        match self {
            Self::Json(fields) => fields.get("stream") == Some(b"true"),
            Self::Form(form) => form.text("stream").is_some_and(|stream| stream == "true"),
        }
    }
}

/// A request as it came.
pub struct RawRequest<'a> {
    pub endpoint: ApiEndpoint,
    /// The model, and whether events are wanted, where its path says so and not its body.
    pub model_in_path: Option<(&'a str, bool)>,
    pub body: &'a Bytes,
    /// They go on with it: those of the caller's that mean something to the provider, and the type
    /// of a body that is no JSON.
    pub headers: HeaderMap,
}

impl<'a> RawRequest<'a> {
    /// One whose body says everything.
    pub fn new(endpoint: ApiEndpoint, body: &'a Bytes) -> Self {
        Self { endpoint, model_in_path: None, body, headers: HeaderMap::new() }
    }
}

/// A request that was admitted and is about to be passed on. Dropping it costs nothing.
pub struct PassthroughRequest {
    endpoint: ApiEndpoint,
    /// The answer is wanted as events,
    stream: bool,
    /// and with an event for its usage.
    wants_usage: bool,
    /// Who may answer, and the body for each.
    targets: Vec<Target>,
    bodies: TargetBodies,
    headers: HeaderMap,
    selected: SelectedTarget,
    retry_budget: Arc<RetryBudget>,
    memory: RequestMemory,
    meter: RequestMeter,
}

/// What an answer is, before it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    Sse,
    /// One object, in front of which white space may stand.
    Json,
    /// A whole of any type.
    Text,
    /// Bytes that go on as they come.
    Audio,
}

/// A scan off thread: the scanner, the bytes it has scanned, and their replacement.
type OffloadedScan = BoxFuture<'static, Result<(Box<usage_scanner::SseScanner>, Bytes, Option<Vec<u8>>), Error>>;

/// An answer on its way, as its provider sends it. Dropping it cancels the request; it
/// is metered once.
pub struct PassthroughResponse {
    first_bytes: Option<Bytes>,
    remaining_body: RemainingBody,
    endpoint: ApiEndpoint,
    scanner: Box<usage_scanner::SseScanner>,
    meter: RequestMeter,
    memory: RequestMemory,
    /// The memory of the event that passes.
    event_memory: MemoryReservation,
    /// A long line is looked at.
    offloaded_scan: Option<OffloadedScan>,
    selected: SelectedTarget,
    health: Arc<CircuitBreaker>,
    ended: bool,
    _in_flight: ActiveRequestGuard,
    /// `text/event-stream` or what the provider says it is.
    pub content_type: HeaderValue,
}

impl Gateway {
    /// Admits a request that can go on as it is, because all that could answer it speak its
    /// dialect; `None` when it has to be read and answered ([`Gateway::answer`]).
    ///
    /// # Errors
    /// As [`Gateway::answer`]; `Invalid` for a form that is none.
    pub async fn passthrough(
        &self,
        caller: &Caller,
        request: RawRequest<'_>,
    ) -> Result<Option<PassthroughRequest>, Error> {
        let RawRequest { endpoint, model_in_path: path, body, mut headers } = request;
        let mut scanned = match ScannedBody::scan(&caller.memory, endpoint, &headers, body).await {
            Ok(scanned) => scanned,
            // What cannot be scanned gets its documented refusal from whoever parses it.
            Err(error) if is_malformed(&error) && endpoint.media_name().is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        let model = path.map(|(model, _)| model.to_owned()).or_else(|| scanned.routing_fields.model.take());
        let Some(model) = model else { return Ok(None) };
        let Some(route) = self.router.load().passthrough_route(&model, endpoint) else { return Ok(None) };
        let route = check_model_access(caller, &model, route)?;

        let stream = path.map_or(scanned.routing_fields.wants_stream, |(_, stream)| stream);
        let (wants_usage, estimate) = (scanned.routing_fields.wants_usage, scanned.routing_fields.estimate.clone());
        let mut meter = RequestMeter::start(&route.model_metrics);
        let targets = route.order_targets(|| scanned.take_prompt_prefix());
        let (estimate, overdraft) = (meter.record_error(estimate)?, self.overdraft());
        let mut charge = meter
            .record_error(Charge::admit(&self.accounting, caller, &route.id, &targets, estimate, overdraft).await)?;
        let edit = BodyRewrite {
            endpoint,
            mode: route.thinking_mode,
            stream,
            output_cap: OutputCap::new(charge.output_cap, &targets),
        };
        let bodies = meter.record_error(scanned.rewrite_for(edit, &headers, &targets).await)?;
        meter.record_error(charge.record_start())?;
        let selected = charge.selected_target();
        meter.attach_charge(charge);
        let (retry_budget, memory) = (self.retry_budget.clone(), caller.memory.clone());
        headers.extend(traceparent_header(caller.traceparent.as_deref()));
        Ok(Some(PassthroughRequest {
            endpoint,
            stream,
            wants_usage,
            targets,
            bodies,
            headers,
            selected,
            retry_budget,
            memory,
            meter,
        }))
    }
}

impl PassthroughRequest {
    /// The id the request was routed by.
    pub fn model(&self) -> &Arc<str> {
        self.meter.model()
    }

    /// What the answer will be.
    pub fn body_kind(&self) -> BodyKind {
        expected_body_kind(self.endpoint, self.stream)
    }

    /// Asks the providers in turn, until one begins to answer.
    ///
    /// # Errors
    /// What the last of them refused with (API document 4.5).
    pub async fn send(self) -> Result<PassthroughResponse, Error> {
        let Self { endpoint, stream, wants_usage, targets, bodies, headers, selected, retry_budget, memory, mut meter } =
            self;
        let (bodies, headers) = (&bodies, &headers);
        let (body_kind, memory_ref) = (expected_body_kind(endpoint, stream), &memory);
        let attempt_target = |_, target: Target| async move {
            let body = bodies.for_target(&target).await?;
            let attempt = PassthroughAttempt { target, endpoint, stream, body_kind, memory: memory_ref };
            attempt.send_and_peek(body, headers).await
        };
        // What comes whole may be thought about for minutes, once its head is there.
        let first_event_timeout = (body_kind == BodyKind::Sse).then_some(failover::FIRST_TOKEN_TIMEOUT);
        let (reply, in_flight) = meter.record_error(
            failover::try_in_order(&targets, &selected, &retry_budget, first_event_timeout, attempt_target).await,
        )?;
        let UpstreamReply { content_type, first_bytes, rest: remaining_body } = reply;
        let health = targets[selected.index()].breaker.clone();
        let hide_usage = stream && endpoint.is_completions() && !wants_usage;
        let scanner = Box::new(usage_scanner::SseScanner::new(endpoint, hide_usage));
        let first = Some(first_bytes);
        Ok(PassthroughResponse {
            first_bytes: first,
            remaining_body,
            endpoint,
            scanner,
            meter,
            event_memory: memory.empty_reservation(),
            memory,
            offloaded_scan: None,
            selected,
            health,
            ended: false,
            content_type,
            _in_flight: in_flight,
        })
    }
}

impl PassthroughResponse {
    /// The whole body of an answer that does not come as events.
    ///
    /// # Errors
    /// `Upstream` when the provider breaks it off.
    pub async fn read_to_end(mut self) -> Result<(Bytes, Option<chat::Usage>), Error> {
        self.meter.observe_stream(&ResponseStats { content_events: 1, ..ResponseStats::default() });
        if let RemainingBody::Interrupted(error) = std::mem::replace(&mut self.remaining_body, RemainingBody::Complete)
        {
            failover::record_stream_failure(&self.health, &error);
            return self.meter.record_error(Err(error));
        }
        let whole = self.first_bytes.take().unwrap_or_default();
        let (endpoint, body) = (self.endpoint, whole.clone());
        let look = move || {
            let mut stats = usage_scanner::scan_body(endpoint, &body);
            if endpoint.media_name().is_none() && endpoint != ApiEndpoint::Embeddings {
                // It counts where the provider counts nothing that can be true.
                stats.content_events = estimate_tokens(&body).max(1);
            }
            Ok(stats)
        };
        let stats = offload(&self.memory, whole.len(), look).await;
        let stats = self.meter.record_error(stats)?;
        self.meter.observe_stream(&stats);
        Ok((whole, self.meter.usage()))
    }

    /// Who answers.
    pub fn provider(&self) -> &Arc<str> {
        self.selected.provider()
    }

    pub fn usage(&self) -> Option<chat::Usage> {
        self.meter.usage()
    }

    /// Scans bytes, and returns those that go on; `None` while they are scanned off thread.
    ///
    /// # Errors
    /// `Upstream` when the provider has exceeded a bound.
    fn scan_bytes(&mut self, bytes: Bytes) -> Option<Result<Bytes, Error>> {
        let line = self.scanner.buffered_bytes() + bytes.len();
        if line <= OFFLOAD_LINE_BYTES || memchr::memchr(b'\n', &bytes).is_none() {
            let replacement = self.scanner.feed(&bytes);
            return Some(self.scanned(bytes, replacement));
        }
        let (mut scanner, memory) = (std::mem::take(&mut self.scanner), self.memory.clone());
        self.offloaded_scan = Some(Box::pin(async move {
            let look = move || {
                let replacement = scanner.feed(&bytes);
                Ok((scanner, bytes, replacement))
            };
            offload(&memory, line, look).await
        }));
        None
    }

    fn scanned(&mut self, bytes: Bytes, replacement: Option<Vec<u8>>) -> Result<Bytes, Error> {
        self.meter.observe_stream(&self.scanner.stats);
        if let Some(exceeded) = self.scanner.exceeded {
            return Err(exceeded.to_error(self.provider()));
        }
        let held = Some(self.scanner.buffered_bytes()).filter(|held| *held > UNCHARGED_EVENT_BYTES).unwrap_or(0);
        self.event_memory.resize(held).map_err(|error| answer_memory_error(error, self.selected.provider()))?;
        Ok(replacement.map_or(bytes, Bytes::from))
    }

    /// The last bytes; none when nothing was held back.
    ///
    /// # Errors
    /// `Upstream` when the provider ended the stream before its end.
    fn finish_scan(&mut self) -> Result<Bytes, Error> {
        let rest = self.scanner.finish();
        let stats = &self.scanner.stats;
        self.meter.observe_stream(stats);
        if stats.is_complete || stats.finish_reason.is_some() || stats.error_message.is_some() {
            return Ok(rest.into());
        }
        Err(upstream_error(self.provider(), "broke off its answer"))
    }
}

/// The events, as they pass.
impl Stream for PassthroughResponse {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let item = if let Some(offloaded_scan) = &mut self.offloaded_scan {
                let scan_result = std::task::ready!(offloaded_scan.as_mut().poll(context));
                self.offloaded_scan = None;
                scan_result.and_then(|(scanner, bytes, replacement)| {
                    self.scanner = scanner;
                    self.scanned(bytes, replacement)
                })
            } else {
                let next = match self.first_bytes.take() {
                    Some(first) => Some(Ok(first)),
                    None => match &mut self.remaining_body {
                        RemainingBody::Stream(pieces) => std::task::ready!(pieces.poll_next_unpin(context)),
                        RemainingBody::Complete | RemainingBody::Interrupted(_) => None,
                    },
                };
                match next {
                    Some(Ok(bytes)) => match self.scan_bytes(bytes) {
                        Some(item) => item,
                        None => continue,
                    },
                    Some(Err(error)) => Err(transport_error(self.provider(), &error)),
                    None => {
                        self.ended = true;
                        self.finish_scan()
                    }
                }
            };
            if let Err(error) = &item {
                self.ended = true;
                failover::record_stream_failure(&self.health, error);
            }
            match self.meter.record_error(item) {
                Ok(bytes) if bytes.is_empty() => {}
                other => return Poll::Ready(Some(other)),
            }
        }
    }
}
