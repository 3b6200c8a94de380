//! `cachalot usage`: sums of requests, tokens and cost.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;
use store::{DAY_MICROS, UsageGroupBy, money};

use crate::commands::{usage_check, usage_rebuild};
use crate::report::{Report, ReportFormat};
use crate::store_args::StoreArgs;

/// Show requests, tokens and cost per key, project, user, model, provider or day
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
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
    /// First day (UTC), such as 2026-11-01, instead of a number of days
    #[arg(long, value_name = "DATE", conflicts_with = "days")]
    pub since: Option<Date>,
    /// Last day (UTC) [default: today]
    #[arg(long, value_name = "DATE")]
    pub until: Option<Date>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Print comma-separated values instead of a table
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

const EXAMPLES: &str = "\
Examples:
  cachalot usage --by model --days 7
  cachalot usage --by user --since 2026-11-01 --until 2026-11-30 --csv";

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    Check(usage_check::Args),
    Rebuild(usage_rebuild::Args),
}

/// The values of `--by`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum GroupByArg {
    Key,
    Project,
    User,
    Model,
    Provider,
    Day,
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Some(Command::Check(check)) => return usage_check::run(&args.store_args, check),
        Some(Command::Rebuild(_)) => return usage_rebuild::run(&args.store_args),
        None => {}
    }
    let by = match args.by {
        GroupByArg::Key => UsageGroupBy::Key,
        GroupByArg::Project => UsageGroupBy::Project,
        GroupByArg::User => UsageGroupBy::User,
        GroupByArg::Model => UsageGroupBy::Model,
        GroupByArg::Provider => UsageGroupBy::Upstream,
        GroupByArg::Day => UsageGroupBy::Day,
    };
    let title = if by == UsageGroupBy::Day { "day (UTC)" } else { by.as_str() };
    let (since, until) = args.range()?;
    args.store_args.run_with_store(async |store, _| {
        let titles = [title, "#requests", "#prompt", "#cached", "#completion", "#USD"];
        let mut report = Report::new(&titles);
        for total in store.usage_between(since, until, by).await? {
            let group = match (by, total.group.as_str()) {
                (UsageGroupBy::Day, days) => days.parse().map_or_else(|_| days.to_owned(), format_day),
                (_, "") => "(none)".to_owned(),
                (_, name) => name.to_owned(),
            };
            let json = json!({
                by.as_str(): group, "requests": total.requests, "prompt_tokens": total.prompt_tokens,
                "cached_tokens": total.cached_tokens, "completion_tokens": total.completion_tokens, "cost": money::format(total.cost, 9),
            });
            let numbers = [total.requests, total.prompt_tokens, total.cached_tokens, total.completion_tokens];
            let cells = std::iter::once(group).chain(numbers.map(|number| number.to_string()));
            report.push(cells.chain([money::format(total.cost, 6)]).collect(), json);
        }
        report.print(match (args.json, args.csv) {
            (true, _) => ReportFormat::Json,
            (_, true) => ReportFormat::Csv,
            _ => ReportFormat::Text,
        })
    })
}

impl Args {
    /// The first microsecond of the range, and the one after its last.
    ///
    /// # Errors
    /// A range that ends before it begins.
    fn range(&self) -> Result<(i64, i64)> {
        let start = |date: Date| Ok::<_, anyhow::Error>(date.to_zoned(TimeZone::UTC)?.timestamp().as_microsecond());
        let today = store::now_micros().div_euclid(DAY_MICROS) * DAY_MICROS;
        let last = self.until.map_or(Ok(today), start)?;
        let since = self.since.map_or(Ok(last - (self.days - 1) * DAY_MICROS), start)?;
        ensure!(since <= last, "--since is after --until");
        // Records that arrive while the command runs count too.
        Ok((since, if self.until.is_some() { last + DAY_MICROS } else { i64::MAX }))
    }
}

/// The date `days` days after 1970-01-01.
fn format_day(days: i64) -> String {
    let day = Timestamp::from_second(days.saturating_mul(86_400));
    day.map_or_else(|_| days.to_string(), |day| day.strftime("%Y-%m-%d").to_string())
}
