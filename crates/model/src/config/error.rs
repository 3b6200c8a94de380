//! The errors of a `config.json`.

/// The reason why a config cannot be run. Every message names the key and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("config.json lacks `{0}`: take the file from the release the weights belong to")]
    Missing(&'static str),
    #[error("config.json: `{key}` is {found}, but must be {expected}")]
    Type { key: &'static str, found: String, expected: &'static str },
    #[error("config.json: `{key}` is {found}, which is not supported: {reason}")]
    Unsupported { key: &'static str, found: String, reason: &'static str },
    #[error(
        "config.json: the weights are {format} (`{key}`), a format of other engines: download the release of the model, or a bf16 conversion"
    )]
    ForeignFormat { key: &'static str, format: String },
    #[error(
        "config.json: the key `{key}` is not known here and may change what the model computes: use an engine that knows it, or remove the key if the model is the same without it"
    )]
    Unknown { key: String },
    #[error("config.json contradicts itself: {0}")]
    Contradiction(String),
}
