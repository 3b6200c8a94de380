//! `cachalot user`: to whom keys belong, and who may administer the server.

use std::io::{self, Write};

use anyhow::{Result, ensure};
use store::Role;

use crate::commands::key::StoreArgs;

/// Make and list users, and set what they may do
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    pub store_args: StoreArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Make a user
    Add {
        name: String,
        /// `member` asks models, `viewer` sees everything too, `admin` changes it
        #[arg(long, default_value = "member", value_parser = parse_role)]
        role: Role,
    },
    /// List the users
    List,
    /// Give a user another role
    Role {
        name: String,
        #[arg(value_parser = parse_role)]
        role: Role,
    },
    /// Let in none of a user's keys any more
    Disable { name: String },
    /// Let them in again
    Enable { name: String },
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("`{text}` is no role: member, viewer or admin"))
}

pub fn run(args: &Args) -> Result<()> {
    args.store_args.run_with_store(async |store| {
        match &args.command {
            Command::Add { name, role } => {
                ensure!(store::is_name(name), "the name of a user has {}", store::NAME_RULE);
                store.add_user(name, *role).await?;
                eprintln!("`{name}` is made: `cachalot key add NAME --user {name}` makes a key for it");
            }
            Command::List => {
                writeln!(io::stdout(), "{:<24} {:<8} state", "user", "role")?;
                for user in store.users().await? {
                    let state = if user.disabled_at.is_some() { "disabled" } else { "in use" };
                    writeln!(io::stdout(), "{:<24} {:<8} {state}", user.name, user.role.as_str())?;
                }
            }
            Command::Role { name, role } => {
                let user = store.user(name).await?;
                store.update_user(name, *role, user.disabled_at.is_some()).await?;
                eprintln!("`{name}` is {} now", role.as_str());
            }
            Command::Disable { name } | Command::Enable { name } => {
                let disabled = matches!(args.command, Command::Disable { .. });
                let user = store.user(name).await?;
                store.update_user(name, user.role, disabled).await?;
                eprintln!("the keys of `{name}` are {}", if disabled { "let in no more" } else { "let in again" });
            }
        }
        Ok(())
    })
}
