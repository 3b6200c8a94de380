//! The real `server::serve` on a loopback port, with a scripted provider behind it.
#![forbid(unsafe_code)]

mod access;
mod app;
#[path = "../../../engine/src/check/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the engine's own module, of which these tests call only `check`"
)]
mod check;
mod client;
mod completions;
mod conformance;
mod gemini;
mod limits;
mod memory;
mod messages;
mod observability;
mod responses;
mod roles;
mod scripted_provider;
mod shutdown;
mod streams;
mod waiting;
mod web_pages;
