//! The handlers of the client-facing APIs, one file per API or route, and the fallback handlers.

pub(crate) mod authed_request;
pub(crate) mod balance;
pub(crate) mod batches;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod fallback;
pub(crate) mod files;
pub(crate) mod gemini;
pub(crate) mod gemini_request;
pub(crate) mod media;
pub(crate) mod messages;
pub(crate) mod model_catalog;
pub(crate) mod model_lookup;
pub(crate) mod models;
pub(crate) mod quota;
pub(crate) mod responses;
pub(crate) mod run_to_end;
pub(crate) mod tasks;
