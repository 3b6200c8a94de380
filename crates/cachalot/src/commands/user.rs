//! `cachalot user`: makes and lists users, whose roles decide what their keys may do in the admin
//! API.

use std::io::{self, Write};

use anyhow::{Result, ensure};
use store::Role;

use crate::store_args::StoreArgs;

/// Make and list users, and set their roles in the admin API
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
        /// Name of the user
        name: String,
        /// `member`: only requests to models; `viewer`: also reads the admin API; `admin`: also
        /// changes settings
        #[arg(long, default_value = "member", value_parser = parse_role)]
        role: Role,
    },
    /// List the users
    List,
    /// Set the role of a user
    Role {
        /// Name of the user
        name: String,
        /// `member`, `viewer` or `admin`
        #[arg(value_parser = parse_role)]
        role: Role,
    },
    /// Refuse requests with the keys of a user
    Disable {
        /// Name of the user
        name: String,
    },
    /// Accept requests with the keys of a user again
    Enable {
        /// Name of the user
        name: String,
    },
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("`{text}` is not a role: write member, viewer or admin"))
}

pub fn run(args: &Args) -> Result<()> {
    args.store_args.run_with_store(async |store| {
        match &args.command {
            Command::Add { name, role } => {
                ensure!(store::is_name(name), "the name of a user has {}", store::NAME_RULE);
                store.add_user(name, *role).await?;
                eprintln!("made user `{name}`: `cachalot key add NAME --user {name}` makes a key for it");
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
                eprintln!("set the role of `{name}` to {}", role.as_str());
            }
            Command::Disable { name } | Command::Enable { name } => {
                let disabled = matches!(args.command, Command::Disable { .. });
                let user = store.user(name).await?;
                store.update_user(name, user.role, disabled).await?;
                eprintln!("{} the keys of `{name}`", if disabled { "disabled" } else { "enabled" });
            }
        }
        Ok(())
    })
}
