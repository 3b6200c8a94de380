//! The errors of [`crate::load`].

use crate::config::ConfigError;

/// The reason why a checkpoint cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error("this machine cannot run the `{0}` kernels: leave the choice to the program")]
    Isa(&'static str),
}
