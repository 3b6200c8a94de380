//! `cachalot project`: who pays for keys.

use std::io::{self, Write};

use anyhow::{Result, ensure};
use store::money;

use crate::commands::key::StoreArgs;

/// Make and list projects, and set what they may spend
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
        name: String,
        /// All its keys together may ever spend, in US dollars [default: no bound]
        #[arg(long, value_name = "USD", value_parser = money::parse)]
        budget: Option<i64>,
    },
    /// List the projects
    List,
    /// Set all that a project may ever spend, in US dollars; what it has spent counts
    Budget {
        name: String,
        /// A number of dollars, or `none`
        #[arg(value_name = "USD|none", value_parser = parse_budget)]
        budget: BudgetArg,
    },
}

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
                eprintln!("`{name}` is made: `cachalot key add NAME --project {name}` makes a key for it");
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
                eprintln!("the budget of `{name}` is set");
            }
        }
        Ok(())
    })
}
