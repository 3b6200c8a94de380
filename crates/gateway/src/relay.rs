//! An answer that passes as it comes: caller and provider speak the same dialect, so the original bytes go on, but for the
//! few fields that policy changes. The same admission, routing and metering as [`Gateway::answer`].

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use chat::{Error, ErrorKind};
use futures_core::Stream;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::header::HeaderMap;
use wire::glance::{self, Passage, Seen};
use wire::splice::Fields;

use crate::attempt;
use crate::bill::{Bill, Size};
use crate::meter::Meter;
use crate::route::{Mode, Place, Route, Target, permitted};
use crate::upstream::unreachable;
use crate::{Caller, Gateway};

/// Most bytes of a whole answer that are kept to read its usage.
const WHOLE_BYTES: usize = 64 << 20;

/// An answer on its way, as its provider sends it. Dropping it cancels the request; it is metered once.
pub struct Relayed {
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    passage: Passage,
    look: Look,
    meter: Meter,
    provider: std::sync::Arc<str>,
    ended: bool,
    /// `text/event-stream` or what the provider says it is.
    pub content_type: String,
}

enum Look {
    Events(Box<glance::Events>),
    Whole(Vec<u8>),
}

impl Gateway {
    /// Passes a request on as it is, if all that could answer it speak its dialect; `None` when it has to be read and answered
    /// ([`Gateway::answer`]). `headers` go on with it: those of the caller's that mean something to the provider.
    ///
    /// # Errors
    /// As [`Gateway::answer`].
    pub async fn relay(
        &self,
        caller: &Caller,
        passage: Passage,
        body: &Bytes,
        headers: &HeaderMap,
    ) -> Result<Option<Relayed>, Error> {
        // What cannot be scanned gets its documented refusal from whoever parses it.
        let Ok(fields) = Fields::scan(body) else { return Ok(None) };
        let Some(model) = fields.text("model") else { return Ok(None) };
        let Some(route) = self.routes.load().passes(&model, passage) else { return Ok(None) };
        let route = permitted(caller, &model, route)?;

        let stream = fields.get("stream") == Some(b"true");
        let wants_usage = fields.value("stream_options").is_some_and(|options| options["include_usage"] == true);
        let mut meter = Meter::start(&route.id);
        let targets = route.order();
        let most = if passage == Passage::Embeddings { Some(0) } else { most(&fields) };
        let size = Size::of_body(body.len(), most);
        let mut bill = meter.watch(Bill::admit(&self.books, caller, &route.id, &targets, size))?;
        meter.watch(bill.begin())?;
        let chosen = bill.chosen();
        meter.pays(bill);
        let ask = |target: Target| {
            let body = edited(&fields, passage, body, &route, &target, stream);
            first_bytes(target, passage, body, headers)
        };
        let answered = attempt::each(&targets, &chosen, &self.retries, ask).await;
        let Answered { content_type, body, provider } = meter.watch(answered)?;
        let look = match stream {
            true => {
                let hide_usage = passage != Passage::Messages && !wants_usage;
                Look::Events(Box::new(glance::Events::new(passage, hide_usage)))
            }
            false => Look::Whole(Vec::new()),
        };
        Ok(Some(Relayed { body, passage, look, meter, provider, ended: false, content_type }))
    }
}

/// The most tokens of the answer that the request allows.
fn most(fields: &Fields<'_>) -> Option<u64> {
    ["max_tokens", "max_completion_tokens"].iter().find_map(|key| fields.value(key)?.as_u64())
}

/// The body for one target: its name for the model, the mode of the id, and the usage that bills are made of.
fn edited(fields: &Fields<'_>, passage: Passage, body: &Bytes, route: &Route, target: &Target, stream: bool) -> Bytes {
    let mut changes = Vec::new();
    if fields.text("model").as_deref() != Some(&*target.model) {
        changes.push(("model", serde_json::Value::from(&*target.model).to_string()));
    }
    match route.mode {
        Mode::Always => changes.push(("thinking", r#"{"type":"enabled"}"#.into())),
        Mode::Never => changes.push(("thinking", r#"{"type":"disabled"}"#.into())),
        _ => {}
    }
    if stream && passage != Passage::Messages {
        let mut options = fields.value("stream_options").unwrap_or_else(|| serde_json::json!({}));
        if options.is_object() && options["include_usage"] != true {
            options["include_usage"] = true.into();
            changes.push(("stream_options", options.to_string()));
        }
    }
    if changes.is_empty() { body.clone() } else { fields.with(&changes).into() }
}

struct Answered {
    content_type: String,
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    provider: std::sync::Arc<str>,
}

/// Asks one target, and waits for the first bytes of its answer.
async fn first_bytes(target: Target, passage: Passage, body: Bytes, headers: &HeaderMap) -> Result<Answered, Error> {
    let Place::Remote(upstream) = &target.place else { return Err(Error::internal("only providers elsewhere relay")) };
    let response = upstream.post(passage.path(), None, headers, body).await?;
    let content_type = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    let content_type = content_type.unwrap_or("application/json").to_owned();
    let mut body = response.bytes_stream().boxed();
    let provider = upstream.name().clone();
    match body.next().await {
        Some(Ok(first)) => {
            let mut events = glance::Events::new(passage, false);
            events.pass(&first);
            match events.seen.failure {
                Some(failure) => Err(Error::new(ErrorKind::Upstream(502), failure)),
                None => {
                    let body = futures_util::stream::iter([Ok(first)]).chain(body).boxed();
                    Ok(Answered { content_type, body, provider })
                }
            }
        }
        Some(Err(error)) => Err(unreachable(&provider, &error)),
        None => Err(Error::new(ErrorKind::Upstream(502), format!("The provider `{provider}` sent nothing"))),
    }
}

impl Relayed {
    /// The id the request was routed by.
    pub fn model(&self) -> &std::sync::Arc<str> {
        self.meter.model()
    }

    /// It comes as events.
    pub fn streams(&self) -> bool {
        matches!(self.look, Look::Events(_))
    }

    pub fn usage(&self) -> Option<chat::Usage> {
        self.meter.usage()
    }

    /// What goes on of these bytes.
    fn pass(&mut self, bytes: Bytes) -> Bytes {
        match &mut self.look {
            Look::Events(events) => {
                let instead = events.pass(&bytes);
                self.meter.seen(&events.seen);
                instead.map_or(bytes, Bytes::from)
            }
            Look::Whole(body) => {
                self.meter.seen(&Seen { pieces: 1, ..Seen::default() });
                if body.len() + bytes.len() <= WHOLE_BYTES {
                    body.extend_from_slice(&bytes);
                }
                bytes
            }
        }
    }

    /// The last bytes; none when nothing was held back.
    ///
    /// # Errors
    /// `Upstream` when the provider ended a stream before its end.
    fn rest(&mut self) -> Result<Bytes, Error> {
        match &mut self.look {
            Look::Events(events) => {
                let rest = events.rest();
                self.meter.seen(&events.seen);
                let whole = events.seen.done || events.seen.finish.is_some() || events.seen.failure.is_some();
                let broken = || format!("The provider `{}` broke off its answer", self.provider);
                if whole { Ok(rest.into()) } else { Err(Error::new(ErrorKind::Upstream(502), broken())) }
            }
            Look::Whole(body) => {
                self.meter.seen(&glance::whole(self.passage, body));
                Ok(Bytes::new())
            }
        }
    }
}

impl Stream for Relayed {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let item = match std::task::ready!(self.body.poll_next_unpin(context)) {
                Some(Ok(bytes)) => Ok(self.pass(bytes)),
                Some(Err(error)) => {
                    self.ended = true;
                    Err(unreachable(&self.provider, &error))
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
