//! `cachalot usage`: sums of requests, tokens and cost.

use std::io::{self, Write};

use anyhow::Result;
use jiff::Timestamp;
use store::{UsageGroupBy, money};

use crate::commands::usage_check;
use crate::store_args::StoreArgs;

/// Show requests, tokens and cost per key, project, model, provider or day
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    pub store_args: StoreArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Group the sums by
    #[arg(long, value_enum, default_value = "key")]
    pub by: GroupByArg,
    /// Number of days (UTC), including today
    #[arg(long, value_name = "N", default_value = "30", value_parser = clap::value_parser!(i64).range(1..=36_500))]
    pub days: i64,
}

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    Check(usage_check::Args),
}

/// The values of `--by`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum GroupByArg {
    Key,
    Project,
    Model,
    Provider,
    Day,
}

const DAY_MICROS: i64 = 86_400 * 1_000_000;

pub fn run(args: &Args) -> Result<()> {
    if let Some(Command::Check(check)) = &args.command {
        return usage_check::run(&args.store_args, check);
    }
    let (by, title) = match args.by {
        GroupByArg::Key => (UsageGroupBy::Key, "key"),
        GroupByArg::Project => (UsageGroupBy::Project, "project"),
        GroupByArg::Model => (UsageGroupBy::Model, "model"),
        GroupByArg::Provider => (UsageGroupBy::Upstream, "provider"),
        GroupByArg::Day => (UsageGroupBy::Day, "day (UTC)"),
    };
    args.store_args.run_with_store(async |store| {
        let since = (store::now_micros().div_euclid(DAY_MICROS) - (args.days - 1)) * DAY_MICROS;
        writeln!(
            io::stdout(),
            "{title:<28} {:>9} {:>12} {:>12} {:>12} {:>14}",
            "requests",
            "prompt",
            "cached",
            "completion",
            "USD"
        )?;
        for total in store.usage(since, by).await? {
            let group = match (args.by, total.group.as_str()) {
                (GroupByArg::Day, days) => days.parse().map_or_else(|_| days.to_owned(), format_day),
                (_, "") => "(none)".to_owned(),
                (_, name) => name.to_owned(),
            };
            writeln!(
                io::stdout(),
                "{group:<28} {:>9} {:>12} {:>12} {:>12} {:>14}",
                total.requests,
                total.prompt_tokens,
                total.cached_tokens,
                total.completion_tokens,
                money::format(total.cost, 6)
            )?;
        }
        Ok(())
    })
}

/// The date `days` days after 1970-01-01.
fn format_day(days: i64) -> String {
    let day = Timestamp::from_second(days.saturating_mul(86_400));
    day.map_or_else(|_| days.to_string(), |day| day.strftime("%Y-%m-%d").to_string())
}
