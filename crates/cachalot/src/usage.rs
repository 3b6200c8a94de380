//! `cachalot usage`: what was asked, and what it cost.

use std::io::{self, Write};

use anyhow::Result;
use jiff::Timestamp;
use store::{UsageGroupBy, money};

use crate::key::At;
use crate::usage_check;

/// Show what was asked and what it cost
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    pub at: At,
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to sum by
    #[arg(long, value_enum, default_value = "key")]
    pub by: Shared,
    /// How many days back, today included
    #[arg(long, value_name = "N", default_value = "30", value_parser = clap::value_parser!(i64).range(1..=36_500))]
    pub days: i64,
}

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    Check(usage_check::Args),
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Shared {
    Key,
    Project,
    Model,
    Provider,
    Day,
}

const DAY: i64 = 86_400 * 1_000_000;

pub fn run(args: &Args) -> Result<()> {
    if let Some(Command::Check(check)) = &args.command {
        return usage_check::run(&args.at, check);
    }
    let (by, title) = match args.by {
        Shared::Key => (UsageGroupBy::Key, "key"),
        Shared::Project => (UsageGroupBy::Project, "project"),
        Shared::Model => (UsageGroupBy::Model, "model"),
        Shared::Provider => (UsageGroupBy::Upstream, "provider"),
        Shared::Day => (UsageGroupBy::Day, "day (UTC)"),
    };
    args.at.with(async |store| {
        let since = (store::now_micros().div_euclid(DAY) - (args.days - 1)) * DAY;
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
            let of = match (args.by, total.group.as_str()) {
                (Shared::Day, days) => days.parse().map_or_else(|_| days.to_owned(), date),
                (_, "") => "(none)".to_owned(),
                (_, of) => of.to_owned(),
            };
            writeln!(
                io::stdout(),
                "{of:<28} {:>9} {:>12} {:>12} {:>12} {:>14}",
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

/// The date that many days after 1970-01-01.
fn date(days: i64) -> String {
    let day = Timestamp::from_second(days.saturating_mul(86_400));
    day.map_or_else(|_| days.to_string(), |day| day.strftime("%Y-%m-%d").to_string())
}
