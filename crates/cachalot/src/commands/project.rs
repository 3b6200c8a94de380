//! `cachalot project`: makes and lists projects, whose budgets pay for API keys.

use std::io::{self, Write};

use anyhow::{Result, ensure};
use store::money;

use crate::store_args::StoreArgs;

/// Make and list projects, and set their budgets
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    pub store_args: StoreArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Make a project
    Add {
        /// Name of the project
        name: String,
        /// Total that all its keys together may spend, in US dollars [default: unlimited]
        #[arg(long, value_name = "USD", value_parser = money::parse)]
        budget: Option<i64>,
    },
    /// List the projects
    List,
    /// Set the total that a project may spend. Its past spending counts
    Budget {
        /// Name of the project
        name: String,
        /// US dollars, or `none` for unlimited
        #[arg(value_name = "USD|none", value_parser = parse_budget)]
        budget: BudgetArg,
    },
}

/// A budget in nano-dollars; `None` when unlimited.
#[derive(Clone, Copy, Debug)]
pub struct BudgetArg(Option<i64>);

fn parse_budget(text: &str) -> Result<BudgetArg, String> {
    if text == "none" { Ok(BudgetArg(None)) } else { money::parse(text).map(|nano| BudgetArg(Some(nano))) }
}

pub fn run(args: &Args) -> Result<()> {
    args.store_args.run_with_store(async |store| {
        match &args.command {
            Command::Add { name, budget } => {
                ensure!(store::is_name(name), "the name of a project has {}", store::NAME_RULE);
                store.add_project(name, *budget).await?;
                eprintln!("made project `{name}`: `cachalot key add NAME --project {name}` makes a key for it");
            }
            Command::List => {
                writeln!(io::stdout(), "{:<24} {:>14} {:>14}", "project", "spent USD", "budget USD")?;
                for project in store.projects().await? {
                    let budget = project.budget.map_or("-".to_owned(), |nano| money::format(nano, 6));
                    writeln!(
                        io::stdout(),
                        "{:<24} {:>14} {budget:>14}",
                        project.name,
                        money::format(project.spent, 6)
                    )?;
                }
            }
            Command::Budget { name, budget } => {
                store.set_budget(name, budget.0).await?;
                eprintln!("set the budget of `{name}`");
            }
        }
        Ok(())
    })
}
