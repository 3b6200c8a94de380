//! The requests to providers that are made for one request of a caller.

use chat::{Error, ErrorKind};
use parking_lot::Mutex;
use store::{Attempt, now_micros};
use wire::surface::error::http_status;

use crate::redaction::redact_secrets;
use crate::routing::target::Target;

/// The attempts of one request so far, in their order.
#[derive(Debug, Default)]
pub(crate) struct AttemptLog(Mutex<Vec<Attempt>>);

impl AttemptLog {
    /// Records that the request is sent to a target.
    pub(crate) fn start(&self, target: &Target) {
        self.0.lock().push(Attempt {
            provider: target.provider.clone(),
            model: target.upstream_model.clone(),
            started_at: now_micros(),
            ..Attempt::default()
        });
    }

    /// Records that the last attempt has begun to answer.
    pub(crate) fn record_first_byte(&self) {
        if let Some(attempt) = self.0.lock().last_mut() {
            (attempt.first_byte_at, attempt.status) = (Some(now_micros()), Some(200));
        }
    }

    /// Records that the last attempt has failed. The first fault counts.
    pub(crate) fn record_fault(&self, error: &Error) {
        if let Some(attempt) = self.0.lock().last_mut().filter(|attempt| attempt.fault.is_none()) {
            attempt.ended_at = Some(now_micros());
            // An answer that breaks off had a status of its own.
            attempt.status = attempt.status.or_else(|| status(error));
            attempt.fault = Some(failure_reason(error));
        }
    }

    /// The attempts, if one of them failed. The last one ends now.
    pub(crate) fn take(&self) -> Vec<Attempt> {
        let mut attempts = std::mem::take(&mut *self.0.lock());
        if attempts.iter().all(|attempt| attempt.fault.is_none()) {
            return Vec::new();
        }
        if let Some(last) = attempts.last_mut() {
            last.ended_at = last.ended_at.or_else(|| Some(now_micros()));
        }
        attempts
    }
}

/// The status with which a provider refused a request, as far as an error tells.
fn status(error: &Error) -> Option<u16> {
    match error.kind {
        ErrorKind::Upstream(status) => Some(status),
        ErrorKind::InvalidRequest
        | ErrorKind::InsufficientBalance
        | ErrorKind::Forbidden
        | ErrorKind::NotFound
        | ErrorKind::TooLarge
        | ErrorKind::RateLimited
        | ErrorKind::Overloaded => Some(http_status(error)),
        _ => None,
    }
}

/// The message of an error without secrets, shortened.
pub(crate) fn failure_reason(error: &Error) -> String {
    redact_secrets(&error.message).chars().take(Attempt::MAX_FAULT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_shortened_and_only_the_first_counts() {
        let log = AttemptLog(Mutex::new(vec![Attempt::default()]));
        log.record_first_byte();
        log.record_fault(&Error::new(ErrorKind::Timeout, "é".repeat(300)));
        log.record_fault(&Error::new(ErrorKind::RateLimited, "later"));
        let attempts = log.take();
        assert_eq!((attempts[0].status, attempts[0].fault.as_ref().unwrap().chars().count()), (Some(200), 200));
        assert!(attempts[0].ended_at.is_some() && log.take().is_empty());
    }
}
