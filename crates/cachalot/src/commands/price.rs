//! `cachalot price`: sets prices, converts LiteLLM's price list to a price file.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;
use server::admin::SettingKind;
use store::Setting;

use crate::active_config::ActiveConfig;
use crate::commands::price_import::import;
use crate::report::OutputArgs;
use crate::store_args::StoreArgs;

/// Set prices, convert LiteLLM's price list
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub store_args: StoreArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cachalot price set acme/big-model --input 0.5 --output 2
  cachalot price remove acme/big-model";

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Set the price of a model in the database, from which running servers take it within a second
    Set {
        /// Provider and model: openai/gpt-5, or local/NAME for the local model
        #[arg(value_name = "MODEL", value_parser = parse_model)]
        model: String,
        /// US dollars for a million prompt tokens
        #[arg(long, value_name = "USD", value_parser = parse_dollars)]
        input: f64,
        /// US dollars for a million tokens of answers
        #[arg(long, value_name = "USD", value_parser = parse_dollars)]
        output: f64,
        /// US dollars for a million prompt tokens from the provider's cache [default: as --input]
        #[arg(long, value_name = "USD", value_parser = parse_dollars)]
        cached: Option<f64>,
    },
    /// Remove a price that `set` or the admin API made
    Remove {
        /// Provider and model
        #[arg(value_name = "MODEL", value_parser = parse_model)]
        model: String,
    },
    /// Convert LiteLLM's model_prices_and_context_window.json and print a file for `prices` in
    /// [gateway]
    Import {
        /// LiteLLM's list, downloaded before
        file: PathBuf,
        /// Providers to convert, by the names of `cachalot provider list`, separated by commas
        /// [default: all built-in ones that need a key]
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        providers: Option<Vec<String>>,
        /// Date of the list, such as 2026-11-25. Usage records name it with the price
        #[arg(long, value_name = "DATE")]
        date: String,
    },
}

/// Reads `provider/model`. Returns the name of the setting, `provider:model`.
fn parse_model(text: &str) -> Result<String, String> {
    let parts = text.split_once('/').filter(|(provider, model)| !provider.is_empty() && !model.is_empty());
    let (provider, model) = parts.ok_or_else(|| format!("`{text}` is not PROVIDER/MODEL, such as openai/gpt-5"))?;
    Ok(format!("{provider}:{model}"))
}

fn parse_dollars(text: &str) -> Result<f64, String> {
    store::money::parse(text).map(|nano| nano as f64 / 1e9)
}

pub fn run(args: &Args) -> Result<()> {
    let kind = SettingKind::Price.as_str();
    match &args.command {
        Command::Import { file, providers, date } => {
            let text = files::read_text(file, crate::MAX_INPUT_BYTES)
                .with_context(|| format!("cannot read `{}`", file.display()))?;
            let imported =
                import(&text, providers.as_deref(), date).with_context(|| format!("`{}`", file.display()))?;
            Ok(write!(io::stdout(), "{imported}")?)
        }
        Command::Set { model, input, output, cached } => args.store_args.run_with_store(async |store, _| {
            let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
            let mut value = json!({"input": input, "output": output, "source": "cachalot price set", "date": today});
            if let Some(cached) = cached {
                value["cached"] = json!(cached);
            }
            ActiveConfig::default().check(SettingKind::Price, model, &value, |_| false)?;
            let setting = Setting { kind: kind.into(), name: model.clone(), value: value.to_string() };
            store.put_setting(&setting).await?;
            args.output.confirm(&format!("set the price of `{model}`"), &json!({"name": model, "value": value}))
        }),
        Command::Remove { model } => args.store_args.run_with_store(async |store, _| {
            store.remove_setting(kind, model).await?;
            args.output.confirm(&format!("removed the price of `{model}`"), &json!({"removed": model}))
        }),
    }
}
