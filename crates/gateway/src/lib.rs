//! Who answers a chat, may the caller ask, and what did it cost. It asks providers over HTTP and serves none; no tensors.
//!
//! [`Gateway::answer`] is the whole path of a request, read downwards.
#![forbid(unsafe_code)]

mod accounts;
mod address;
mod affinity;
mod alarm;
mod attempt;
mod begin;
mod bill;
mod booking;
mod books;
mod client;
mod edit;
mod faults;
mod gateway;
#[cfg(test)]
mod growth;
mod health;
mod hearing;
mod held_buffer;
mod inflight;
mod instruments;
mod journal;
mod key;
mod leases;
mod limits;
mod meter;
mod occupancy;
mod overdraft;
mod pace;
mod plausibility;
mod price;
mod purse;
mod quarantine;
mod recent;
mod relay;
mod route;
mod secret;
mod signatures;
mod size;
mod stated;
mod target;
mod task_ids;
mod tasks;
mod telemetry;
mod upstream;
mod work;
mod worst;

pub use accounts::{Accounts, Holder, digest};
pub use address::Network;
pub use alarm::Alarm;
pub use attempt::Chosen;
pub use books::{Bookkeepers, Books, BooksError};
pub use gateway::{Caller, Gateway};
pub use held_buffer::HeldBuffer;
pub use inflight::{Hold, InflightBudget, InflightLimits, Owner, RequestMemory};
pub use instruments::describe_metrics;
pub use journal::{held, is_open};
pub use key::{NewKey, PROJECT, make_key, secret};
pub use leases::{Leases, LeasesError};
pub use meter::Metered;
pub use occupancy::Occupancy;
pub use overdraft::Overdraft;
pub use pace::Allowance;
pub use price::{LOCAL, Price, PriceError, Prices};
pub use quarantine::Quarantine;
pub use relay::{Asked, Relay, Relayed, Shape};
pub use route::{AliasError, Listed, Model, Routed, Routes, thinks};
pub use secret::{Secret, scrubbed};
pub use target::{Policy, Rank, Standing};
pub use tasks::{Made, Submission, Told};
pub use telemetry::{Telemetry, TelemetryError};
pub use upstream::{Upstream, UpstreamConfig, UpstreamError};
pub use work::{QUICK_BYTES, aside, in_place};
