//! Remote providers: HTTP requests, answers as deltas, errors, and the load that metrics report.

pub(crate) mod body_prefix;
pub(crate) mod body_stream;
pub(crate) mod config;
pub(crate) mod connector;
pub(crate) mod deadline_timer;
pub(crate) mod delta_stream;
pub(crate) mod error;
pub(crate) mod http_client;
pub(crate) mod ip_filter;
mod metrics_poll;
mod model_list;
pub(crate) mod outgoing_chat;
mod provider_extras;
pub(crate) mod provider_test;
pub(crate) mod remote_provider;
mod renamed_tools;
pub(crate) mod reported_load;
pub(crate) mod request_headers;
mod retry_headers;
pub(crate) mod service;
pub(crate) mod shared_notes;
pub(crate) mod shared_progress;
pub(crate) mod signature_cache;
pub(crate) mod transport_error;
pub(crate) mod unexpected_body;
pub(crate) mod whole_answer;
