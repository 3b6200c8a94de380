//! Failures of a connection to a provider.

use std::error::Error;
use std::io;
use std::iter::successors;

/// Why a response did not arrive, or not completely.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("timed out")]
    Timeout,
    #[error("no connection: {0}")]
    Connect(String),
    #[error("no TLS connection: {0}")]
    Tls(String),
    #[error("{0}")]
    Interrupted(String),
}

/// Formats an error and its causes. For the log only: the text may contain the provider's address,
/// which callers must not see.
pub(super) fn error_chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether a TLS handshake failed, such as by a certificate that is not valid.
pub(super) fn is_tls_failure(error: &(dyn Error + 'static)) -> bool {
    // An I/O error names the source of its inner error as its own, and not the inner error.
    causes(error).any(|cause| {
        let mut wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        while let Some(error) = wrapped {
            if error.is::<rustls::Error>() {
                return true;
            }
            wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        }
        cause.is::<rustls::Error>()
    })
}

/// The error itself, then its sources.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}
