//! Who runs next: the local engine as a [`chat::Provider`].
//!
//! One thread owns the model and its cache; callers hold an [`Engine`] and get a stream of deltas. Knows tokens, not HTTP.
#![forbid(unsafe_code)]

mod check;
mod disk;
mod engine;
mod grammar;
mod line;
mod observe;
mod pages;
mod provider;
mod sample;
mod schedule;
mod sequence;

pub use check::{Limits, Profile, ReasoningRules, check};
pub use disk::DiskOptions;
pub use engine::{Engine, Options, StartError};
pub use line::Progress;
pub use observe::Load;
