//! The program: configuration, the wiring of the other crates, and the subcommands.
#![forbid(unsafe_code)]

pub mod active_config;
mod banner;
pub mod builtin_providers;
pub mod byte_size;
pub mod cache_args;
pub mod cli;
mod cloud_service;
pub mod commands;
pub mod config;
mod config_report;
pub mod configured_provider;
pub mod data_folder;
pub mod data_lock;
pub mod embedded_model;
pub mod env_file;
pub mod hangup_signal;
mod hub_model;
pub mod inflight_limits;
pub mod key_config;
pub mod key_env_rules;
pub mod litellm;
pub mod litellm_config;
pub mod live_config;
pub mod load;
pub mod local_engine;
mod log_line;
pub mod logging;
pub mod memory_bandwidth;
mod model_fit;
mod model_names;
mod model_source;
mod one_time_link;
pub mod open_store;
pub mod paths;
pub mod period_args;
pub mod prices;
mod pull_progress;
mod renamed_settings;
mod report;
mod secrets;
mod server_settings;
pub mod shutdown;
pub mod store_args;
mod store_url;
mod suggestion;
pub mod system_memory;
mod terminal;
mod warming_engine;

/// Most bytes of a file that a command reads into memory: a list of prices, a request body, token
/// ids.
const MAX_INPUT_BYTES: u64 = 1 << 30;

/// Installs the TLS implementation (ring) for the whole process. A second call has no effect.
pub fn install_tls_provider() {
    // The error means that one is installed already, which is then used.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The text of an error and of its causes. A cause that the text quotes already is left out.
pub fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Checks the file of root certificates that `SSL_CERT_FILE` names. The first request to a provider
/// reads it.
///
/// # Errors
/// A path that is not a regular file.
pub fn check_certificates() -> anyhow::Result<()> {
    use anyhow::Context;
    let Some(path) = std::env::var_os("SSL_CERT_FILE") else { return Ok(()) };
    let path = std::path::PathBuf::from(path);
    files::check_regular(&path)
        .with_context(|| format!("the environment variable `SSL_CERT_FILE` names `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    #[test]
    fn a_cause_that_is_quoted_is_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read `x`: {0}")]
        struct Quotes(#[from] std::io::Error);
        let error = anyhow!(Quotes(std::io::Error::other("not a folder")));
        assert_eq!(super::with_causes(&error), "cannot read `x`: not a folder");
        let error = Err::<(), _>(error).context("the checkpoint `y`").unwrap_err();
        assert_eq!(super::with_causes(&error), "the checkpoint `y`: cannot read `x`: not a folder");
    }
}
