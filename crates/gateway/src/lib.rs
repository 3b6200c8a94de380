//! Routing of requests to providers, limits of callers, and billing. The gateway calls providers
//! over HTTP; it has no HTTP server and no model of its own.
//!
//! [`Gateway::answer`] is the whole path of a chat request, from top to bottom.
#![forbid(unsafe_code)]

mod admission;
mod batches;
mod billing;
mod files;
mod gateway;
#[cfg(test)]
mod growth;
mod keys;
mod limits;
mod memory;
mod model_metrics;
mod model_rows;
mod note_log;
mod offload;
mod offload_limiter;
mod passthrough;
mod pricing;
mod redaction;
mod request_id;
mod routing;
mod secret;
mod task_ids;
mod tasks;
mod telemetry;
mod upstream;

pub use batches::list::BatchPage;
pub use billing::accounting::{Accounting, AccountingError};
pub use billing::background::BackgroundTasks;
pub use billing::journal::recovery::{is_unfinished, journal_records};
pub use billing::ledger::ATTEMPTS_DAYS;
pub use billing::metered_stream::{AnswerNotes, MeteredStream};
pub use billing::overdraft::Overdraft;
pub use billing::quarantine::Quarantine;
pub use billing::request_events::{RequestEvent, RequestEvents};
pub use billing::usage_estimate::text_bytes;
pub use files::access::FileList;
pub use files::upload::{FileReply, FileUpload};
pub use gateway::{Gateway, PromptTokens};
pub use keys::caller::Caller;
pub use keys::ip_network::IpNetwork;
pub use keys::key_cache::{ApiKey, KeyCache};
pub use keys::new_key::{
    DEFAULT_PROJECT, NewKey, create_key, find_or_create_project, generate_token, parse_sha256_hex, token_hash,
};
pub use limits::rate_limit::RateStatus;
pub use limits::redis_leases::{RedisLeases, RedisLeasesError};
pub use memory::inflight_budget::{InflightBudget, InflightLimits, MemoryOwner, MemoryReservation, RequestMemory};
pub use memory::reserved_buffer::ReservedBuffer;
pub use model_metrics::describe_metrics;
pub use model_rows::{ModelRowError, ModelRows};
pub use offload::{INLINE_MAX_BYTES, offload, run_in_place};
pub use passthrough::first_bytes::BodyKind;
pub use passthrough::request::{PassthroughRequest, RawRequest};
pub use passthrough::response::PassthroughResponse;
pub use pricing::{CostLine, LOCAL, Price, PriceError, Prices};
pub use redaction::redact_secrets;
pub use request_id::RequestId;
pub use routing::alias_error::AliasError;
pub use routing::model_info::{ModelInfo, RouteInfo, UpstreamModel};
pub use routing::router::Router;
pub use routing::selected_target::SelectedTarget;
pub use routing::target::{RoutingPolicy, RoutingPreference, TargetStatus};
pub use routing::thinking_mode::resolve_thinking;
pub use secret::Secret;
pub use tasks::reply::TaskReply;
pub use tasks::status::TaskArtifact;
pub use tasks::submit::TaskSubmission;
pub use telemetry::{Telemetry, TelemetryError};
pub use upstream::config::{UpstreamConfig, UpstreamError};
pub use upstream::deadline_timer::DeadlineTimer;
pub use upstream::provider_test::ProviderTest;
pub use upstream::remote_provider::Upstream;
pub use upstream::reported_load::ReportedLoad;
pub use upstream::service::Service;
pub use upstream::service::google_token::{ServiceAccount, ServiceAccountError};
pub use upstream::service::sigv4::AwsCredentials;
