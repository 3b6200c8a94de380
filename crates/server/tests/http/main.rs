//! The real `server::serve` on a loopback port, with a scripted provider behind it.
#![forbid(unsafe_code)]

mod access;
mod answer_parts;
mod api_types;
mod app;
mod budgets;
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
mod console;
mod faults;
mod gemini;
mod guide;
mod lenient;
mod limits;
mod members;
mod memory;
mod messages;
mod model_rows;
mod observability;
mod records;
mod responses;
mod roles;
mod scripted_provider;
mod shutdown;
mod sign_in;
mod sign_in_timing;
mod streams;
mod tail;
mod usage;
mod waiting;
mod web_pages;
