//! The bill of one request: reserved before it begins, written down, settled once.

use std::sync::Arc;

use chat::{Delta, Error, ErrorKind, Usage};
use metrics::counter;
use store::{IMPLAUSIBLE, JobId, Record};

use crate::Caller;
use crate::attempt::Chosen;
use crate::books::Books;
use crate::journal::Place;
use crate::limits::Permit;
use crate::overdraft::{self, Overdraft};
use crate::plausibility::{Bounds, MOST_COST, contained, shown};
use crate::price::{Price, Units};
use crate::size::Size;
use crate::target::Target;
use crate::worst::Worst;

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
    size: Size,
    /// The provider has counted what cannot be true.
    implausible: bool,
    /// The bound of each answer that money sets where the caller sets none.
    pub(crate) cap: Option<u64>,
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
    /// `Invalid` for what costs more than any request may; `Balance`, `Rate`; `Forbidden` when the caller has a budget and the model no price; `Overload` when limits cannot be checked.
    pub(crate) async fn admit(
        books: &Arc<Books>,
        caller: &Caller,
        model: &Arc<str>,
        targets: &[Target],
        size: Size,
        overdraft: Overdraft,
    ) -> Result<Self, Error> {
        let at = store::now();
        let prompt = Usage { prompt_tokens: size.prompt, ..Usage::default() };
        let whole = Usage { completion_tokens: size.answer(), ..prompt };
        // Whoever answers: no more than the dearest of them.
        let prices = || targets.iter().filter_map(|target| target.price.as_ref());
        let cost = |usage| prices().map(|price| price.cost(usage, size.units, at)).max().unwrap_or(0);
        let worst = prices().map(|price| price.worst(size.prompt_most, size.units, at));
        let worst = worst.reduce(Worst::or).unwrap_or_default();
        if worst.fixed > MOST_COST.into() {
            let most = store::money::format(MOST_COST, 0);
            return Err(Error::invalid(format!(
                "The request would cost more than ${most}, the most that one request may"
            )));
        }
        let mut cap = None;
        let permit = match &caller.holder {
            Some(holder) if prices().count() < targets.len() && holder.has_budget() => {
                let message = format!("The model `{model}` has no price, and this key has a budget");
                return Err(Error::new(ErrorKind::Forbidden, message));
            }
            Some(holder) => {
                let bound = if holder.has_budget() { overdraft } else { Overdraft::LastRequest };
                let need = bound.need(worst, cost(&whole), &size, targets);
                let permit = books.admit(holder, overdraft::estimate(&size, need)).await.map_err(|mut error| {
                    let fitting = bound.fitting(worst, &holder.account, &size);
                    if let Some(tokens) = fitting.filter(|_| error.kind == ErrorKind::InsufficientBalance) {
                        error.message = format!("{}: a `max_tokens` of at most {tokens} would fit", error.message);
                    }
                    error
                })?;
                cap = bound.cap(worst, permit.reserved(), &size, targets);
                Some(permit)
            }
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
            prompt_tokens: tokens(prompt.prompt_tokens),
            cost: cost(&prompt),
            price: name(targets[0].price.as_ref()),
            ..Record::default()
        };
        let chosen = Chosen::among(targets);
        let (books, state, bought) = (books.clone(), State::Admitted, size.units);
        Ok(Self { books, permit, chosen, record, state, prompt, bought, pieces: 0, size, implausible: false, cap })
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
    pub(crate) fn submits(&mut self, job: JobId, provider_id: String, is_new: bool) {
        self.record.job = Some(job);
        self.record.provider_job = Some(provider_id);
        if !is_new {
            self.bought = Units { calls: 0, seconds: 0 };
        }
    }

    pub(crate) fn see(&mut self, delta: &Delta) {
        match delta {
            Delta::Start(usage) if usage.prompt_tokens > 0 => self.prompt = *usage,
            Delta::Text { .. } | Delta::Reasoning { .. } | Delta::Arguments { .. } => {
                self.pieces = self.pieces.saturating_add(1);
            }
            _ => {}
        }
    }

    /// Returns the provider's counts if they are plausible. Otherwise the provider has failed.
    ///
    /// # Errors
    /// The estimate by which the answer is settled instead.
    pub(crate) fn judge(&mut self, usage: Usage) -> Result<Usage, Usage> {
        let offer = self.chosen.get();
        let fault = self.bounds().fault(&usage);
        let usage = contained(usage);
        let dear = || {
            let cost = offer.price.as_ref()?.exact_cost(&usage, self.bought, self.record.at);
            (cost > MOST_COST.into()).then(|| ("cost", u64::try_from(cost).unwrap_or(u64::MAX)))
        };
        let Some((count, value)) = fault.or_else(dear) else { return Ok(usage) };
        if !std::mem::replace(&mut self.implausible, true) {
            offer.health.failed(None);
            counter!("cachalot_implausible_usage_total", "provider" => offer.provider.to_string()).increment(1);
            tracing::warn!(
                provider = &*offer.provider,
                model = &*self.record.model,
                id = self.record.id,
                count,
                value = shown(value),
                "a provider counted what cannot be true: the answer is settled by estimate"
            );
        }
        Err(self.estimate())
    }

    /// The range of the counts of the provider that answers.
    fn bounds(&self) -> Bounds {
        let context = self.chosen.get().context.filter(|_| !self.size.is_batch);
        Bounds::new(context, self.size.allowed, self.size.answers)
    }

    /// An estimate of the tokens that arrived.
    fn estimate(&self) -> Usage {
        let allowed = self.size.allowed.map_or(u64::MAX, |most| most.saturating_mul(self.size.answers));
        let allowed = allowed.min(self.bounds().output());
        contained(Usage { completion_tokens: self.pieces.min(allowed), ..self.prompt })
    }

    /// Settles: by what the provider counted, else by what came.
    pub(crate) fn settle(mut self, usage: Option<Usage>, times: Times, outcome: &'static str) {
        let usage = usage.filter(|_| !self.implausible);
        let came = times.first_token_us.is_some();
        let counted = usage.unwrap_or(if came {
            self.estimate()
        } else {
            Usage { completion_tokens: self.pieces, ..Usage::default() }
        });
        let State::Begun(place) = self.state else { return };
        let nothing = counted == Usage::default() && !came;
        let mut record = self.record;
        let offer = self.chosen.get();
        record.upstream = offer.provider.clone();
        record.price = name(offer.price.as_ref());
        record.cost = match &offer.price {
            Some(price) if !nothing => price.cost(&counted, self.bought, record.at),
            _ => 0,
        };
        if let Some(permit) = &mut self.permit {
            permit.settle(counted.prompt_tokens.saturating_add(counted.completion_tokens), record.cost);
        }
        record.prompt_tokens = tokens(counted.prompt_tokens);
        record.cached_tokens = tokens(counted.cached_tokens);
        record.cache_write_tokens = tokens(counted.cache_write_tokens);
        record.completion_tokens = tokens(counted.completion_tokens);
        record.reasoning_tokens = tokens(counted.reasoning_tokens.unwrap_or(0));
        record.estimated = self.implausible || (usage.is_none() && !nothing);
        record.first_token_us = times.first_token_us;
        record.total_us = times.total_us;
        record.outcome = if self.implausible { IMPLAUSIBLE } else { outcome }.into();
        self.books.end(record, place);
    }
}

/// A count as records have it.
fn tokens(count: u64) -> i64 {
    i64::try_from(count).map_or(store::MOST_TOKENS, |count| count.min(store::MOST_TOKENS))
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
