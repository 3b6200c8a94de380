//! Remote providers over HTTP: requests, answers, and what happens when a provider fails.
#![forbid(unsafe_code)]

mod bedrock;
mod billing;
mod clouds;
mod dialects;
mod failover;
#[path = "../common/fixture.rs"]
mod fixture;
mod missing_key;
mod model_rows;
mod passthrough;
#[path = "../common/passthrough.rs"]
mod passthrough_helpers;
mod provider_test;
#[path = "../common/providers.rs"]
mod providers;
mod responses;
mod routing;
#[path = "../common/upstream.rs"]
mod upstream;
