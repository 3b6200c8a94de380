//! Failures of a connection to a provider.

use std::error::Error;
use std::iter::successors;

/// Why a response did not arrive, or not completely.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("timed out")]
    Timeout,
    #[error("no connection: {0}")]
    Connect(String),
    #[error("{0}")]
    Interrupted(String),
}

/// Formats an error and its causes. For the log only: the text may contain the provider's address,
/// which callers must not see.
pub(super) fn error_chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The error itself, then its sources.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}
