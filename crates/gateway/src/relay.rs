//! An answer that passes as it comes: caller and provider speak the same dialect, so the original bytes go on, but for the
//! few fields that policy changes. The same admission, routing and metering as [`Gateway::answer`].

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

use crate::affinity::{Beginning, Running};
use crate::attempt::{self, Budget, Chosen};
use crate::begin::{Answered, Asking, Rest, shape_of};
use crate::bill::Bill;
use crate::edit::{Bodies, Cap, Changes, Edit, Looked, Scanned, is_invalid};
use crate::health::Health;
use crate::inflight::{Hold, RequestMemory};
use crate::meter::Meter;
use crate::route::permitted;
use crate::size::tokens_of;
use crate::target::Target;
use crate::upstream::{fault, memory_refused, traced, unreachable};
use crate::work::aside;
use crate::{Caller, Gateway};

/// Bytes of a partial event from which on it is charged to its request, and of a line from which on it is scanned off thread.
const SMALL: usize = 64 << 10;
const LONG_LINE: usize = 256 << 10;
/// Most bytes of a field that policy looks at, and most letters of a model's name.
pub(crate) const SHORT_VALUE: usize = 4 << 10;
const LONGEST_MODEL: usize = 512;

/// What a body says, where policy needs to know.
pub(crate) enum Said<'a> {
    Json(JsonFields<'a>),
    Form(wire::passthrough::multipart_fields::MultipartFields<'a>),
}

impl<'a> Said<'a> {
    /// # Errors
    /// `Invalid` for what is neither whole.
    pub(crate) fn scan(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Error> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        match kind.filter(|kind| kind.starts_with("multipart/")) {
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
    pub(crate) fn renamed(&self, body: &Bytes, target: &Target) -> Bytes {
        let model = self.renaming(&target.model);
        if model.is_none() {
            return body.clone();
        }
        self.with(Changes { model, ..Changes::default() }).into()
    }

    /// `model`, unless the body names it already.
    pub(crate) fn renaming<'m>(&self, model: &'m str) -> Option<&'m str> {
        (self.text("model").as_deref() != Some(model)).then_some(model)
    }

    /// The body with these changes. Of a form, only the model can change.
    pub(crate) fn with(&self, changes: Changes<'_>) -> Vec<u8> {
        let Changes { model, mut fields } = changes;
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
    fn get(&self, key: &str) -> Option<&'a [u8]> {
        match self {
            Self::Json(fields) => fields.get(key),
            Self::Form(_) => None,
        }
    }

    /// The value of a field of JSON that is short, as those are which policy looks at; `None` when it is absent, null or long.
    pub(crate) fn short(&self, key: &str) -> Option<serde_json::Value> {
        let raw = self.get(key).filter(|raw| raw.len() <= SHORT_VALUE)?;
        serde_json::from_slice(raw).ok().filter(|value: &serde_json::Value| !value.is_null())
    }

    /// Reads the fields by which the request is admitted and routed.
    pub(crate) fn look(&self, passage: ApiEndpoint, body: &[u8]) -> Looked {
        Looked {
            // No model has a name as long as that.
            model: self.text("model").map(|name| name.chars().take(LONGEST_MODEL).collect()),
            streams: self.streams(),
            wants_usage: self.short("stream_options").is_some_and(|options| options["include_usage"] == true),
            size: self.size(passage, body),
            beginning: None,
        }
    }

    /// The beginning of the prompt.
    pub(crate) fn beginning(&self) -> Beginning {
        let said = ["systemInstruction", "system_instruction", "system", "contents", "messages", "prompt"];
        Beginning::of(said.iter().filter_map(|key| self.get(key)))
    }

    fn streams(&self) -> bool {
        match self {
            Self::Json(fields) => fields.get("stream") == Some(b"true"),
            Self::Form(form) => form.text("stream").is_some_and(|stream| stream == "true"),
        }
    }
}

/// A request as it came.
pub struct Asked<'a> {
    pub passage: ApiEndpoint,
    /// The model, and whether events are wanted, where its path says so and not its body.
    pub path: Option<(&'a str, bool)>,
    pub body: &'a Bytes,
    /// They go on with it: those of the caller's that mean something to the provider, and the type of a body that is no JSON.
    pub headers: HeaderMap,
}

impl<'a> Asked<'a> {
    /// One whose body says everything.
    pub fn new(passage: ApiEndpoint, body: &'a Bytes) -> Self {
        Self { passage, path: None, body, headers: HeaderMap::new() }
    }
}

/// A request that was admitted and is about to be passed on. Dropping it costs nothing.
pub struct Relay {
    passage: ApiEndpoint,
    /// The answer is wanted as events,
    stream: bool,
    /// and with an event for its usage.
    wants_usage: bool,
    /// Who may answer, and the body for each.
    targets: Vec<Target>,
    bodies: Bodies,
    headers: HeaderMap,
    chosen: Chosen,
    retries: Arc<Budget>,
    memory: RequestMemory,
    meter: Meter,
}

/// What an answer is, before it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Events,
    /// One object, in front of which white space may stand.
    Json,
    /// A whole of any type.
    Text,
    /// Bytes that go on as they come.
    Sound,
}

/// A scan off thread: the scanner, the bytes it has scanned, and their replacement.
type Looking = BoxFuture<'static, Result<(Box<usage_scanner::SseScanner>, Bytes, Option<Vec<u8>>), Error>>;

/// An answer on its way, as its provider sends it. Dropping it cancels the request; it is metered once.
pub struct Relayed {
    first: Option<Bytes>,
    rest: Rest,
    passage: ApiEndpoint,
    events: Box<usage_scanner::SseScanner>,
    meter: Meter,
    memory: RequestMemory,
    /// The memory of the event that passes.
    hold: Hold,
    /// A long line is looked at.
    looking: Option<Looking>,
    chosen: Chosen,
    health: Arc<Health>,
    ended: bool,
    _running: Running,
    /// `text/event-stream` or what the provider says it is.
    pub content_type: HeaderValue,
}

impl Gateway {
    /// Admits a request that can go on as it is, because all that could answer it speak its dialect; `None` when it has to be
    /// read and answered ([`Gateway::answer`]).
    ///
    /// # Errors
    /// As [`Gateway::answer`]; `Invalid` for a form that is none.
    pub async fn relay(&self, caller: &Caller, asked: Asked<'_>) -> Result<Option<Relay>, Error> {
        let Asked { passage, path, body, mut headers } = asked;
        let mut scanned = match Scanned::of(&caller.memory, passage, &headers, body).await {
            Ok(scanned) => scanned,
            // What cannot be scanned gets its documented refusal from whoever parses it.
            Err(error) if is_invalid(&error) && passage.media_name().is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        let model = path.map(|(model, _)| model.to_owned()).or_else(|| scanned.looked.model.take());
        let Some(model) = model else { return Ok(None) };
        let Some(route) = self.routes.load().passes(&model, passage) else { return Ok(None) };
        let route = permitted(caller, &model, route)?;

        let stream = path.map_or(scanned.looked.streams, |(_, stream)| stream);
        let (wants_usage, size) = (scanned.looked.wants_usage, scanned.looked.size.clone());
        let mut meter = Meter::start(&route.instruments);
        let targets = route.order(|| scanned.beginning());
        let (size, overdraft) = (meter.watch(size)?, self.overdraft());
        let mut bill = meter.watch(Bill::admit(&self.books, caller, &route.id, &targets, size, overdraft).await)?;
        let edit = Edit { passage, mode: route.mode, stream, cap: Cap::of(bill.cap, &targets) };
        let bodies = meter.watch(scanned.bodies(edit, &headers, &targets).await)?;
        meter.watch(bill.begin())?;
        let chosen = bill.chosen();
        meter.pays(bill);
        let (retries, memory) = (self.retries.clone(), caller.memory.clone());
        headers.extend(traced(caller.trace.as_deref()));
        Ok(Some(Relay { passage, stream, wants_usage, targets, bodies, headers, chosen, retries, memory, meter }))
    }
}

impl Relay {
    /// The id the request was routed by.
    pub fn model(&self) -> &Arc<str> {
        self.meter.model()
    }

    /// What the answer will be.
    pub fn shape(&self) -> Shape {
        shape_of(self.passage, self.stream)
    }

    /// Asks the providers in turn, until one begins to answer.
    ///
    /// # Errors
    /// What the last of them refused with (API document 4.5).
    pub async fn begin(self) -> Result<Relayed, Error> {
        let Self { passage, stream, wants_usage, targets, bodies, headers, chosen, retries, memory, mut meter } = self;
        let (bodies, headers) = (&bodies, &headers);
        let (shape, keep) = (shape_of(passage, stream), &memory);
        let ask = |_, target: Target| async move {
            let body = bodies.of(&target).await?;
            let asked = Asking { target, passage, stream, shape, memory: keep };
            asked.begin(body, headers).await
        };
        // What comes whole may be thought about for minutes, once its head is there.
        let patience = (shape == Shape::Events).then_some(attempt::FIRST_WORD);
        let (answered, running) = meter.watch(attempt::each(&targets, &chosen, &retries, patience, ask).await)?;
        let Answered { content_type, first, rest } = answered;
        let health = targets[chosen.place()].health.clone();
        let hide_usage = stream && passage.is_completions() && !wants_usage;
        let events = Box::new(usage_scanner::SseScanner::new(passage, hide_usage));
        let first = Some(first);
        Ok(Relayed {
            first,
            rest,
            passage,
            events,
            meter,
            hold: memory.empty(),
            memory,
            looking: None,
            chosen,
            health,
            ended: false,
            content_type,
            _running: running,
        })
    }
}

impl Relayed {
    /// The whole body of an answer that does not come as events.
    ///
    /// # Errors
    /// `Upstream` when the provider breaks it off.
    pub async fn whole(mut self) -> Result<(Bytes, Option<chat::Usage>), Error> {
        self.meter.seen(&ResponseStats { content_events: 1, ..ResponseStats::default() });
        if let Rest::Broken(error) = std::mem::replace(&mut self.rest, Rest::Nothing) {
            attempt::broke(&self.health, &error);
            return self.meter.watch(Err(error));
        }
        let whole = self.first.take().unwrap_or_default();
        let (passage, body) = (self.passage, whole.clone());
        let look = move || {
            let mut seen = usage_scanner::scan_body(passage, &body);
            if passage.media_name().is_none() && passage != ApiEndpoint::Embeddings {
                // It counts where the provider counts nothing that can be true.
                seen.content_events = tokens_of(&body).max(1);
            }
            Ok(seen)
        };
        let seen = aside(&self.memory, whole.len(), look).await;
        let seen = self.meter.watch(seen)?;
        self.meter.seen(&seen);
        Ok((whole, self.meter.usage()))
    }

    /// Who answers.
    pub fn provider(&self) -> &Arc<str> {
        self.chosen.provider()
    }

    pub fn usage(&self) -> Option<chat::Usage> {
        self.meter.usage()
    }

    /// Scans bytes, and returns those that go on; `None` while they are scanned off thread.
    ///
    /// # Errors
    /// `Upstream` when the provider has exceeded a bound.
    fn pass(&mut self, bytes: Bytes) -> Option<Result<Bytes, Error>> {
        let line = self.events.buffered_bytes() + bytes.len();
        if line <= LONG_LINE || memchr::memchr(b'\n', &bytes).is_none() {
            let instead = self.events.feed(&bytes);
            return Some(self.passed(bytes, instead));
        }
        let (mut events, memory) = (std::mem::take(&mut self.events), self.memory.clone());
        self.looking = Some(Box::pin(async move {
            let look = move || {
                let instead = events.feed(&bytes);
                Ok((events, bytes, instead))
            };
            aside(&memory, line, look).await
        }));
        None
    }

    fn passed(&mut self, bytes: Bytes, instead: Option<Vec<u8>>) -> Result<Bytes, Error> {
        self.meter.seen(&self.events.stats);
        if let Some(exceeded) = self.events.exceeded {
            return Err(exceeded.to_error(self.provider()));
        }
        let held = Some(self.events.buffered_bytes()).filter(|held| *held > SMALL).unwrap_or(0);
        self.hold.set(held).map_err(|error| memory_refused(error, self.chosen.provider()))?;
        Ok(instead.map_or(bytes, Bytes::from))
    }

    /// The last bytes; none when nothing was held back.
    ///
    /// # Errors
    /// `Upstream` when the provider ended the stream before its end.
    fn rest(&mut self) -> Result<Bytes, Error> {
        let rest = self.events.finish();
        let seen = &self.events.stats;
        self.meter.seen(seen);
        if seen.is_complete || seen.finish_reason.is_some() || seen.error_message.is_some() {
            return Ok(rest.into());
        }
        Err(fault(self.provider(), "broke off its answer"))
    }
}

/// The events, as they pass.
impl Stream for Relayed {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let item = if let Some(looking) = &mut self.looking {
                let looked = std::task::ready!(looking.as_mut().poll(context));
                self.looking = None;
                looked.and_then(|(events, bytes, instead)| {
                    self.events = events;
                    self.passed(bytes, instead)
                })
            } else {
                let next = match self.first.take() {
                    Some(first) => Some(Ok(first)),
                    None => match &mut self.rest {
                        Rest::Pieces(pieces) => std::task::ready!(pieces.poll_next_unpin(context)),
                        Rest::Nothing | Rest::Broken(_) => None,
                    },
                };
                match next {
                    Some(Ok(bytes)) => match self.pass(bytes) {
                        Some(item) => item,
                        None => continue,
                    },
                    Some(Err(error)) => Err(unreachable(self.provider(), &error)),
                    None => {
                        self.ended = true;
                        self.rest()
                    }
                }
            };
            if let Err(error) = &item {
                self.ended = true;
                attempt::broke(&self.health, error);
            }
            match self.meter.watch(item) {
                Ok(bytes) if bytes.is_empty() => {}
                other => return Poll::Ready(Some(other)),
            }
        }
    }
}
