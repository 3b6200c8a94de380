//! Requests and responses of the admin API.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use chat::{Error, ErrorKind};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::Store;

use super::errors::store_error;
use super::query::Query;
use crate::accept;
use crate::app::AppState;
use crate::operator::Operator;
use crate::sign_in::client::Client;

/// A request of an authenticated operator with the required role.
pub(crate) struct AdminRequest {
    pub(crate) app: Arc<AppState>,
    pub(crate) operator: Operator,
    pub(super) client: Client,
    pub(super) parts: Parts,
    /// The value of the parameter in the path; empty if the path has none.
    pub(super) path_param: String,
    pub(super) query: Query,
    pub(super) body: Bytes,
}

/// The status, the body and the cookie of a response.
pub(crate) struct AdminResponse {
    pub(super) status: StatusCode,
    pub(super) body: AdminBody,
    pub(super) cookie: Option<HeaderValue>,
}

/// The body of a response.
pub(super) enum AdminBody {
    Empty,
    Json(Value),
    Csv(String),
    /// Server-sent events.
    Events(Body),
}

impl From<Value> for AdminResponse {
    fn from(value: Value) -> Self {
        Self { status: StatusCode::OK, body: AdminBody::Json(value), cookie: None }
    }
}

impl AdminResponse {
    /// A response with status 201.
    pub(super) fn created(value: Value) -> Self {
        Self { status: StatusCode::CREATED, ..value.into() }
    }

    /// A response with status 204, without a body.
    pub(super) fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: AdminBody::Empty, cookie: None }
    }

    /// A table of comma-separated values.
    pub(super) fn csv(table: String) -> Self {
        Self { status: StatusCode::OK, body: AdminBody::Csv(table), cookie: None }
    }

    /// A stream of server-sent events.
    pub(super) fn events(events: Body) -> Self {
        Self { status: StatusCode::OK, body: AdminBody::Events(events), cookie: None }
    }

    /// The same response with a cookie.
    pub(super) fn with_cookie(self, cookie: HeaderValue) -> Self {
        Self { cookie: Some(cookie), ..self }
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

    /// Whether the caller accepts `text/csv`.
    pub(super) fn wants_csv(&self) -> bool {
        accept::names(&self.parts.headers, header::ACCEPT, "text/csv")
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
        self.app.sign_in.sessions.forget();
        self.app.gateway.accounting().refresh_keys().await.map_err(store_error)
    }
}
