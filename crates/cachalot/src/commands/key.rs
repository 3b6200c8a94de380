//! `cachalot key`: makes, lists and revokes API keys. A running server sees the change
//! within a second.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Result, ensure};
use gateway::{DEFAULT_PROJECT, IpNetwork, NewKey};
use store::{Key, Limits, Store, money};

use crate::store_args::StoreArgs;

/// Make, list and revoke API keys
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    pub store_args: StoreArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Make a key and print it. It cannot be shown again
    Add(NewKeyArgs),
    /// List the keys
    List,
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
    /// Total that the key may spend, in US dollars [default: unlimited]
    #[arg(long, value_name = "USD", value_parser = money::parse)]
    pub budget: Option<i64>,
    /// Model ids the key may use, separated by commas [default: all]
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub models: Option<Vec<String>>,
    /// Client addresses the key may be used from, such as 10.0.0.0/8, separated by commas [default:
    /// all]
    #[arg(long, value_name = "RANGES", value_delimiter = ',', value_parser = parse_network)]
    pub networks: Option<Vec<String>>,
    /// Requests per minute [default: unlimited]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=1_000_000_000))]
    pub rpm: Option<i64>,
    /// Tokens per minute [default: unlimited]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=1_000_000_000_000))]
    pub tpm: Option<i64>,
    /// Requests at the same time [default: unlimited]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    pub concurrency: Option<i64>,
    /// Time until the key expires, such as 90d, 12h or 30m [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub expires: Option<Duration>,
}

pub fn run(args: &Args) -> Result<()> {
    args.store_args.run_with_store(async |store| match &args.command {
        Command::Add(new) => {
            let (key, shown) = add_key(store, new).await?;
            writeln!(io::stdout(), "{shown}")?;
            eprintln!("This is the key `{}`. It is not shown again: only its hash is kept.", key.name);
            Ok(())
        }
        Command::List => list_keys(store).await,
        Command::Revoke { name } => {
            store.revoke_key(name).await?;
            eprintln!("`{name}` is revoked");
            Ok(())
        }
    })
}

/// Makes a key. Returns its row of the store and the secret.
pub async fn add_key(store: &Store, new: &NewKeyArgs) -> Result<(Key, String)> {
    ensure!(store::is_name(&new.name), "the name of a key has {}", store::NAME_RULE);
    let invalid = new.models.iter().flatten().find(|model| !store::is_model_id(model));
    ensure!(invalid.is_none(), "--models: {invalid:?} is not a valid model id");
    let expires_at = new.expires.map(|after| store::now_micros().saturating_add(after.as_micros() as i64));
    let limits = Limits {
        models: new.models.clone(),
        networks: new.networks.clone(),
        budget: new.budget,
        requests_per_minute: new.rpm,
        tokens_per_minute: new.tpm,
        concurrency: new.concurrency,
        expires_at,
    };
    let (project, user) = (Some(new.project.as_str()), new.user.as_deref());
    Ok(gateway::create_key(store, NewKey { name: &new.name, project, user, limits }).await?)
}

async fn list_keys(store: &Store) -> Result<()> {
    let projects = store.projects().await?;
    let dollars = |nano: Option<i64>| nano.map_or("-".to_owned(), |nano| money::format(nano, 6));
    writeln!(
        io::stdout(),
        "{:<24} {:<16} {:<8} {:>12} {:>12}  state",
        "name",
        "project",
        "key",
        "spent USD",
        "budget USD"
    )?;
    for key in store.keys().await? {
        let project = projects.iter().find(|project| project.id == key.project_id);
        let state = match (key.revoked_at, key.limits.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(expires)) if expires <= store::now_micros() => "expired",
            _ => "in use",
        };
        writeln!(
            io::stdout(),
            "{:<24} {:<16} …{:<7} {:>12} {:>12}  {state}",
            key.name,
            project.map_or("", |project| &project.name),
            key.tail,
            money::format(key.spent, 6),
            dollars(key.limits.budget)
        )?;
    }
    Ok(())
}

fn parse_network(text: &str) -> Result<String, String> {
    match IpNetwork::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("`{text}` is not an address or a range such as 10.0.0.0/8")),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let fault = || format!("`{text}` is not a time such as 90d, 12h or 30m");
    let unit = match text.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3600,
        Some('m') => 60,
        _ => return Err(fault()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| fault())?;
    // A century is long enough, and small enough to be added to any date.
    (1..=100 * 366 * 86_400 / unit).contains(&number).then(|| Duration::from_secs(number * unit)).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_duration("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse_duration("30m"), Ok(Duration::from_secs(1800)));
        for bad in ["", "d", "90", "0d", "-1d", "99999999999d", "1.5h", "1é"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
