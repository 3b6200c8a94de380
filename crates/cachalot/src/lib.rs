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
pub mod logging;
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

/// The text of an error and of its causes, each once: many errors quote their cause already.
pub fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Checks the file of root certificates that the environment names, which is read when a
/// provider is first asked.
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
