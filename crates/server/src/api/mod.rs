//! The handlers, one file a surface, and what is said where there is none.

pub(crate) mod chat;
pub(crate) mod models;

use ::chat::{Error, ErrorKind};
use axum::extract::Request;
use axum::response::Response;

use crate::reply::refusal;

pub(crate) async fn not_found(request: Request) -> Response {
    let path: String = request.uri().path().chars().take(128).collect();
    refusal(&Error::new(ErrorKind::NotFound, format!("No such path: {path}")))
}

pub(crate) async fn method_not_allowed(request: Request) -> Response {
    let message = format!("The method {} is not allowed here", request.method());
    refusal(&Error::new(ErrorKind::MethodNotAllowed, message))
}
