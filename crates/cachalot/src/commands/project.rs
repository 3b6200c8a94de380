//! `cachalot project`: makes and lists projects, whose budgets pay for API keys.

use anyhow::{Result, ensure};
use serde_json::json;
use store::{BudgetOwner, BudgetScope, money};

use crate::period_args::{OrNone, PeriodArgs, budgets_cell, budgets_json, parse_dollars};
use crate::report::{OutputArgs, Report};
use crate::store_args::StoreArgs;

/// Make and list projects, and set their budgets
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
  cachalot project add team --budget 100
  cachalot project budget team 200
  cachalot project budget team 50 --every week
  cachalot project list";

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Make a project
    Add {
        /// Name of the project
        name: String,
        /// Amount that all its keys together may spend, in US dollars [default: unlimited]
        #[arg(long, value_name = "USD|none", value_parser = parse_dollars)]
        budget: Option<OrNone<i64>>,
        #[command(flatten)]
        period: PeriodArgs,
    },
    /// List the projects
    List,
    /// Set what a project may spend. Its past spending counts
    Budget {
        /// Name of the project
        name: String,
        /// US dollars, or `none` for unlimited
        #[arg(value_name = "USD|none", value_parser = parse_dollars)]
        budget: OrNone<i64>,
        #[command(flatten)]
        period: PeriodArgs,
    },
}

pub fn run(args: &Args) -> Result<()> {
    args.store_args.run_with_store(async |store, _| match &args.command {
        Command::Add { name, budget, period } => {
            ensure!(store::is_name(name), "the name of a project has {}", store::NAME_RULE);
            let total = budget.filter(|_| period.amount_is_total(&BudgetScope::Owner)).and_then(|OrNone(nano)| nano);
            let project = store.add_project(name, total).await?;
            period.change_budget(store, BudgetOwner::Project(&project), BudgetScope::Owner, *budget).await?;
            args.output.confirm(
                &format!("made project `{name}`: `cachalot key add NAME --project {name}` makes a key for it"),
                &json!({"name": name, "budget": total.map(dollars)}),
            )
        }
        Command::List => {
            let mut report = Report::new(&["project", "#spent USD", "#budget USD", "budgets that renew"]);
            let budgets = store.budget_states().await?;
            for project in store.projects().await? {
                let budget = project.budget.map_or("-".to_owned(), |nano| money::format(nano, 6));
                let states = budgets.get(&project.id).map(Vec::as_slice).unwrap_or_default();
                let json = json!({
                    "name": project.name, "spent": dollars(project.spent), "budget": project.budget.map(dollars),
                    "budgets": budgets_json(states),
                });
                let spent = money::format(project.spent, 6);
                report.push(vec![project.name, spent, budget, budgets_cell(states)], json);
            }
            report.print(args.output.format())
        }
        Command::Budget { name, budget, period } => {
            let project = store.project(name).await?;
            period.change_budget(store, BudgetOwner::Project(&project), BudgetScope::Owner, Some(*budget)).await?;
            if period.amount_is_total(&BudgetScope::Owner) {
                store.set_budget(name, budget.0).await?;
            }
            let mut json = json!({"name": name, "budget": budget.0.map(dollars)});
            if let Some(every) = period.every {
                json["every"] = every.as_str().into();
            }
            args.output.confirm(&format!("set the budget of `{name}`"), &json)
        }
    })
}

/// US dollars as exact text.
fn dollars(nano: i64) -> String {
    money::format(nano, 9)
}
