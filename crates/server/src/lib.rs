//! The HTTP server: the client-facing APIs, the admin API, authentication, metrics.
//!
//! A handler extracts a request, calls the gateway and renders the answer. [`serve`] runs the
//! server on a listener until a future resolves.
#![forbid(unsafe_code)]

mod accept;
pub mod admin;
mod api;
mod app;
mod auth;
mod body;
mod config;
mod connection;
mod console;
mod control;
mod cors;
mod drain;
mod error_response;
mod local_access;
mod merged_choices;
mod metrics;
mod middleware;
mod operator;
mod passthrough;
mod ratelimit_headers;
mod request_log;
mod request_outcome;
mod request_span;
mod respond;
mod routes;
mod server;
mod sign_in;
mod stream_clock;
mod tail_slots;
mod timed_deltas;

pub use app::ServeError;
pub use config::{ConsoleConfig, GuideAccess, KeepAlive, KeyConfig, Keyring, ServerConfig, SignupAccess};
pub use metrics::install_metrics_recorder;
pub use server::{serve, serve_with};
