//! Remote providers: HTTP, their events as deltas, their errors, and what their metrics report.

pub(crate) mod deadline_timer;
pub(crate) mod delta_stream;
pub(crate) mod error;
pub(crate) mod http_client;
pub(crate) mod ip_filter;
pub(crate) mod remote_provider;
pub(crate) mod reported_load;
pub(crate) mod signature_cache;
