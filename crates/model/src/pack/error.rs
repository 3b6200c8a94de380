//! The errors of packing.

use crate::config::ConfigError;

/// The reason why a checkpoint cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error(
        "`{tensor}` has {value} in row {row}, column {column}, and every weight must be a finite number: the source is damaged, download or convert it again"
    )]
    NotFinite { tensor: String, row: usize, column: usize, value: f32 },
    #[error("`{tensor}` has {value} in row {row}, column {column}, which {format} cannot hold: choose another format")]
    Overflow { tensor: String, row: usize, column: usize, value: f32, format: &'static str },
    #[error("`{tensor}` with its scales takes {bytes} bytes, more than a shard of {limit}: choose larger shards")]
    ShardSize { tensor: String, bytes: u64, limit: u64 },
}
