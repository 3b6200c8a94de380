//! `cachalot usage check`: compares spending and sums with usage records, and repairs differences.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use gateway::Quarantine;
use serde_json::{Value, json};
use store::{IntegrityReport, Mismatch, Store, UsageRecord, money};

use crate::config::Config;
use crate::data_folder::{self, DataFolder};
use crate::data_lock::DataLock;
use crate::open_store;
use crate::store_args::StoreArgs;

/// Compare spending, budgets, and the sums of hours and days with the usage records
///
/// The exit status is 1 where they differ.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Correct each value that differs, and commit quarantined records where possible
    ///
    /// The old values are written to a file first. The repair is refused while a server uses the
    /// data folder.
    #[arg(long)]
    pub repair: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The result of a check.
struct Findings {
    integrity: IntegrityReport,
    /// Records of finished requests that are in the journal only.
    ended: Vec<UsageRecord>,
    /// Records of requests that are still running or were cut off by a crash.
    open: Vec<UsageRecord>,
    /// Records that the store refused, with its error.
    quarantined: Vec<(UsageRecord, String)>,
}

/// The changes of a repair.
struct RepairReport {
    differences: Vec<Mismatch>,
    /// The file of the old values.
    copy: Option<PathBuf>,
    /// Quarantined records that were committed.
    committed: Vec<UsageRecord>,
}

pub(crate) fn run(store_args: &StoreArgs, args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = store_args.load_config()?;
        if args.repair {
            refuse_while_served(&config)?;
        }
        let store = open_store::open_store(&config).await?;
        let journal = data_folder::journal_folder(&config)?;
        let done = check(&store, &journal, args).await;
        store.close().await;
        done
    })
}

/// Checks that the data folder is not in use.
///
/// # Errors
/// A server uses it.
fn refuse_while_served(config: &Config) -> Result<()> {
    let Some(folder) = DataFolder::resolve(config)? else { return Ok(()) };
    let context = || format!("the data folder `{}`", folder.lock_folder.display());
    match DataLock::holder_pid(&folder.lock_folder).with_context(context)? {
        Some(process) => bail!(
            "a server (process {process}) uses the data folder `{}`: stop it before the repair",
            folder.lock_folder.display()
        ),
        None => Ok(()),
    }
}

async fn check(store: &Store, journal: &Path, args: &Args) -> Result<()> {
    let repaired = if args.repair { Some(repair(store, journal).await?) } else { None };
    let findings = collect_findings(store, journal).await?;
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", json_report(&findings, repaired.as_ref()))?,
        false => write!(out, "{}", text_report(&findings, repaired.as_ref()))?,
    }
    match (findings.integrity.mismatches.len(), findings.quarantined.len()) {
        (0, 0) => Ok(()),
        (0, records) => bail!(
            "{records} records are in quarantine: `cachalot usage check --repair` commits those that can be committed; remove the others from `{}`",
            Quarantine::in_folder(journal).path().display()
        ),
        (differences, _) => {
            bail!("{differences} values differ from the usage records: `cachalot usage check --repair` corrects them")
        }
    }
}

async fn collect_findings(store: &Store, journal: &Path) -> Result<Findings> {
    // The journal is read first: a record that is committed meanwhile is found in the store.
    let journal_fault = || format!("the journal in `{}`", journal.display());
    let journaled = gateway::journal_records(journal).with_context(journal_fault)?;
    let ids: Vec<_> = journaled.iter().map(|record| record.id.clone()).collect();
    let integrity = store.check_integrity(&ids).await?;
    let uncommitted: Vec<_> = integrity.missing_records.iter().map(|&index| journaled[index].clone()).collect();
    let (open, ended) = uncommitted.into_iter().partition(gateway::is_unfinished);
    let quarantine = Quarantine::in_folder(journal);
    let quarantined = quarantine.records().with_context(|| format!("`{}`", quarantine.path().display()))?;
    Ok(Findings { integrity, ended, open, quarantined })
}

async fn repair(store: &Store, journal: &Path) -> Result<RepairReport> {
    let copy = journal.join(format!("usage-repair-{}.jsonl", store::now_micros()));
    let save = |differences: &[Mismatch]| -> Result<()> {
        let lines: String =
            differences.iter().map(|difference| difference_json(difference).to_string() + "\n").collect();
        let written =
            files::create_private_folder(journal).and_then(|()| files::create_private(&copy, lines.as_bytes()));
        written.with_context(|| format!("the old values cannot be written to `{}`", copy.display()))
    };
    let differences = store.repair_integrity(save).await?.mismatches;
    // The repair has marked the sums as not filled in.
    while store.fill_usage_sums().await? {}
    let quarantine = Quarantine::in_folder(journal);
    let committed =
        quarantine.retry_inserts(store).await.with_context(|| format!("`{}`", quarantine.path().display()))?;
    let copy = (!differences.is_empty()).then_some(copy);
    Ok(RepairReport { differences, copy, committed })
}

fn total_cost(records: &[UsageRecord]) -> i64 {
    records.iter().fold(0, |sum: i64, record| sum.saturating_add(record.cost))
}

fn difference_json(difference: &Mismatch) -> Value {
    let Mismatch { table, id, name, column, actual, expected } = difference;
    json!({"of": table, "id": id, "name": name, "column": column, "is": actual, "should_be": expected})
}

fn json_report(findings: &Findings, repaired: Option<&RepairReport>) -> Value {
    let list = |differences: &[Mismatch]| differences.iter().map(difference_json).collect::<Vec<_>>();
    let quarantined: Vec<_> = (findings.quarantined.iter())
        .map(|(record, error)| json!({"id": record.id, "key": record.key_name, "cost": record.cost, "error": error}))
        .collect();
    json!({
        "clean": findings.integrity.mismatches.is_empty() && findings.quarantined.is_empty(),
        "records": findings.integrity.records,
        "keys": findings.integrity.keys,
        "projects": findings.integrity.projects,
        "budgets": findings.integrity.budgets,
        "differences": list(&findings.integrity.mismatches),
        "journal": {"ended": findings.ended.len(), "open": findings.open.len(), "cost": total_cost(&findings.ended)},
        "quarantined": quarantined,
        "repaired": repaired.map(|repair| json!({
            "changes": list(&repair.differences),
            "copy": repair.copy,
            "booked": repair.committed.iter().map(|record| &record.id).collect::<Vec<_>>(),
        })),
    })
}

fn text_report(findings: &Findings, repaired: Option<&RepairReport>) -> String {
    let mut lines = Vec::new();
    let named = |difference: &Mismatch| {
        let Mismatch { table, id, name, column, .. } = difference;
        format!("{table} `{name}` ({id}): {column}")
    };
    if let Some(repair) = repaired {
        let changed = |d: &Mismatch| format!("repaired: {} was {}, is {}", named(d), d.actual, d.expected);
        lines.extend(repair.differences.iter().map(changed));
        lines.extend(repair.copy.iter().map(|copy| format!("the old values are in `{}`", copy.display())));
        lines.extend(
            repair.committed.iter().map(|record| format!("committed from the quarantine: record `{}`", record.id)),
        );
    }
    let differs = |d: &Mismatch| format!("difference: {} is {}, should be {}", named(d), d.actual, d.expected);
    lines.extend(findings.integrity.mismatches.iter().map(differs));
    for (record, error) in &findings.quarantined {
        lines.push(format!("quarantined: record `{}` of `{}`: {error}", record.id, record.key_name));
    }
    let IntegrityReport { records, keys, projects, budgets, mismatches: differences, .. } = &findings.integrity;
    lines.push(format!(
        "{records} records, {keys} keys, {projects} projects and {budgets} budgets that renew; {} differences, {} records in quarantine; the journal holds {} ended (${}) and {} open requests that are not committed",
        differences.len(),
        findings.quarantined.len(),
        findings.ended.len(),
        money::format(total_cost(&findings.ended), 9),
        findings.open.len(),
    ));
    lines.join("\n") + "\n"
}
