//! Counts what an answer cost and how long it took; settles once, when its end is seen or the stream is dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use chat::{BoxDeltaStream, Delta, Error, ErrorKind, FinishReason, Usage};
use futures_core::Stream;
use store::{IMPLAUSIBLE, JobId};
use wire::passthrough::usage_scanner::ResponseStats;

use crate::attempt::Chosen;
use crate::bill::{Bill, Times};
use crate::inflight::RequestMemory;
use crate::instruments::Instruments;
use crate::plausibility::contained;

/// An answer on its way, counted as it passes by. Dropping it cancels the request.
pub struct Metered {
    deltas: BoxDeltaStream,
    meter: Meter,
    chosen: Chosen,
    /// The mode the answer is given in, once the provider has judged the request.
    pub thinking: bool,
    /// What was accepted although DeepSeek's service would refuse it.
    pub notes: Vec<String>,
    /// The memory of the request.
    memory: RequestMemory,
}

impl Metered {
    pub(crate) fn new(
        deltas: BoxDeltaStream,
        meter: Meter,
        chosen: Chosen,
        thinking: bool,
        notes: Vec<String>,
        memory: RequestMemory,
    ) -> Self {
        Self { deltas, meter, chosen, thinking, notes, memory }
    }

    /// The memory of the request, of which whoever collects the answer takes some.
    pub fn memory(&self) -> &RequestMemory {
        &self.memory
    }

    /// Who answers, once a delta has come.
    pub fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// The id the request was routed by, as the list of models spells it.
    pub fn model(&self) -> &Arc<str> {
        self.meter.model()
    }

    /// `None` until the provider has said it.
    pub fn usage(&self) -> Option<Usage> {
        self.meter.usage
    }
}

impl Stream for Metered {
    type Item = Result<Delta, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut polled = self.deltas.as_mut().poll_next(context);
        if let Poll::Ready(Some(item)) = &mut polled {
            self.meter.see(item);
        }
        polled
    }
}

/// The record of one request.
pub(crate) struct Meter {
    instruments: Arc<Instruments>,
    started: Instant,
    usage: Option<Usage>,
    /// A finish reason, or how else it ended. A stream dropped before its end was cancelled.
    outcome: &'static str,
    first_token_us: Option<i64>,
    /// The provider has counted what cannot be true.
    implausible: bool,
    /// `None` until a provider is asked.
    bill: Option<Bill>,
}

impl Meter {
    pub(crate) fn start(instruments: &Arc<Instruments>) -> Self {
        instruments.began();
        let instruments = instruments.clone();
        Self {
            instruments,
            started: Instant::now(),
            usage: None,
            outcome: "cancelled",
            first_token_us: None,
            implausible: false,
            bill: None,
        }
    }

    /// Passes a result on, remembering a failure as the outcome.
    pub(crate) fn watch<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| self.outcome = word(error.kind))
    }

    pub(crate) fn model(&self) -> &Arc<str> {
        &self.instruments.model
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// What has been seen so far of an answer that passes by.
    pub(crate) fn seen(&mut self, seen: &ResponseStats) {
        if seen.content_events > 0 {
            self.word();
        }
        if let Some(bill) = &mut self.bill {
            bill.came(seen.content_events);
        }
        if let Some(usage) = seen.usage {
            self.usage = Some(self.judge(usage));
        }
        if let Some(reason) = seen.finish_reason {
            self.outcome = reason.as_str();
        }
        if seen.error_message.is_some() {
            self.outcome = "error";
        }
        if seen.is_complete {
            self.settle();
        }
    }

    /// The provider has taken a task, which is to be paid for when it is new: what there was to be done is done.
    pub(crate) fn submitted(&mut self, job: JobId, provider_id: String, is_new: bool) {
        if let Some(bill) = &mut self.bill {
            bill.submits(job, provider_id, is_new);
        }
        let (usage, finish) = (Some(Usage::default()), Some(FinishReason::Stop));
        self.seen(&ResponseStats {
            usage,
            finish_reason: finish,
            content_events: 1,
            error_message: None,
            is_complete: true,
        });
    }

    /// The provider has refused a task in its own words.
    pub(crate) fn refused(&mut self) {
        self.outcome = "invalid";
    }

    /// Settles the bill, if that has not been done. Who saw the end of an answer must find it booked, whatever happens next.
    fn settle(&mut self) {
        if let Some(bill) = self.bill.take() {
            let times = Times { first_token_us: self.first_token_us, total_us: micros(self.started) };
            bill.settle(self.usage, times, self.outcome());
        }
    }

    /// A finish reason, or how else it ended.
    fn outcome(&self) -> &'static str {
        if self.implausible { IMPLAUSIBLE } else { self.outcome }
    }

    /// The provider's counts if they are plausible, else an estimate.
    fn judge(&mut self, usage: Usage) -> Usage {
        let judged = match &mut self.bill {
            Some(bill) => bill.judge(usage),
            None => return self.usage.unwrap_or_else(|| contained(usage)),
        };
        judged.unwrap_or_else(|estimate| {
            self.implausible = true;
            estimate
        })
    }

    /// A piece of the answer came.
    fn word(&mut self) {
        if self.first_token_us.is_none() {
            self.first_token_us = Some(micros(self.started));
            self.instruments.first_token(self.started.elapsed());
        }
    }

    /// From now on what passes by is settled by `bill`.
    pub(crate) fn pays(&mut self, bill: Bill) {
        self.bill = Some(bill);
    }

    /// Looks at what passes by. Counts that cannot be true are replaced: nobody is told them.
    fn see(&mut self, item: &mut Result<Delta, Error>) {
        if let Ok(Delta::Start(usage) | Delta::Usage(usage)) = item {
            *usage = self.judge(*usage);
        }
        if let (Some(bill), Ok(delta)) = (&mut self.bill, &*item) {
            bill.see(delta);
        }
        match item {
            Ok(Delta::Start(_)) => {}
            Ok(Delta::Finish(reason)) => self.outcome = reason.as_str(),
            Ok(Delta::Usage(usage)) => {
                self.usage = Some(*usage);
                // It comes last.
                self.settle();
            }
            Ok(_) => self.word(),
            Err(error) => self.outcome = word(error.kind),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.instruments.ended(self.outcome(), self.usage, self.started.elapsed());
        self.settle();
    }
}

fn micros(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX)
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest => "invalid",
        ErrorKind::Overloaded => "overload",
        ErrorKind::Timeout => "timeout",
        _ => "error",
    }
}
