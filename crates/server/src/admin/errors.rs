//! Errors of the admin API.

use chat::{Error, ErrorKind};
use store::StoreError;

/// The error for a parameter or a field of the body that is not valid. Its `param` names it.
pub(super) fn invalid_field(field: &str, message: impl Into<String>) -> Error {
    let mut error = Error::invalid(message);
    error.param = Some(field.to_owned());
    error
}

/// The error for the value of a parameter.
pub(super) fn invalid_value(name: &str, reason: &str) -> Error {
    invalid_field(name, format!("Invalid '{name:.32}': {reason}"))
}

/// The error for an operator whose role does not allow a change.
pub(super) fn role_error(message: &str) -> Error {
    let mut error = Error::new(ErrorKind::Forbidden, message);
    error.code = Some("role_not_sufficient");
    error
}

/// The error of the API for an error of the store when it gives something a name: a name that is
/// taken is an error of the field `name`.
pub(super) fn name_error(error: StoreError) -> Error {
    let mut error = store_error(error);
    if error.kind == ErrorKind::Conflict {
        error.param = Some("name".to_owned());
    }
    error
}

/// The error of the API for an error of the store.
pub(super) fn store_error(error: StoreError) -> Error {
    match error {
        StoreError::Conflict(message) => Error::new(ErrorKind::Conflict, message),
        StoreError::NotFound(message) => Error::new(ErrorKind::NotFound, message),
        error @ StoreError::LinkNotValid => Error::new(ErrorKind::Unauthorized, error.to_string()),
        StoreError::IdFileNotUpdated(..) => {
            tracing::error!(%error, "failed to update the identity file beside the database");
            let message = "The change was made, but the identity file beside the database could not be updated: the server's log has the reason";
            Error::new(ErrorKind::Overloaded, message)
        }
        error => {
            tracing::error!(%error, "the store failed");
            Error::new(ErrorKind::Overloaded, "The store cannot be used right now, please try again later")
        }
    }
}
