//! `cachalot usage check`: whether the books agree, and with `--repair` that they do.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use gateway::Quarantine;
use serde_json::{Value, json};
use store::{IntegrityReport, Mismatch, Store, UsageRecord, money};

use crate::commands::key::StoreArgs;
use crate::config::Config;
use crate::data_folder::{self, DataFolder};
use crate::data_lock::DataLock;
use crate::open_store;

/// Compare what keys and projects have spent with the sums of their records; exit status 1
/// where they differ
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Set each value to what it should be, and book the quarantined records that can be
    /// booked by then. The old values are written to a file first. Refused while a server
    /// uses the data folder
    #[arg(long)]
    pub repair: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// All that a check has found.
struct Findings {
    integrity: IntegrityReport,
    /// Records that have ended and are not booked yet.
    ended: Vec<UsageRecord>,
    /// Records of requests that have not ended, or that a crash cut off.
    open: Vec<UsageRecord>,
    quarantined: Vec<(UsageRecord, String)>,
}

/// The changes that a repair has made.
struct RepairReport {
    differences: Vec<Mismatch>,
    copy: Option<PathBuf>,
    booked: Vec<UsageRecord>,
}

pub(crate) fn run(store_args: &StoreArgs, args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = Config::load(store_args.config.as_deref())?;
        let store_flag = store_args.store.as_deref();
        if args.repair {
            refuse_while_served(&config, store_flag)?;
        }
        let (store, journal) =
            (open_store::open_store(&config, store_flag).await?, data_folder::journal_folder(&config)?);
        let done = check(&store, &journal, args).await;
        store.close().await;
        done
    })
}

/// # Errors
/// A server uses the data folder.
fn refuse_while_served(config: &Config, store_flag: Option<&str>) -> Result<()> {
    let Some(folder) = DataFolder::resolve(config, store_flag)? else { return Ok(()) };
    let context = || format!("the data folder `{}`", folder.lock_folder.display());
    match DataLock::holder_pid(&folder.lock_folder).with_context(context)? {
        Some(process) => bail!(
            "a server (process {process}) uses the data folder `{}`: stop it before its books are repaired",
            folder.lock_folder.display()
        ),
        None => Ok(()),
    }
}

async fn check(store: &Store, journal: &Path, args: &Args) -> Result<()> {
    let repaired = if args.repair { Some(repair(store, journal).await?) } else { None };
    let found = collect_findings(store, journal).await?;
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", json_report(&found, repaired.as_ref()))?,
        false => write!(out, "{}", text_report(&found, repaired.as_ref()))?,
    }
    match (found.integrity.mismatches.len(), found.quarantined.len()) {
        (0, 0) => Ok(()),
        (0, records) => bail!(
            "{records} records are in quarantine: `cachalot usage check --repair` books those that can be booked; remove the others from `{}`",
            Quarantine::in_folder(journal).path().display()
        ),
        (differences, _) => {
            bail!("the books differ in {differences} places: `cachalot usage check --repair` repairs them")
        }
    }
}

async fn collect_findings(store: &Store, journal: &Path) -> Result<Findings> {
    // The journal first: what is booked meanwhile is found in the store.
    let journal_fault = || format!("the journal in `{}`", journal.display());
    let held = gateway::journal_records(journal).with_context(journal_fault)?;
    let ids: Vec<_> = held.iter().map(|record| record.id.clone()).collect();
    let integrity = store.check_integrity(&ids).await?;
    let unbooked: Vec<_> = integrity.missing_records.iter().map(|&index| held[index].clone()).collect();
    let (open, ended) = unbooked.into_iter().partition(gateway::is_unfinished);
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
    let quarantine = Quarantine::in_folder(journal);
    let booked = quarantine.retry_inserts(store).await.with_context(|| format!("`{}`", quarantine.path().display()))?;
    let copy = (!differences.is_empty()).then_some(copy);
    Ok(RepairReport { differences, copy, booked })
}

fn total_cost(records: &[UsageRecord]) -> i64 {
    records.iter().fold(0, |sum: i64, record| sum.saturating_add(record.cost))
}

fn difference_json(difference: &Mismatch) -> Value {
    let Mismatch { table: of, id, name, column, actual: is, expected: should_be } = difference;
    json!({"of": of, "id": id, "name": name, "column": column, "is": is, "should_be": should_be})
}

fn json_report(found: &Findings, repaired: Option<&RepairReport>) -> Value {
    let list = |differences: &[Mismatch]| differences.iter().map(difference_json).collect::<Vec<_>>();
    let quarantined: Vec<_> = (found.quarantined.iter())
        .map(|(record, error)| json!({"id": record.id, "key": record.key_name, "cost": record.cost, "error": error}))
        .collect();
    json!({
        "clean": found.integrity.mismatches.is_empty() && found.quarantined.is_empty(),
        "records": found.integrity.records,
        "keys": found.integrity.keys,
        "projects": found.integrity.projects,
        "differences": list(&found.integrity.mismatches),
        "journal": {"ended": found.ended.len(), "open": found.open.len(), "cost": total_cost(&found.ended)},
        "quarantined": quarantined,
        "repaired": repaired.map(|repair| json!({
            "changes": list(&repair.differences),
            "copy": repair.copy,
            "booked": repair.booked.iter().map(|record| &record.id).collect::<Vec<_>>(),
        })),
    })
}

fn text_report(found: &Findings, repaired: Option<&RepairReport>) -> String {
    let mut lines = Vec::new();
    let named = |difference: &Mismatch| {
        let Mismatch { table: of, id, name, column, .. } = difference;
        format!("{of} `{name}` ({id}): {column}")
    };
    if let Some(repair) = repaired {
        let changed = |d: &Mismatch| format!("repaired: {} was {}, is {}", named(d), d.actual, d.expected);
        lines.extend(repair.differences.iter().map(changed));
        lines.extend(repair.copy.iter().map(|copy| format!("the old values are in `{}`", copy.display())));
        lines.extend(repair.booked.iter().map(|record| format!("booked from the quarantine: record `{}`", record.id)));
    }
    let differs = |d: &Mismatch| format!("difference: {} is {}, should be {}", named(d), d.actual, d.expected);
    lines.extend(found.integrity.mismatches.iter().map(differs));
    for (record, error) in &found.quarantined {
        lines.push(format!("quarantined: record `{}` of `{}`: {error}", record.id, record.key_name));
    }
    let IntegrityReport { records, keys, projects, mismatches: differences, .. } = &found.integrity;
    lines.push(format!(
        "{records} records, {keys} keys and {projects} projects; {} differences, {} records in quarantine; the journal holds {} ended (${}) and {} open requests that are not booked",
        differences.len(),
        found.quarantined.len(),
        found.ended.len(),
        money::format(total_cost(&found.ended), 9),
        found.open.len(),
    ));
    lines.join("\n") + "\n"
}
