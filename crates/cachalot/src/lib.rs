//! The program: configuration and wiring. Each subcommand is one file.
#![forbid(unsafe_code)]

pub mod commands;
pub mod config;
pub mod configured_provider;
pub mod data_folder;
pub mod data_lock;
mod embedded_model;
pub mod inflight_limits;
pub mod key_env_rules;
pub mod litellm;
pub mod live_config;
pub mod load;
pub mod open_store;
mod secrets;
pub mod shutdown;
pub mod system_memory;
mod warming_engine;

/// Most bytes of a file that a command reads whole: a list of prices, a body, token ids.
const MAX_INPUT_BYTES: u64 = 1 << 30;

/// Chooses who does TLS, for the whole process. Done again, it changes nothing.
pub fn install_tls_provider() {
    // Somebody has chosen already: then that is whom we use.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Checks the file of root certificates that the environment names, which is read when a provider is first asked.
///
/// # Errors
/// Something other than a file.
pub fn check_certificates() -> anyhow::Result<()> {
    use anyhow::Context;
    let Some(path) = std::env::var_os("SSL_CERT_FILE") else { return Ok(()) };
    let path = std::path::PathBuf::from(path);
    files::check_regular(&path)
        .with_context(|| format!("the environment variable `SSL_CERT_FILE` names `{}`", path.display()))
}
