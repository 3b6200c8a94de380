//! The bill of one request: reserved before it begins, written down, settled once.

use std::sync::Arc;

use chat::{Chat, Delta, Error, ErrorKind, Input, Part, Usage};
use store::{JobId, Record};

use crate::Caller;
use crate::attempt::Chosen;
use crate::books::Books;
use crate::journal::Place;
use crate::limits::{Estimate, Permit};
use crate::price::{Price, Units};
use crate::target::Target;

/// Bytes of text that are one token, cautiously.
const BYTES_A_TOKEN: u64 = 3;
/// What an image or a file counts as.
const ATTACHMENT: usize = 3000;
/// Tokens an answer is taken to have whose request sets no bound.
const ANSWER_TOKENS: u64 = 4096;

/// What is known of the cost of one request.
pub(crate) struct Bill {
    books: Arc<Books>,
    permit: Option<Permit>,
    chosen: Chosen,
    record: Record,
    state: State,
    /// Of the prompt: estimated, until the provider has said it.
    prompt: Usage,
    /// What is not paid by the token.
    bought: Units,
    /// Pieces of the answer that came, a token each as far as anybody knows.
    pieces: u64,
}

/// How large a request is, in tokens, before anybody has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    prompt: u64,
    answer: u64,
    units: Units,
}

impl Size {
    pub(crate) fn of(chat: &Chat) -> Self {
        let most = chat.max_tokens.or(chat.max_completion_tokens).and_then(|most| u64::try_from(most).ok());
        Self::new(prompt_tokens(chat), most)
    }

    /// Of a body that is not read any further. `most` bounds its answer.
    pub(crate) fn of_body(body: &[u8], most: Option<u64>) -> Self {
        Self::new((bytes_of_text(body) as u64).div_ceil(BYTES_A_TOKEN), most)
    }

    /// Of what is not paid by the token.
    pub(crate) fn of_units(units: Units) -> Self {
        Self { units, ..Self::new(0, Some(0)) }
    }

    /// The same answered so many times.
    pub(crate) fn times(self, answers: u64) -> Self {
        Self { answer: self.answer.saturating_mul(answers).min(1 << 20), ..self }
    }

    fn new(prompt: u64, most: Option<u64>) -> Self {
        Self { prompt, answer: most.unwrap_or(ANSWER_TOKENS).min(1 << 20), units: Units::default() }
    }
}

enum State {
    /// Admitted, and nothing was asked of a provider yet.
    Admitted,
    Begun(Option<Place>),
}

impl Bill {
    /// Reserves what the chat may cost.
    ///
    /// # Errors
    /// `Balance`, `Rate`; `Forbidden` when the caller has a budget and the model no price; `Overload` when limits cannot be checked.
    pub(crate) async fn admit(
        books: &Arc<Books>,
        caller: &Caller,
        model: &Arc<str>,
        targets: &[Target],
        size: Size,
    ) -> Result<Self, Error> {
        let at = store::now();
        let prompt = Usage { prompt_tokens: size.prompt, ..Usage::default() };
        let whole = Usage { completion_tokens: size.answer, ..prompt };
        // Whoever answers: no more than the dearest of them.
        let prices = || targets.iter().filter_map(|target| target.price.as_ref());
        let cost = |usage| prices().map(|price| price.cost(usage, size.units, at)).max().unwrap_or(0);
        let estimate = Estimate { tokens: whole.prompt_tokens + whole.completion_tokens, cost: cost(&whole) };
        let permit = match &caller.holder {
            Some(holder) if prices().count() < targets.len() && holder.has_budget() => {
                let message = format!("The model `{model}` has no price, and this key has a budget");
                return Err(Error::new(ErrorKind::Forbidden, message));
            }
            Some(holder) => Some(books.admit(holder, estimate).await?),
            None => None,
        };
        let record = Record {
            id: uuid::Uuid::now_v7().to_string(),
            at,
            key_id: caller.holder.as_ref().map(|holder| holder.id.clone()),
            key_name: caller.key.clone().unwrap_or_default(),
            project_id: caller.holder.as_ref().map(|holder| holder.project.clone()),
            model: model.clone(),
            upstream: targets[0].upstream.clone(),
            prompt_tokens: prompt.prompt_tokens as i64,
            cost: cost(&prompt),
            price: name(targets[0].price.as_ref()),
            ..Record::default()
        };
        let chosen = Chosen::among(targets);
        let (books, state, bought) = (books.clone(), State::Admitted, size.units);
        Ok(Self { books, permit, chosen, record, state, prompt, bought, pieces: 0 })
    }

    /// Writes down that a provider is about to be asked.
    ///
    /// # Errors
    /// `Overload` when that cannot be written.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.state = State::Begun(self.books.begin(&self.record)?);
        Ok(())
    }

    /// Who tells the bill which of the targets answers.
    pub(crate) fn chosen(&self) -> Chosen {
        self.chosen.clone()
    }

    /// So many pieces of the answer came by.
    pub(crate) fn came(&mut self, pieces: u64) {
        self.pieces = pieces;
    }

    /// The provider has taken a task, which is to be paid for when it is new.
    pub(crate) fn submits(&mut self, job: JobId, is_new: bool) {
        self.record.job = Some(job);
        if !is_new {
            self.bought = Units { calls: 0, seconds: 0 };
        }
    }

    pub(crate) fn see(&mut self, delta: &Delta) {
        match delta {
            Delta::Start(usage) if usage.prompt_tokens > 0 => self.prompt = *usage,
            Delta::Text { .. } | Delta::Reasoning { .. } | Delta::Arguments { .. } => self.pieces += 1,
            _ => {}
        }
    }

    /// Settles: by what the provider counted, else by what came.
    pub(crate) fn settle(mut self, usage: Option<Usage>, times: Times, outcome: &'static str) {
        let State::Begun(place) = self.state else { return };
        let arrived = if times.first_token_us.is_some() { self.prompt } else { Usage::default() };
        let counted = usage.unwrap_or(Usage { completion_tokens: self.pieces, ..arrived });
        let nothing = counted == Usage::default() && times.first_token_us.is_none();
        let mut record = self.record;
        let (upstream, price) = self.chosen.get();
        record.upstream = upstream.clone();
        record.price = name(price.as_ref());
        record.cost = match price {
            Some(price) if !nothing => price.cost(&counted, self.bought, record.at),
            _ => 0,
        };
        let tokens = counted.prompt_tokens.saturating_add(counted.completion_tokens);
        if let Some(permit) = &mut self.permit {
            permit.settle(tokens, record.cost);
        }
        let number = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        record.prompt_tokens = number(counted.prompt_tokens);
        record.cached_tokens = number(counted.cached_tokens);
        record.cache_write_tokens = number(counted.cache_write_tokens);
        record.completion_tokens = number(counted.completion_tokens);
        record.reasoning_tokens = number(counted.reasoning_tokens.unwrap_or(0));
        record.estimated = usage.is_none() && !nothing;
        record.first_token_us = times.first_token_us;
        record.total_us = times.total_us;
        record.outcome = outcome.into();
        self.books.end(record, place);
    }
}

/// Microseconds from the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) first_token_us: Option<i64>,
    pub(crate) total_us: i64,
}

/// What records call a price; empty where there is none.
fn name(price: Option<&Arc<Price>>) -> Arc<str> {
    price.map(|price| price.name.clone()).unwrap_or_default()
}

/// About as many as are text in a body of JSON: what its strings hold in base64 are images and files.
fn bytes_of_text(body: &[u8]) -> usize {
    // No text is so long without a space, but Asian text, which is not ASCII.
    const LONG: usize = 4096;
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=:;,.".contains(byte);
    let mut text = body.len();
    let mut from = 0;
    for to in memchr::memchr_iter(b'"', body) {
        let piece = &body[from..to];
        if piece.len() >= LONG && piece[..LONG].iter().all(is_base64) {
            text = text - piece.len() + ATTACHMENT;
        }
        from = to + 1;
    }
    text
}

fn bytes_of(part: &Part) -> usize {
    match part {
        Part::Text(text) => text.len(),
        Part::Other { .. } => ATTACHMENT,
    }
}

/// About as many as the prompt will have.
fn prompt_tokens(chat: &Chat) -> u64 {
    let bytes: usize = match &chat.input {
        Input::Messages(messages) => {
            let calls = messages.iter().flat_map(|message| message.calls());
            let calls: usize = calls.map(|call| call.name.len() + call.arguments.len()).sum();
            let parts = messages.iter().flat_map(|message| message.content.iter().flatten());
            calls + parts.map(bytes_of).sum::<usize>() + 12 * messages.len()
        }
        Input::Text { prefix, suffix } => prefix.len() + suffix.as_ref().map_or(0, String::len),
        Input::Tokens(tokens) => return tokens.len() as u64,
    };
    let tools: usize =
        chat.tools.iter().map(|tool| serde_json::to_string(&tool.function).map_or(0, |text| text.len())).sum();
    ((bytes + tools) as u64).div_ceil(BYTES_A_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_in_a_body_is_no_text() {
        let body =
            |url: &str| format!(r#"{{"messages":[{{"content":[{{"image_url":{{"url":"{url}"}}}},"What is it?"]}}]}}"#);
        let around = body("").len();
        let image = body(&format!("data:image/png;base64,{}", "iVBORw0KGgo+/".repeat(50_000)));
        assert_eq!(bytes_of_text(image.as_bytes()), around + ATTACHMENT);
        for text in ["word ".repeat(5000), "\u{6587}".repeat(5000), "x".repeat(4000)] {
            assert_eq!(bytes_of_text(body(&text).as_bytes()), around + text.len());
        }
        assert_eq!(bytes_of_text(b"cut \"AAAA"), 9);
    }
}
