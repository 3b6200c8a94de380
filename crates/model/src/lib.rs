//! The DeepSeek V3 family as programs over `kernels`: readable beside the authors' own code,
//! one file per part.
//!
//! Knows no text, no requests and no async runtime.
#![forbid(unsafe_code)]

mod cache;
pub mod config;
mod deepseek;
mod indexer;
mod mla;
mod model;
mod moe;
mod options;
mod rope;
mod scratch;
mod tap;
pub mod tensors;

pub use cache::{LatentCache, position_bytes};
pub use deepseek::Deepseek;
pub use kernels::{Arena, Compute, Cpu, ExpertRoutes, PAGE_ROWS, Rows, Selection};
pub use model::{Batch, Info, LogitsWanted, Model, Output, Span};
pub use options::{AttentionPath, CacheFormat, IndexFormat, Options};
pub use tap::Tap;

/// Why a checkpoint cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error("this machine cannot run the `{0}` kernels: leave the choice to the program")]
    Isa(&'static str),
}

/// Loads whatever model `checkpoint` holds.
///
/// # Errors
/// A config that is incomplete, contradictory or of an architecture nobody here knows; a tensor
/// that is missing or misshapen.
pub fn load(checkpoint: &weights::Checkpoint, options: &Options) -> Result<Box<dyn Model>, Error> {
    let config = config::Config::from_json(checkpoint.config())?;
    tensors::verify(&config, checkpoint)?;
    Ok(Box::new(Deepseek::load(checkpoint, &config, options)?))
}
