//! The HTTP surface: extract, call the gateway, render. [`serve`] runs it on a listener
//! until told to stop.
#![forbid(unsafe_code)]

pub mod admin;
mod api;
mod auth;
mod body;
mod config;
mod cors;
mod merged_choices;
mod metrics;
mod middleware;
mod passthrough;
mod request_log;
mod request_span;
mod respond;
mod server;
mod timed_deltas;

pub use config::{KeepAlive, KeyConfig, Keyring, ServerConfig};
pub use metrics::install_metrics_recorder;
pub use server::{ServeError, serve, serve_with};
