//! An answer that passes as it comes: caller and provider speak the same dialect, so the original bytes go on, but for the
//! few fields that policy changes. The same admission, routing and metering as [`Gateway::answer`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use chat::{Error, ErrorKind};
use futures_core::Stream;
use futures_util::StreamExt;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use wire::Passage;
use wire::form::Form;
use wire::glance::{self, Seen};
use wire::splice::Fields;

use crate::affinity::{Beginning, Running};
use crate::attempt::{self, Budget, Chosen};
use crate::bill::{Bill, Size};
use crate::client::Pieces;
use crate::meter::Meter;
use crate::price::Units;
use crate::route::{Mode, Route, permitted};
use crate::target::{Place, Target};
use crate::upstream::{content_type, fault, traced, unreachable};
use crate::{Caller, Gateway};

/// Most bytes of an answer that does not come as events.
const WHOLE_BYTES: usize = 256 << 20;

/// What a body says, where policy needs to know.
pub(crate) enum Said<'a> {
    Json(Fields<'a>),
    Form(Form<'a>),
}

impl<'a> Said<'a> {
    /// # Errors
    /// `Invalid` for what is neither whole.
    pub(crate) fn scan(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Error> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        match kind.filter(|kind| kind.starts_with("multipart/")) {
            Some(kind) => Form::scan(kind, body).map(Self::Form),
            None => Fields::scan(body).map(Self::Json),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        match self {
            Self::Json(fields) => fields.text(key),
            Self::Form(form) => form.text(key),
        }
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        match self {
            // Some say their numbers in quotes.
            Self::Json(fields) => {
                fields.value(key).and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
            }
            Self::Form(form) => form.text(key)?.parse().ok(),
        }
    }

    /// `body`, which says this, with the target's name for its model.
    pub(crate) fn renamed(&self, body: &Bytes, target: &Target) -> Bytes {
        if self.text("model").as_deref() == Some(&*target.model) {
            return body.clone();
        }
        match self {
            Self::Json(fields) => fields.with(&[("model", serde_json::Value::from(&*target.model).to_string())]).into(),
            Self::Form(form) => form.with("model", &target.model).into(),
        }
    }

    /// The bytes of a field of JSON.
    fn get(&self, key: &str) -> Option<&'a [u8]> {
        match self {
            Self::Json(fields) => fields.get(key),
            Self::Form(_) => None,
        }
    }

    fn streams(&self) -> bool {
        match self {
            Self::Json(fields) => fields.get("stream") == Some(b"true"),
            Self::Form(form) => form.text("stream").is_some_and(|stream| stream == "true"),
        }
    }

    /// How many answers are asked for at once.
    fn answers(&self) -> u64 {
        self.number("n").unwrap_or(1).clamp(1, 128)
    }

    /// A field of Gemini's, in either spelling, or null.
    fn either(&self, camel: &str, snake: &str) -> serde_json::Value {
        let Self::Json(fields) = self else { return serde_json::Value::Null };
        fields.value(camel).or_else(|| fields.value(snake)).unwrap_or_default()
    }

    fn size(&self, passage: Passage, body: &[u8]) -> Size {
        match passage {
            Passage::GenerateContent => {
                let config = self.either("generationConfig", "generation_config");
                let number = |camel, snake| config[camel].as_u64().or_else(|| config[snake].as_u64());
                let answers = number("candidateCount", "candidate_count").unwrap_or(1).clamp(1, 128);
                Size::of_body(body, number("maxOutputTokens", "max_output_tokens")).times(answers)
            }
            _ if passage.medium().is_some() => Size::of_units(Units { calls: self.answers(), seconds: 0 }),
            Passage::Embeddings => Size::of_body(body, Some(0)),
            _ => {
                let most = ["max_tokens", "max_completion_tokens"].iter().find_map(|key| self.number(key));
                Size::of_body(body, most).times(self.answers())
            }
        }
    }
}

/// A request as it came.
pub struct Asked<'a> {
    pub passage: Passage,
    /// The model, and whether events are wanted, where its path says so and not its body.
    pub path: Option<(&'a str, bool)>,
    pub body: &'a Bytes,
    /// They go on with it: those of the caller's that mean something to the provider, and the type of a body that is no JSON.
    pub headers: HeaderMap,
}

impl<'a> Asked<'a> {
    /// One whose body says everything.
    pub fn new(passage: Passage, body: &'a Bytes) -> Self {
        Self { passage, path: None, body, headers: HeaderMap::new() }
    }
}

/// A request that was admitted and is about to be passed on. Dropping it costs nothing.
pub struct Relay {
    passage: Passage,
    /// The answer is wanted as events,
    stream: bool,
    /// and with an event for its usage.
    wants_usage: bool,
    /// Who may answer, and the body for each.
    targets: Vec<Target>,
    bodies: Vec<Bytes>,
    headers: HeaderMap,
    chosen: Chosen,
    retries: Arc<Budget>,
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

/// An answer on its way, as its provider sends it. Dropping it cancels the request; it is metered once.
pub struct Relayed {
    first: Option<Bytes>,
    rest: Pieces,
    passage: Passage,
    events: Box<glance::Events>,
    meter: Meter,
    chosen: Chosen,
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
        let fields = match Said::scan(&headers, body) {
            Ok(fields) => fields,
            // What cannot be scanned gets its documented refusal from whoever parses it.
            Err(_) if passage.medium().is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        let model = path.map(|(model, _)| model.to_owned()).or_else(|| fields.text("model"));
        let Some(model) = model else { return Ok(None) };
        let Some(route) = self.routes.load().passes(&model, passage) else { return Ok(None) };
        let route = permitted(caller, &model, route)?;

        let stream = path.map_or_else(|| fields.streams(), |(_, stream)| stream);
        let wants_usage = match &fields {
            Said::Json(fields) => {
                fields.value("stream_options").is_some_and(|options| options["include_usage"] == true)
            }
            Said::Form(_) => false,
        };
        let mut meter = Meter::start(&route.instruments);
        let said = ["systemInstruction", "system_instruction", "system", "contents", "messages", "prompt"];
        let targets = route.order(|| Beginning::of(said.iter().filter_map(|key| fields.get(key))));
        let size = fields.size(passage, body);
        let mut bill = meter.watch(Bill::admit(&self.books, caller, &route.id, &targets, size).await)?;
        meter.watch(bill.begin())?;
        let chosen = bill.chosen();
        meter.pays(bill);
        let edited = |target: &Target| edited(&fields, passage, body, &route, target, stream);
        let first = edited(&targets[0]);
        // Nearly always all of them call the model the same.
        let body = |target: &Target| if target.model == targets[0].model { first.clone() } else { edited(target) };
        let bodies = targets.iter().map(body).collect();
        let retries = self.retries.clone();
        headers.extend(traced(caller.trace.as_deref()));
        Ok(Some(Relay { passage, stream, wants_usage, targets, bodies, headers, chosen, retries, meter }))
    }
}

impl Relay {
    /// The id the request was routed by.
    pub fn model(&self) -> &Arc<str> {
        self.meter.model()
    }

    /// What the answer will be.
    pub fn shape(&self) -> Shape {
        match self.passage {
            Passage::Speech => Shape::Sound,
            _ if self.stream => Shape::Events,
            Passage::Transcriptions | Passage::Translations => Shape::Text,
            _ => Shape::Json,
        }
    }

    /// Asks the providers in turn, until one begins to answer.
    ///
    /// # Errors
    /// What the last of them refused with (API document 4.5).
    pub async fn begin(self) -> Result<Relayed, Error> {
        let Self { passage, stream, wants_usage, targets, bodies, headers, chosen, retries, mut meter } = self;
        let ask = |place: usize, target: Target| first_bytes(target, passage, stream, bodies[place].clone(), &headers);
        let (answered, running) = meter.watch(attempt::each(&targets, &chosen, &retries, ask).await)?;
        let Answered { content_type, first, rest } = answered;
        let hide_usage = stream && passage.is_completions() && !wants_usage;
        let events = Box::new(glance::Events::new(passage, hide_usage));
        let first = Some(first);
        Ok(Relayed { first, rest, passage, events, meter, chosen, ended: false, content_type, _running: running })
    }
}

/// The body for one target: its name for the model, the mode of the id, and the usage that bills are made of.
fn edited(said: &Said<'_>, passage: Passage, body: &Bytes, route: &Route, target: &Target, stream: bool) -> Bytes {
    let Said::Json(fields) = said else { return said.renamed(body, target) };
    // Its path says all of it.
    if passage == Passage::GenerateContent {
        return body.clone();
    }
    let mut changes = Vec::new();
    if fields.text("model").as_deref() != Some(&*target.model) {
        changes.push(("model", serde_json::Value::from(&*target.model).to_string()));
    }
    match route.mode {
        Mode::Always => changes.push(("thinking", r#"{"type":"enabled"}"#.into())),
        Mode::Never => changes.push(("thinking", r#"{"type":"disabled"}"#.into())),
        _ => {}
    }
    if stream && passage.is_completions() {
        let mut options = fields.value("stream_options").unwrap_or_else(|| serde_json::json!({}));
        if options.is_object() && options["include_usage"] != true {
            options["include_usage"] = true.into();
            changes.push(("stream_options", options.to_string()));
        }
    }
    if changes.is_empty() { body.clone() } else { fields.with(&changes).into() }
}

struct Answered {
    content_type: HeaderValue,
    first: Bytes,
    rest: Pieces,
}

/// Asks one target, and waits for the first bytes of its answer.
async fn first_bytes(
    target: Target,
    passage: Passage,
    stream: bool,
    body: Bytes,
    headers: &HeaderMap,
) -> Result<Answered, Error> {
    let Place::Remote(upstream) = &target.place else { return Err(Error::internal("only providers elsewhere relay")) };
    let response = upstream.pass(passage, &target.model, stream, headers, body).await?;
    let content_type = content_type(&response);
    let mut body = response.pieces;
    match body.next().await {
        Some(Ok(first)) => {
            if stream {
                let mut events = glance::Events::new(passage, false);
                events.pass(&first);
                if let Some(failure) = events.seen.failure {
                    return Err(Error::new(ErrorKind::Upstream(502), failure));
                }
            }
            Ok(Answered { content_type, first, rest: body })
        }
        Some(Err(error)) => Err(unreachable(upstream.name(), &error)),
        None => Err(fault(upstream.name(), "sent nothing")),
    }
}

impl Relayed {
    /// The whole body of an answer that does not come as events.
    ///
    /// # Errors
    /// `Upstream` when the provider breaks it off.
    pub async fn whole(mut self) -> Result<(Bytes, Option<chat::Usage>), Error> {
        self.meter.seen(&Seen { pieces: 1, ..Seen::default() });
        // Most come in one piece.
        let mut whole = self.first.take().unwrap_or_default();
        let mut more = BytesMut::new();
        while let Some(bytes) = self.rest.next().await {
            let bytes = bytes.map_err(|error| unreachable(self.chosen.provider(), &error));
            let bytes = self.meter.watch(bytes)?;
            if more.len() + bytes.len() > WHOLE_BYTES {
                let too_much = fault(self.provider(), &format!("sent more than {WHOLE_BYTES} bytes"));
                return self.meter.watch(Err(too_much));
            }
            more.extend_from_slice(&std::mem::take(&mut whole));
            more.extend_from_slice(&bytes);
        }
        if whole.is_empty() {
            whole = more.freeze();
        }
        self.meter.seen(&glance::whole(self.passage, &whole));
        Ok((whole, self.meter.usage()))
    }

    /// Who answers.
    pub fn provider(&self) -> &Arc<str> {
        self.chosen.provider()
    }

    pub fn usage(&self) -> Option<chat::Usage> {
        self.meter.usage()
    }

    /// What goes on of these bytes.
    fn pass(&mut self, bytes: Bytes) -> Bytes {
        let instead = self.events.pass(&bytes);
        self.meter.seen(&self.events.seen);
        instead.map_or(bytes, Bytes::from)
    }

    /// The last bytes; none when nothing was held back.
    ///
    /// # Errors
    /// `Upstream` when the provider ended the stream before its end.
    fn rest(&mut self) -> Result<Bytes, Error> {
        let rest = self.events.rest();
        let seen = &self.events.seen;
        self.meter.seen(seen);
        if seen.done || seen.finish.is_some() || seen.failure.is_some() {
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
            let next = match self.first.take() {
                Some(first) => Some(Ok(first)),
                None => std::task::ready!(self.rest.poll_next_unpin(context)),
            };
            let item = match next {
                Some(Ok(bytes)) => Ok(self.pass(bytes)),
                Some(Err(error)) => {
                    self.ended = true;
                    Err(unreachable(self.provider(), &error))
                }
                None => {
                    self.ended = true;
                    self.rest()
                }
            };
            match self.meter.watch(item) {
                Ok(bytes) if bytes.is_empty() => {}
                other => return Poll::Ready(Some(other)),
            }
        }
    }
}
