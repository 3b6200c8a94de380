//! Who runs next: the local engine as a [`chat::Provider`].
//!
//! One thread owns the model and its cache; callers hold an [`Engine`] and get a stream of deltas.
//! Knows tokens, not HTTP.
#![forbid(unsafe_code)]

mod check;
mod delta_sender;
mod disk_cache;
mod engine;
mod grammar;
mod metrics;
mod page_allocator;
mod provider;
mod sampler;
mod scheduler;
mod sequence;

pub use check::{Profile, ReasoningRules, ValidationRules, check};
pub use delta_sender::PrefillProgress;
pub use disk_cache::DiskCacheOptions;
pub use engine::{Engine, Options, StartError};
pub use metrics::Load;
