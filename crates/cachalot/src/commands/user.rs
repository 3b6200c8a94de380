//! `cachalot user`: makes and lists users, whose roles decide what their keys may do in the admin
//! API.

use std::io::{self, Write};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use store::{BudgetOwner, BudgetScope, Role, money};

use crate::one_time_link;
use crate::period_args::{OrNone, PeriodArgs, budgets_cell, budgets_json, parse_dollars};
use crate::report::{OutputArgs, Report};
use crate::store_args::StoreArgs;

/// Make and list users, and set their roles in the admin API
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
  cachalot user add olga --role viewer
  cachalot user role olga admin
  cachalot user budget olga 20 --every week
  cachalot user link olga
  cachalot user list";

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
    /// Set what all keys of a user together may spend in a period. Without --every: the total of
    /// the budgets of the keys that the user makes
    Budget {
        /// Name of the user
        name: String,
        /// US dollars, or `none` for unlimited
        #[arg(value_name = "USD|none", value_parser = parse_dollars)]
        budget: OrNone<i64>,
        #[command(flatten)]
        period: PeriodArgs,
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
    /// Print a link to the console with which a user sets a password, once, within 15 minutes
    Link {
        /// Name of the user
        name: String,
    },
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("`{text}` is not a role: write member, viewer or admin"))
}

pub fn run(args: &Args) -> Result<()> {
    args.store_args.run_with_store(async |store, config| match &args.command {
        Command::Add { name, role } => {
            ensure!(store::is_name(name), "the name of a user has {}", store::NAME_RULE);
            store.add_user(name, *role).await?;
            args.output.confirm(
                &format!("made user `{name}`: `cachalot key add NAME --user {name}` makes a key for it"),
                &json!({"name": name, "role": role.as_str()}),
            )
        }
        Command::List => {
            let mut report = Report::new(&["user", "role", "budgets that renew", "state"]);
            let budgets = store.budget_states().await?;
            for user in store.users().await? {
                let state = if user.disabled_at.is_some() { "disabled" } else { "in use" };
                let role = user.role.as_str();
                let states = budgets.get(&user.id).map(Vec::as_slice).unwrap_or_default();
                let json = json!({"name": user.name, "role": role, "state": state, "budgets": budgets_json(states)});
                report.push(vec![user.name, role.to_owned(), budgets_cell(states), state.to_owned()], json);
            }
            report.print(args.output.format())
        }
        Command::Role { name, role } => {
            let user = store.user(name).await?;
            store.update_user(name, *role, user.disabled_at.is_some()).await?;
            let json = json!({"name": name, "role": role.as_str()});
            args.output.confirm(&format!("set the role of `{name}` to {}", role.as_str()), &json)
        }
        Command::Budget { name, budget, period } => {
            let user = store.user(name).await?;
            period.change_budget(store, BudgetOwner::User(&user), BudgetScope::Owner, Some(*budget)).await?;
            if period.amount_is_total(&BudgetScope::Owner) {
                store.set_user_budget(name, budget.0).await?;
            }
            let mut json = json!({"name": name, "budget": budget.0.map(|nano| money::format(nano, 9))});
            if let Some(every) = period.every {
                json["every"] = every.as_str().into();
            }
            args.output.confirm(&format!("set the budget of `{name}`"), &json)
        }
        Command::Link { name } => {
            let listen = &config.server.listen;
            let address = listen.parse().with_context(|| format!("`listen` in [server] is `{listen}`"))?;
            let link = one_time_link::password_link(store, address, name).await?;
            if args.output.json {
                return Ok(writeln!(io::stdout(), "{}", json!({"name": name, "link": link}))?);
            }
            Ok(writeln!(io::stdout(), "{link}")?)
        }
        Command::Disable { name } | Command::Enable { name } => {
            let disabled = matches!(args.command, Command::Disable { .. });
            let user = store.user(name).await?;
            store.update_user(name, user.role, disabled).await?;
            let json = json!({"name": name, "disabled": disabled});
            let done = if disabled { "disabled" } else { "enabled" };
            args.output.confirm(&format!("{done} the keys of `{name}`"), &json)
        }
    })
}
