//! The meter of one request: its outcome, times and usage, for metrics and for the usage record.

use std::sync::Arc;
use std::time::Instant;

use chat::{Delta, Error, ErrorKind, Usage};
use store::{IMPLAUSIBLE, TaskId};
use wire::progress::AnswerProgress;

use crate::billing::charge::{Charge, Timings};
use crate::billing::plausibility::clamp_parts;
use crate::model_metrics::ModelMetrics;

/// The meter of one request. It settles the charge once: when it observes the end of the response,
/// else when it is dropped.
pub(crate) struct RequestMeter {
    model_metrics: Arc<ModelMetrics>,
    started: Instant,
    /// The usage as the provider reported it last.
    reported: Option<Usage>,
    /// The same, if it is plausible, else an estimate.
    usage: Option<Usage>,
    /// A finish reason, or how else the request ended. A stream dropped before its
    /// end was cancelled.
    outcome: &'static str,
    first_token_us: Option<i64>,
    /// The provider reported implausible usage.
    implausible: bool,
    /// `None` before a provider is called, and after settlement.
    charge: Option<Charge>,
}

impl RequestMeter {
    /// Starts a request of the model.
    pub(crate) fn start(model_metrics: &Arc<ModelMetrics>) -> Self {
        model_metrics.record_start();
        let model_metrics = model_metrics.clone();
        Self {
            model_metrics,
            started: Instant::now(),
            reported: None,
            usage: None,
            outcome: "cancelled",
            first_token_us: None,
            implausible: false,
            charge: None,
        }
    }

    /// Returns the result, and keeps an error as the outcome.
    pub(crate) fn record_error<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| self.outcome = outcome_of_error(error.kind))
    }

    /// The model id of the route.
    pub(crate) fn model(&self) -> &Arc<str> {
        &self.model_metrics.model
    }

    /// The usage; `None` until the provider has reported it.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Observes an answer, as far as it was received.
    pub(crate) fn observe(&mut self, progress: &AnswerProgress) {
        if progress.has_started() {
            self.record_first_output();
        }
        if let Some(charge) = &mut self.charge {
            charge.record_pieces(progress.pieces, progress.is_usage_final());
        }
        // An estimate grows with the pieces.
        if let Some(usage) = progress.usage.filter(|usage| self.implausible || self.reported != Some(*usage)) {
            self.reported = Some(usage);
            self.usage = Some(self.check_reported_usage(usage));
        }
        if let Some(reason) = progress.finish_reason {
            self.outcome = reason.as_str();
        }
        if let Some(failure) = &progress.failure {
            self.record_failure(failure);
        }
        if progress.is_complete {
            self.settle();
        }
    }

    fn record_failure(&mut self, failure: &Error) {
        self.outcome = outcome_of_error(failure.kind);
        if let Some(charge) = &self.charge {
            charge.record_fault(failure);
        }
    }

    /// Records that the provider accepted a task, which ends the request. Only a
    /// new task is billed.
    pub(crate) fn record_task(&mut self, task: TaskId, provider_id: String, is_new: bool) {
        if let Some(charge) = &mut self.charge {
            charge.record_task(task, provider_id, is_new);
        }
        self.observe(&AnswerProgress::completed(Some(Usage::default())));
    }

    /// Records that the provider refused a task.
    pub(crate) fn record_refusal(&mut self) {
        self.outcome = "invalid";
    }

    /// Settles the charge, once: before the caller receives the end of the response.
    fn settle(&mut self) {
        if let Some(charge) = self.charge.take() {
            let timings = Timings { first_token_us: self.first_token_us, total_us: elapsed_micros(self.started) };
            charge.settle(self.usage, timings, self.outcome());
        }
    }

    /// A finish reason, or how else the request ended.
    fn outcome(&self) -> &'static str {
        if self.implausible { IMPLAUSIBLE } else { self.outcome }
    }

    /// The usage that the provider reported if it is plausible, else an estimate.
    fn check_reported_usage(&mut self, usage: Usage) -> Usage {
        let validated = match &mut self.charge {
            Some(charge) => charge.check_reported_usage(usage),
            None => return self.usage.unwrap_or_else(|| clamp_parts(usage)),
        };
        validated.unwrap_or_else(|estimate| {
            self.implausible = true;
            estimate
        })
    }

    /// Records the time of the first output.
    fn record_first_output(&mut self) {
        if self.first_token_us.is_none() {
            self.first_token_us = Some(elapsed_micros(self.started));
            self.model_metrics.record_first_token(self.started.elapsed());
        }
    }

    /// Attaches the charge that the observed usage settles.
    pub(crate) fn attach_charge(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }

    /// Observes a delta on its way to the caller, after the progress of its answer. Implausible
    /// usage is replaced by an estimate, so that the caller receives what is billed.
    pub(super) fn observe_item(&mut self, item: &mut Result<Delta, Error>) {
        match item {
            Ok(Delta::Start(usage)) => {
                *usage = Usage { completion_tokens: 0, reasoning_tokens: None, ..self.check_reported_usage(*usage) };
            }
            Ok(Delta::Usage(usage)) => *usage = self.check_reported_usage(*usage),
            Ok(_) => {}
            Err(error) => self.record_failure(error),
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
        ErrorKind::InvalidRequest | ErrorKind::NotFound => "invalid",
        ErrorKind::Overloaded => "overload",
        ErrorKind::Timeout => "timeout",
        _ => "error",
    }
}
