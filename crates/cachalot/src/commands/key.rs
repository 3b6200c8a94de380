//! `cachalot key`: makes, lists, changes and revokes API keys. A running server sees the change
//! within a second.

mod key_report;
mod known_models;
mod limit_args;

use std::io::{self, Write};

use anyhow::{Result, ensure};
use gateway::{DEFAULT_PROJECT, NewKey};
use serde_json::json;
use store::{BudgetOwner, Key, Limits, Store};

use self::key_report::KeyReport;
pub use self::limit_args::LimitArgs;
use crate::report::{OutputArgs, ReportFormat};
use crate::store_args::StoreArgs;

/// Make, list, change and revoke API keys
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
  cachalot key add alice --budget 5 --rpm 60 --models deepseek-chat
  cachalot key set alice --budget 20 --expires 90d
  cachalot key set alice --budget 50 --every month --warn-at 40
  cachalot key set alice --budget 0.50 --every day --each-end-user
  cachalot key list --json
  cachalot key revoke alice";

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Make a key and print it. It cannot be shown again
    Add(NewKeyArgs),
    /// Change the limits of a key
    Set {
        /// Name or id of the key
        name: String,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Show a key: its limits, what it has spent, its state
    Show {
        /// Name or id of the key
        name: String,
    },
    /// List the keys that are not revoked
    List {
        /// List revoked keys too
        #[arg(long)]
        all: bool,
    },
    /// Revoke a key
    Revoke {
        /// Name or id of the key
        name: String,
    },
}

#[derive(clap::Args, Clone, Debug)]
pub struct NewKeyArgs {
    /// Name of the key in logs and usage records
    pub name: String,
    /// Project whose budget pays for the key's requests
    #[arg(long, default_value = DEFAULT_PROJECT)]
    pub project: String,
    /// User that the key belongs to, whose role it has in the admin API (`cachalot user add`)
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    #[command(flatten)]
    pub limits: LimitArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let output = args.output;
    args.store_args.run_with_store(async |store, config| match &args.command {
        Command::Add(new) => {
            let (key, secret) = add_key(store, new).await?;
            known_models::warn_of_unknown(store, config, &key.limits).await?;
            if output.json {
                let mut json = KeyReport::load(store).await?.json(&key);
                json["key"] = secret.into();
                return Ok(writeln!(io::stdout(), "{json}")?);
            }
            writeln!(io::stdout(), "{secret}")?;
            eprintln!("This is the key `{}`. It is not shown again: only its hash is kept.", key.name);
            Ok(())
        }
        Command::Set { name, limits } => {
            ensure!(!limits.is_empty(), "nothing to change: give a limit, such as --budget 5 or --rpm none");
            let current = store.key(name).await?;
            let mut changed = current.limits.clone();
            limits.apply_to(&mut changed)?;
            let LimitArgs { period, budget, .. } = limits;
            period.change_budget(store, BudgetOwner::Key(&current), limits.budget_scope(), *budget).await?;
            let key = store.set_key_limits(name, &changed).await?;
            if limits.models.is_some() {
                known_models::warn_of_unknown(store, config, &key.limits).await?;
            }
            let json = KeyReport::load(store).await?.json(&key);
            output.confirm(&format!("changed the key `{}`: `cachalot key show {0}` shows it", key.name), &json)
        }
        Command::Show { name } => {
            let (key, report) = (store.key(name).await?, KeyReport::load(store).await?);
            match output.format() {
                ReportFormat::Json => Ok(writeln!(io::stdout(), "{:#}", report.json(&key))?),
                _ => Ok(write!(io::stdout(), "{}", report.lines(&key))?),
            }
        }
        Command::List { all } => {
            let mut keys = store.keys().await?;
            keys.retain(|key| *all || key.revoked_at.is_none());
            KeyReport::load(store).await?.table(&keys).print(output.format())
        }
        Command::Revoke { name } => {
            store.revoke_key(name).await?;
            output.confirm(&format!("`{name}` is revoked"), &json!({"revoked": name}))
        }
    })
}

/// Makes a key. Returns its row of the store and the secret.
///
/// # Errors
/// A name that is not valid or in use, an unknown project or user, a database that cannot be used.
pub async fn add_key(store: &Store, new: &NewKeyArgs) -> Result<(Key, String)> {
    ensure!(store::is_name(&new.name), "the name of a key has {}", store::NAME_RULE);
    let mut limits = Limits::default();
    new.limits.apply_to(&mut limits)?;
    let (project, user) = (Some(new.project.as_str()), new.user.as_deref());
    let (key, secret) = gateway::create_key(store, NewKey { name: &new.name, project, user, limits }).await?;
    let LimitArgs { period, budget, .. } = &new.limits;
    period.change_budget(store, BudgetOwner::Key(&key), new.limits.budget_scope(), *budget).await?;
    Ok((key, secret))
}
