//! The DeepSeek V3 family, built from `kernels`: one file per part, named like the
//! authors' own code.
//!
//! Works on token ids, without text, requests or an async runtime.
#![forbid(unsafe_code)]

mod cache;
pub mod config;
mod deepseek;
mod error;
mod head;
mod indexer;
mod mla;
mod model;
mod moe;
mod options;
pub mod pack;
mod rope;
mod scratch;
mod tap;
pub mod tensors;

pub use cache::{LatentCache, position_bytes};
pub use deepseek::Deepseek;
pub use error::Error;
pub use kernels::{Arena, Compute, Cpu, ExpertRoutes, PAGE_ROWS, Rows, Selection};
pub use model::{Batch, Info, LogitsWanted, Model, Output, Span};
pub use options::{AttentionPath, CacheFormat, IndexFormat, Options};
pub use tap::Tap;

/// Loads the model of `checkpoint`.
///
/// # Errors
/// A config that is incomplete, contradictory or of an unsupported architecture; a tensor that is
/// missing or misshapen; kernels that this machine cannot run.
pub fn load(checkpoint: &weights::Checkpoint, options: &Options) -> Result<Box<dyn Model>, Error> {
    let config = config::Config::from_json(checkpoint.config())?;
    tensors::verify(&config, checkpoint)?;
    Ok(Box::new(Deepseek::load(checkpoint, &config, options)?))
}
