//! Requests and responses of the admin API.

use std::sync::Arc;

use bytes::Bytes;
use chat::{Error, ErrorKind};
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::{Store, StoreError};

use crate::app::AppState;
use crate::operator::Operator;

/// A request of an authenticated operator with the required role.
pub(crate) struct AdminRequest {
    pub(crate) app: Arc<AppState>,
    pub(crate) operator: Operator,
    /// The value of the parameter in the path; empty if the path has none.
    pub(super) path_param: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Bytes,
}

/// The status and the JSON body of a response.
pub(crate) struct AdminResponse(pub(super) StatusCode, pub(super) Value);

impl From<Value> for AdminResponse {
    fn from(value: Value) -> Self {
        Self(StatusCode::OK, value)
    }
}

impl AdminResponse {
    /// A response with status 201.
    pub(super) fn created(value: Value) -> Self {
        Self(StatusCode::CREATED, value)
    }
}

impl AdminRequest {
    /// Parses the body. Types with `deny_unknown_fields` refuse unknown fields.
    ///
    /// # Errors
    /// `InvalidRequest` with the reason.
    pub(super) fn parse_body<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::invalid(format!("The request body is not valid: {error}")))
    }

    /// The value of a parameter of the query.
    pub(super) fn query_param(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter of the query, a number from 1 to `max`.
    ///
    /// # Errors
    /// `InvalidRequest` for any other value.
    pub(super) fn query_number(&self, key: &str, default: i64, max: i64) -> Result<i64, Error> {
        let Some(text) = self.query_param(key) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (1..=max).contains(number));
        number.ok_or_else(|| Error::invalid(format!("Invalid '{key}': expected a number from 1 to {max}")))
    }

    /// # Errors
    /// `Conflict` if the server runs without a store.
    pub(super) fn store(&self) -> Result<&Store, Error> {
        let store_off =
            || Error::new(ErrorKind::Conflict, "The store is off: start the server with one to keep keys and settings");
        self.app.gateway.accounting().store().ok_or_else(store_off)
    }

    /// Applies changes of the store in this process at once. Other replicas apply them
    /// within a second.
    pub(super) async fn refresh_accounts(&self) -> Result<(), Error> {
        self.app.gateway.accounting().refresh_keys().await.map_err(store_error)
    }
}

/// The error of the API for an error of the store.
pub(super) fn store_error(error: StoreError) -> Error {
    match error {
        StoreError::Conflict(message) => Error::new(ErrorKind::Conflict, message),
        StoreError::NotFound(message) => Error::new(ErrorKind::NotFound, message),
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
