//! The local inference engine, a [`chat::Provider`]: continuous batching over a paged cache.
//!
//! One thread owns the model and its cache; callers hold an [`Engine`] and receive a stream of
//! deltas. Works on chats and tokens, without HTTP.
#![forbid(unsafe_code)]

mod answer_constraint;
mod check;
mod constraint;
mod delta_sender;
mod disk_cache;
mod engine;
mod grammar_compiler;
mod idle_status;
mod load;
mod logprobs;
mod metrics;
mod page_allocator;
mod prompt_echo;
mod provider;
mod repetition_penalty;
mod request;
mod sampler;
mod sampling_defaults;
mod scheduler;
mod sequence;
mod status;
mod token_bans;
mod token_counter;

pub use check::{Profile, ReasoningRules, ValidationRules, check};
pub use delta_sender::PrefillProgress;
pub use disk_cache::DiskCacheOptions;
pub use engine::{Engine, Options, StartError};
pub use load::Load;
pub use sampling_defaults::{GenerationConfigError, SamplingDefaults, end_tokens};
