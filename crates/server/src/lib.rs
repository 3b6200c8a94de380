//! The HTTP surface: extract, call the gateway, render. [`serve`] runs it on a listener until told to stop.
#![forbid(unsafe_code)]

pub mod admin;
mod api;
mod auth;
mod body;
mod choices;
mod config;
mod cors;
mod exchange;
mod line;
mod metrics;
mod pace;
mod relay;
mod reply;
mod server;
mod trace;

pub use config::{KeepAlive, KeyConfig, Keyring, ServerConfig};
pub use metrics::prepare_metrics;
pub use server::{ServeError, serve, serve_with};
