//! The program: configuration and wiring. Each subcommand is one file.
#![forbid(unsafe_code)]

pub mod bench;
pub mod books;
pub mod chat;
pub mod config;
pub mod control;
mod embedded;
pub mod folder;
pub mod inflight;
pub mod inspect;
pub mod key;
pub mod key_env;
pub mod litellm;
pub mod load;
pub mod lock;
pub mod memory;
pub mod price;
pub mod project;
pub mod provider;
pub mod render;
pub mod score;
mod secrets;
pub mod serve;
pub mod signals;
pub mod usage;
pub mod usage_check;
pub mod user;
mod warming;

/// Most bytes of a file that a command reads whole: a list of prices, a body, token ids.
const MOST_INPUT_BYTES: u64 = 1 << 30;

/// Chooses who does TLS, for the whole process. Done again, it changes nothing.
pub fn prepare_tls() {
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
