//! A body that passes: what it says, and what it becomes for each target. Both take as long as the body is large, and so leave
//! the threads that serve connections where it is.

use std::sync::Arc;

use bytes::Bytes;
use chat::{Error, ErrorKind};
use http::header::{CONTENT_TYPE, HeaderMap};
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::affinity::Beginning;
use crate::inflight::{Hold, RequestMemory};
use crate::relay::Said;
use crate::route::Mode;
use crate::size::Size;
use crate::stated;
use crate::target::{Place, Target};
use crate::work::{QUICK_BYTES, aside};

/// Most bytes that changed fields add to a body.
const ADDED: usize = 8 << 10;

/// The fields of a body by which a request is admitted and routed.
pub(crate) struct Looked {
    pub(crate) model: Option<String>,
    /// Events are wanted,
    pub(crate) streams: bool,
    /// and one of them for the usage.
    pub(crate) wants_usage: bool,
    /// Or why it has none, which is told to those who may ask.
    pub(crate) size: Result<Size, Error>,
    pub(crate) beginning: Option<Beginning>,
}

/// A body and what it says. One that is quick to scan is scanned once; of others, only what was looked for is kept.
pub(crate) struct Scanned<'a> {
    body: &'a Bytes,
    said: Option<Said<'a>>,
    memory: RequestMemory,
    pub(crate) looked: Looked,
}

impl<'a> Scanned<'a> {
    /// # Errors
    /// `Invalid` for what is no body of its kind.
    pub(crate) async fn of(
        memory: &RequestMemory,
        passage: ApiEndpoint,
        headers: &HeaderMap,
        body: &'a Bytes,
    ) -> Result<Self, Error> {
        let memory = memory.clone();
        if body.len() <= QUICK_BYTES {
            let said = Said::scan(headers, body)?;
            let looked = said.look(passage, body);
            return Ok(Self { body, said: Some(said), memory, looked });
        }
        let (headers, bytes) = (kind(headers), body.clone());
        let look = move || {
            let said = Said::scan(&headers, &bytes)?;
            let beginning = Some(said.beginning());
            Ok(Looked { beginning, ..said.look(passage, &bytes) })
        };
        let looked = aside(&memory, body.len(), look).await?;
        Ok(Self { body, said: None, memory, looked })
    }

    pub(crate) fn beginning(&mut self) -> Beginning {
        let scanned = self.said.as_ref().map(Said::beginning);
        self.looked.beginning.take().or(scanned).unwrap_or_default()
    }

    /// The bodies for `targets`, of which that for the first is made now.
    ///
    /// # Errors
    /// As [`RequestMemory::hold`].
    pub(crate) async fn bodies(self, edit: Edit, headers: &HeaderMap, targets: &[Target]) -> Result<Bodies, Error> {
        let model = targets[0].model.clone();
        let first = match &self.said {
            Some(said) => edited(&edit, said, self.body.clone(), &model, self.memory.empty())?,
            None => edited_aside(&self.memory, &edit, headers, self.body, &model).await?,
        };
        // Nearly always all of them call the model the same.
        let others = targets.iter().any(|target| target.model != model);
        let original = others.then(|| (self.body.clone(), kind(headers), edit));
        Ok(Bodies { first, model, original, memory: self.memory })
    }
}

/// The header that says of which kind a body is.
fn kind(headers: &HeaderMap) -> HeaderMap {
    headers.get(CONTENT_TYPE).map(|kind| (CONTENT_TYPE, kind.clone())).into_iter().collect()
}

async fn edited_aside(
    memory: &RequestMemory,
    edit: &Edit,
    headers: &HeaderMap,
    body: &Bytes,
    model: &Arc<str>,
) -> Result<Bytes, Error> {
    let hold = memory.empty();
    let (headers, bytes, edit, model) = (kind(headers), body.clone(), edit.clone(), model.clone());
    aside(memory, body.len(), move || {
        let said = Said::scan(&headers, &bytes)?;
        edited(&edit, &said, bytes.clone(), &model, hold)
    })
    .await
}

/// `body`, which says `said`, for a target that calls the model so. Its memory is reserved before it is copied.
///
/// # Errors
/// As [`RequestMemory::hold`].
fn edited(edit: &Edit, said: &Said<'_>, body: Bytes, model: &str, mut hold: Hold) -> Result<Bytes, Error> {
    let changes = edit.changes(said, model);
    if changes.is_empty() {
        return Ok(body);
    }
    hold.grow(body.len() + ADDED)?;
    let edited = said.with(changes);
    hold.set(edited.len())?;
    Ok(hold.over(edited))
}

/// The fields of a body that policy changes: the model's name, the thinking mode of its id, the request for usage, and the
/// output bound that the budget sets.
#[derive(Clone)]
pub(crate) struct Edit {
    pub(crate) passage: ApiEndpoint,
    pub(crate) mode: Mode,
    pub(crate) stream: bool,
    pub(crate) cap: Option<Cap>,
}

/// The bound of an answer that money sets where the caller sets none.
#[derive(Clone, Copy)]
pub(crate) struct Cap {
    tokens: u64,
    /// The name of the field in chat completions.
    field: &'static str,
}

impl Cap {
    pub(crate) fn of(tokens: Option<u64>, targets: &[Target]) -> Option<Self> {
        let openai =
            |target: &Target| matches!(&target.place, Place::Remote(upstream) if upstream.dialect() == Dialect::OpenAi);
        let field = if targets.iter().all(openai) { "max_completion_tokens" } else { "max_tokens" };
        Some(Self { tokens: tokens?, field })
    }

    /// The fields that are to say it: those that are there, else the one that the provider knows.
    fn fields(self, passage: ApiEndpoint, said: &Said<'_>) -> Vec<(&'static str, String)> {
        let there = ["max_tokens", "max_completion_tokens"].into_iter().filter(|field| said.has(field));
        let mut fields: Vec<_> = there.collect();
        if fields.is_empty() {
            fields.push(if passage == ApiEndpoint::ChatCompletions { self.field } else { "max_tokens" });
        }
        fields.into_iter().map(|field| (field, self.tokens.to_string())).collect()
    }
}

/// The changes of a body for one target.
#[derive(Default)]
pub(crate) struct Changes<'a> {
    /// The target's name for the model, where the body names another.
    pub(crate) model: Option<&'a str>,
    /// Fields of JSON and their new values, as JSON.
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl Changes<'_> {
    fn is_empty(&self) -> bool {
        self.model.is_none() && self.fields.is_empty()
    }
}

impl Edit {
    /// The changes for a target that calls the model so.
    fn changes<'a>(&self, said: &Said<'_>, model: &'a str) -> Changes<'a> {
        let Said::Json(fields) = said else { return Changes { model: said.renaming(model), ..Changes::default() } };
        // The path of this one says all else of it. A configuration that is none was refused before.
        if self.passage == ApiEndpoint::GenerateContent {
            let bound = self.cap.and_then(|cap| stated::output_bound(fields, cap.tokens).ok());
            return Changes { model: None, fields: bound.into_iter().collect() };
        }
        Changes { model: said.renaming(model), fields: self.fields(said) }
    }

    /// The fields that change whatever the target is.
    fn fields(&self, said: &Said<'_>) -> Vec<(&'static str, String)> {
        let mut changes = Vec::new();
        match self.mode {
            Mode::Always => changes.push(("thinking", r#"{"type":"enabled"}"#.into())),
            Mode::Never => changes.push(("thinking", r#"{"type":"disabled"}"#.into())),
            _ => {}
        }
        changes.extend(self.cap.into_iter().flat_map(|cap| cap.fields(self.passage, said)));
        if self.stream && self.passage.is_completions() {
            let mut options = said.short("stream_options").unwrap_or_else(|| serde_json::json!({}));
            if options.is_object() && options["include_usage"] != true {
                options["include_usage"] = true.into();
                changes.push(("stream_options", options.to_string()));
            }
        }
        changes
    }
}

/// The body for each target: made for the first, and for others when they are asked.
pub(crate) struct Bodies {
    first: Bytes,
    /// The first target's name for the model.
    model: Arc<str>,
    original: Option<(Bytes, HeaderMap, Edit)>,
    memory: RequestMemory,
}

impl Bodies {
    /// # Errors
    /// As [`RequestMemory::hold`].
    pub(crate) async fn of(&self, target: &Target) -> Result<Bytes, Error> {
        match &self.original {
            Some((body, headers, edit)) if target.model != self.model => {
                edited_aside(&self.memory, edit, headers, body, &target.model).await
            }
            _ => Ok(self.first.clone()),
        }
    }
}

/// Whether the body is malformed: its parser then returns the documented error.
pub(crate) fn is_invalid(error: &Error) -> bool {
    error.kind == ErrorKind::InvalidRequest
}
