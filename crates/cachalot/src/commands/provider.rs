//! `cachalot provider`: lists the built-in providers, adds, removes and tests providers, converts
//! LiteLLM's configuration.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use server::admin::SettingKind;
use store::{Setting, Store};

use crate::active_config::ActiveConfig;
use crate::builtin_providers::builtin_providers;
use crate::config::Config;
use crate::configured_provider::MissingKeyError;
use crate::litellm_config;
use crate::prices::load_prices;
use crate::report::{OutputArgs, Report};
use crate::store_args::StoreArgs;
use crate::store_url::store_url;

/// List, add and test providers, convert LiteLLM's configuration
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
  cachalot provider add deepseek
  cachalot provider add acme --base-url https://acme.example/v1 --dialect openai
  cachalot provider test";

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// List the built-in providers; `test` lists those that are configured
    List,
    /// Add a provider to the database, from which running servers take it within a second; their
    /// environment must have the key
    Add(NewProviderArgs),
    /// Remove a provider that `add` or the admin API made
    Remove {
        /// Name of the provider
        name: String,
    },
    /// Request the list of models from the configured providers, and check their keys
    #[command(alias = "check")]
    Test {
        /// Names of providers [default: all that are configured]
        names: Vec<String>,
    },
    /// Convert LiteLLM's config.yaml to a cachalot.toml and print it
    Import {
        /// LiteLLM's config.yaml
        file: PathBuf,
    },
}

#[derive(clap::Args, Clone, Debug)]
pub struct NewProviderArgs {
    /// Name of a built-in provider (`cachalot provider list`), or another one
    name: String,
    /// Environment variable that holds the API key [default: that of the built-in provider]
    #[arg(long, value_name = "VARIABLE")]
    key_env: Option<String>,
    /// Built-in provider that this is an instance of, where the name is another
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Base URL, with its version such as /v1 [default: that of the built-in provider]
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// API of the provider: deepseek, openai, anthropic or gemini [default: that of the built-in
    /// provider]
    #[arg(long, value_name = "DIALECT")]
    dialect: Option<String>,
    /// Model ids that are offered, separated by commas [default: the provider's own list]
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Its address may be private, as that of an engine in your own network
    #[arg(long)]
    private: bool,
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::List => list_builtin_providers(args.output),
        Command::Import { file } => {
            let text = files::read_text(file, crate::MAX_INPUT_BYTES)
                .with_context(|| format!("cannot read `{}`", file.display()))?;
            let imported = litellm_config::import(&text).with_context(|| format!("`{}`", file.display()))?;
            Ok(write!(io::stdout(), "{imported}")?)
        }
        Command::Test { names } => {
            let config = args.store_args.load_config()?;
            if store_url(&config)?.is_none() {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                return runtime.block_on(test_providers(&config, None, names, args.output));
            }
            args.store_args.run_with_config(&config, async |store, config| {
                test_providers(config, Some(store), names, args.output).await
            })
        }
        Command::Add(new) => args.store_args.run_with_store(async |store, config| {
            let value = add_provider(store, config, new).await?;
            args.output
                .confirm(&format!("added the provider `{}`: `cachalot provider test {0}` tries it", new.name), &value)
        }),
        Command::Remove { name } => args.store_args.run_with_store(async |store, _| {
            store.remove_setting(SettingKind::Provider.as_str(), name).await?;
            args.output.confirm(&format!("removed the provider `{name}`"), &json!({"removed": name}))
        }),
    }
}

fn list_builtin_providers(output: OutputArgs) -> Result<()> {
    let prices = load_prices(&Config::default())?;
    let mut report = Report::new(&["provider", "dialect", "key from", "base URL", "status"]);
    for builtin in builtin_providers() {
        let has_prices = prices.has_provider(&builtin.name);
        let dialect = format!("{:?}", builtin.dialect).to_lowercase();
        let json = json!({
            "name": builtin.name, "dialect": dialect, "key_env": builtin.key_env, "base_url": builtin.base_url,
            "status": builtin.status_text(), "has_prices": has_prices,
        });
        let key = builtin.key_env.as_deref().unwrap_or("-");
        let status = format!("{}{}", builtin.status_text(), if has_prices { "" } else { ", no prices" });
        let cells = [builtin.name.as_str(), &dialect, key, builtin.base_url.as_str(), &status];
        report.push(cells.map(str::to_owned).to_vec(), json);
    }
    report.print(output.format())
}

/// Checks a provider as the admin API does, and writes it to the database. Returns its settings.
async fn add_provider(store: &Store, config: &Config, new: &NewProviderArgs) -> Result<Value> {
    let kind = SettingKind::Provider;
    let name = &new.name;
    let active = ActiveConfig::load(config.clone(), Some(store), &[]).await?;
    ensure!(
        active.settings(kind).iter().all(|entry| entry.name != *name),
        "there is a provider `{name}` already: remove it first, or change it in the configuration file"
    );
    let mut value = json!({"name": name});
    let texts =
        [("key_env", &new.key_env), ("row", &new.preset), ("base_url", &new.base_url), ("dialect", &new.dialect)];
    for (field, text) in texts {
        if let Some(text) = text {
            value[field] = text.as_str().into();
        }
    }
    if let Some(models) = &new.models {
        value["models"] = json!(models);
    }
    if new.private {
        value["private"] = true.into();
    }
    match active.check(kind, name, &value, |_| false) {
        Err(error) if error.is::<MissingKeyError>() => eprintln!(
            "note: {}: the server needs it, and while it is absent the provider is disabled",
            crate::with_causes(&error)
        ),
        checked => checked?,
    }
    let setting = Setting { kind: kind.as_str().into(), name: name.clone(), value: value.to_string() };
    store.put_setting(&setting).await?;
    Ok(value)
}

/// Tests the providers, one after the other.
///
/// # Errors
/// A provider that fails its test, or that is disabled.
async fn test_providers(config: &Config, store: Option<&Store>, names: &[String], output: OutputArgs) -> Result<()> {
    crate::check_certificates()?;
    let active = ActiveConfig::load(config.clone(), store, &[]).await?;
    let listed = active.settings(SettingKind::Provider);
    ensure!(
        !listed.is_empty(),
        "no provider is configured: `cachalot provider add NAME` or `[[providers]]` in cachalot.toml adds one"
    );
    if let Some(unknown) = names.iter().find(|name| listed.iter().all(|entry| entry.name != **name)) {
        let near = crate::suggestion::did_you_mean(unknown, listed.iter().map(|entry| entry.name.as_str()));
        anyhow::bail!("no provider `{unknown}` is configured{near}");
    }
    let mut report = Report::new(&["provider", "result", "models"]);
    let mut failed = 0;
    for entry in listed.iter().filter(|entry| names.is_empty() || names.contains(&entry.name)) {
        let test = active.test_provider(&entry.name).await?;
        if !test.succeeded() {
            failed += 1;
        }
        let models = test.models.as_deref().unwrap_or_default().join(", ");
        report.push(vec![entry.name.clone(), test.summary(), models], json!(test));
    }
    report.print(output.format())?;
    ensure!(failed == 0, "{failed} of the providers did not pass");
    Ok(())
}
