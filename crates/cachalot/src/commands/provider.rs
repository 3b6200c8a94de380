//! `cachalot provider`: lists the built-in providers, checks the configured ones, converts
//! LiteLLM's configuration.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::builtin_providers::builtin_providers;
use crate::config::Config;
use crate::configured_provider::configured;
use crate::litellm_config;
use crate::store_args::StoreArgs;

/// List the built-in providers, check the configured ones, convert LiteLLM's configuration
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    pub store_args: StoreArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// List the built-in providers
    List,
    /// Request the list of models from every provider of the configuration file
    Check,
    /// Convert LiteLLM's config.yaml to a cachalot.toml and print it
    Import {
        /// LiteLLM's config.yaml
        file: PathBuf,
    },
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::List => list_builtin_providers(),
        Command::Import { file } => {
            let text = files::read_text(file, crate::MAX_INPUT_BYTES)
                .with_context(|| format!("cannot read `{}`", file.display()))?;
            let imported = litellm_config::import(&text).with_context(|| format!("`{}`", file.display()))?;
            Ok(write!(io::stdout(), "{imported}")?)
        }
        Command::Check => check_providers(&Config::load(args.store_args.config.as_deref())?),
    }
}

fn list_builtin_providers() -> Result<()> {
    writeln!(io::stdout(), "{:<14} {:<10} {:<22} {:<10} base URL", "provider", "dialect", "key from", "status")?;
    for builtin in builtin_providers() {
        let dialect = format!("{:?}", builtin.dialect).to_lowercase();
        let key = builtin.key_env.as_deref().unwrap_or("-");
        writeln!(
            io::stdout(),
            "{:<14} {dialect:<10} {key:<22} {:<10} {}",
            builtin.name,
            builtin.status,
            builtin.base_url
        )?;
    }
    Ok(())
}

fn check_providers(config: &Config) -> Result<()> {
    crate::check_certificates()?;
    let providers = configured(config)?;
    ensure!(!providers.is_empty(), "no provider is configured: `[[providers]]` in cachalot.toml adds one");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut failed = 0;
    for provider in providers {
        let name = provider.upstream.name();
        match runtime.block_on(provider.upstream.models()) {
            Ok(models) => writeln!(io::stdout(), "{name}: {} models: {}", models.len(), models.join(", "))?,
            Err(error) => {
                failed += 1;
                writeln!(io::stdout(), "{name}: {error}")?;
            }
        }
    }
    ensure!(failed == 0, "{failed} of the providers did not answer");
    Ok(())
}
