//! How far an answer has come.

use chat::{Delta, Error, ErrorKind, FinishReason, Usage};

use super::content::Content;
use crate::upstream::error::provider_error;

/// How far an answer has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerProgress {
    /// The billable pieces that have arrived.
    pub pieces: u64,
    /// The usage that was reported last.
    pub usage: Option<Usage>,
    /// Why the answer ended.
    pub finish_reason: Option<FinishReason>,
    /// The first failure. Events after it are not read.
    pub failure: Option<Error>,
    /// Whether the last event has arrived.
    pub is_complete: bool,
    pub(super) has_calls: bool,
    pub(super) is_usage_final: bool,
    pub(super) is_failure_reported: bool,
}

impl AnswerProgress {
    /// The progress of an answer that is complete at once, such as that of a task.
    pub fn completed(usage: Option<Usage>) -> Self {
        let finish_reason = Some(FinishReason::Stop);
        Self { pieces: 1, usage, finish_reason, is_complete: true, is_usage_final: true, ..Self::default() }
    }

    /// Whether content has arrived.
    pub fn has_started(&self) -> bool {
        self.pieces > 0
    }

    /// Whether the provider has ended the answer.
    pub fn has_ended(&self) -> bool {
        self.is_complete || self.finish_reason.is_some()
    }

    /// Whether the usage was reported at the end, and so counts the whole answer.
    pub fn is_usage_final(&self) -> bool {
        self.is_usage_final
    }

    /// Whether the provider reports the failure, so that callers of its API can read it.
    pub fn is_failure_reported(&self) -> bool {
        self.is_failure_reported
    }

    /// The way in which the answer has ended, if no further event arrives.
    ///
    /// # Errors
    /// The failure, `Overloaded` if the provider gave up before the first content, and `Upstream`
    /// if the answer is not complete.
    pub fn end(&self) -> Result<FinishReason, Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        match self.finish_reason {
            Some(FinishReason::InsufficientSystemResource) if !self.has_started() => {
                Err(Error::new(ErrorKind::Overloaded, "The provider has too few resources for an answer now"))
            }
            Some(reason) => Ok(reason),
            // Some services send only their last event.
            None if self.is_complete && self.has_calls => Ok(FinishReason::ToolCalls),
            None if self.is_complete && self.has_started() => Ok(FinishReason::Stop),
            None => Err(provider_error("The provider's answer broke off before its end")),
        }
    }

    /// Gives an answer that only its last event has ended a finish reason.
    pub(super) fn infer_reason(&mut self) {
        if self.is_complete && self.finish_reason.is_none() {
            self.finish_reason = self.end().ok();
        }
    }

    /// Adds a delta of the local engine, whose events are deltas.
    pub fn add_delta(&mut self, delta: &Delta) {
        match delta {
            Delta::Start(usage) => self.usage = Some(*usage).filter(|usage| usage.prompt_tokens > 0),
            Delta::Text { .. } | Delta::Reasoning { .. } | Delta::Arguments { .. } => self.add_piece(),
            Delta::Prompt { .. } | Delta::Signature(_) | Delta::Citation(_) | Delta::Media(_) | Delta::Dropped(_) => {}
            Delta::ToolCall { .. } => self.has_calls = true,
            Delta::Finish(reason) => self.finish_reason = Some(*reason),
            Delta::Usage(usage) => {
                self.record_usage(Some(*usage));
                self.is_complete = true;
            }
        }
    }

    /// Counts the content of an event.
    pub(super) fn add_content(&mut self, content: Content) {
        if content.is_any {
            self.add_piece();
        }
        self.has_calls |= content.is_call;
    }

    /// Counts an event with content.
    pub(crate) fn add_piece(&mut self) {
        self.pieces = self.pieces.saturating_add(1);
    }

    /// Marks a failure as one that the provider reports.
    pub(crate) fn reported(&mut self, failure: Error) -> Error {
        self.is_failure_reported = true;
        failure
    }

    /// Records the usage of an event, if it has one. A finish reason of the same event is recorded
    /// first.
    pub(crate) fn record_usage(&mut self, usage: Option<Usage>) {
        if usage.is_some() {
            self.usage = usage;
            self.is_usage_final = self.finish_reason.is_some();
        }
    }
}
