//! Counts what an answer cost and how long it took; settles once, when its end is seen or the
//! stream is dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use chat::{BoxDeltaStream, Delta, Error, ErrorKind, FinishReason, Usage};
use futures_core::Stream;
use store::{IMPLAUSIBLE, TaskId};
use wire::passthrough::usage_scanner::ResponseStats;

use crate::billing::charge::{Charge, Timings};
use crate::billing::plausibility::clamp_parts;
use crate::memory::inflight_budget::RequestMemory;
use crate::model_metrics::ModelMetrics;
use crate::routing::failover::SelectedTarget;

/// An answer on its way, counted as it passes by. Dropping it cancels the request.
pub struct MeteredStream {
    deltas: BoxDeltaStream,
    meter: RequestMeter,
    selected: SelectedTarget,
    /// The mode the answer is given in, once the provider has judged the request.
    pub thinking: bool,
    /// What was accepted although DeepSeek's service would refuse it.
    pub notes: Vec<String>,
    /// The memory of the request.
    memory: RequestMemory,
}

impl MeteredStream {
    pub(crate) fn new(
        deltas: BoxDeltaStream,
        meter: RequestMeter,
        selected: SelectedTarget,
        thinking: bool,
        notes: Vec<String>,
        memory: RequestMemory,
    ) -> Self {
        Self { deltas, meter, selected, thinking, notes, memory }
    }

    /// The memory of the request, of which whoever collects the answer takes some.
    pub fn memory(&self) -> &RequestMemory {
        &self.memory
    }

    /// Who answers, once a delta has come.
    pub fn selected_target(&self) -> &SelectedTarget {
        &self.selected
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

impl Stream for MeteredStream {
    type Item = Result<Delta, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut polled = self.deltas.as_mut().poll_next(context);
        if let Poll::Ready(Some(item)) = &mut polled {
            self.meter.observe_delta(item);
        }
        polled
    }
}

/// The record of one request.
pub(crate) struct RequestMeter {
    model_metrics: Arc<ModelMetrics>,
    started: Instant,
    usage: Option<Usage>,
    /// A finish reason, or how else it ended. A stream dropped before its end was cancelled.
    outcome: &'static str,
    first_token_us: Option<i64>,
    /// The provider has counted what cannot be true.
    implausible: bool,
    /// `None` until a provider is asked.
    charge: Option<Charge>,
}

impl RequestMeter {
    pub(crate) fn start(model_metrics: &Arc<ModelMetrics>) -> Self {
        model_metrics.record_start();
        let model_metrics = model_metrics.clone();
        Self {
            model_metrics,
            started: Instant::now(),
            usage: None,
            outcome: "cancelled",
            first_token_us: None,
            implausible: false,
            charge: None,
        }
    }

    /// Passes a result on, remembering a failure as the outcome.
    pub(crate) fn record_error<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| self.outcome = outcome_of_error(error.kind))
    }

    pub(crate) fn model(&self) -> &Arc<str> {
        &self.model_metrics.model
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// What has been seen so far of an answer that passes by.
    pub(crate) fn observe_stream(&mut self, seen: &ResponseStats) {
        if seen.content_events > 0 {
            self.record_first_output();
        }
        if let Some(charge) = &mut self.charge {
            charge.record_chunks(seen.content_events);
        }
        if let Some(usage) = seen.usage {
            self.usage = Some(self.validate_usage(usage));
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

    /// The provider has taken a task, which is to be paid for when it is new: what there was to
    /// be done is done.
    pub(crate) fn record_task(&mut self, task: TaskId, provider_id: String, is_new: bool) {
        if let Some(charge) = &mut self.charge {
            charge.record_task(task, provider_id, is_new);
        }
        let (usage, finish) = (Some(Usage::default()), Some(FinishReason::Stop));
        self.observe_stream(&ResponseStats {
            usage,
            finish_reason: finish,
            content_events: 1,
            error_message: None,
            is_complete: true,
        });
    }

    /// The provider has refused a task in its own words.
    pub(crate) fn record_refusal(&mut self) {
        self.outcome = "invalid";
    }

    /// Settles the charge, if that has not been done. Who saw the end of an answer must find it
    /// booked, whatever happens next.
    fn settle(&mut self) {
        if let Some(charge) = self.charge.take() {
            let times = Timings { first_token_us: self.first_token_us, total_us: elapsed_micros(self.started) };
            charge.settle(self.usage, times, self.outcome());
        }
    }

    /// A finish reason, or how else it ended.
    fn outcome(&self) -> &'static str {
        if self.implausible { IMPLAUSIBLE } else { self.outcome }
    }

    /// The provider's counts if they are plausible, else an estimate.
    fn validate_usage(&mut self, usage: Usage) -> Usage {
        let judged = match &mut self.charge {
            Some(charge) => charge.validate_usage(usage),
            None => return self.usage.unwrap_or_else(|| clamp_parts(usage)),
        };
        judged.unwrap_or_else(|estimate| {
            self.implausible = true;
            estimate
        })
    }

    /// A piece of the answer came.
    fn record_first_output(&mut self) {
        if self.first_token_us.is_none() {
            self.first_token_us = Some(elapsed_micros(self.started));
            self.model_metrics.record_first_token(self.started.elapsed());
        }
    }

    /// From now on what passes by is settled by `charge`.
    pub(crate) fn attach_charge(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }

    /// Looks at what passes by. Counts that cannot be true are replaced: nobody is told them.
    fn observe_delta(&mut self, item: &mut Result<Delta, Error>) {
        if let Ok(Delta::Start(usage) | Delta::Usage(usage)) = item {
            *usage = self.validate_usage(*usage);
        }
        if let (Some(charge), Ok(delta)) = (&mut self.charge, &*item) {
            charge.observe_delta(delta);
        }
        match item {
            Ok(Delta::Start(_)) => {}
            Ok(Delta::Finish(reason)) => self.outcome = reason.as_str(),
            Ok(Delta::Usage(usage)) => {
                self.usage = Some(*usage);
                // It comes last.
                self.settle();
            }
            Ok(_) => self.record_first_output(),
            Err(error) => self.outcome = outcome_of_error(error.kind),
        }
    }
}

impl Drop for RequestMeter {
    fn drop(&mut self) {
        self.model_metrics.record_end(self.outcome(), self.usage, self.started.elapsed());
        self.settle();
    }
}

fn elapsed_micros(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX)
}

fn outcome_of_error(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest => "invalid",
        ErrorKind::Overloaded => "overload",
        ErrorKind::Timeout => "timeout",
        _ => "error",
    }
}
