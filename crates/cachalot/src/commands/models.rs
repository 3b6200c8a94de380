//! `cachalot models`: the models in the cache that other tools share.

use std::io::Write;

use anyhow::{Result, anyhow};
use hub::{CachedModel, Error, HubCache, HubSettings};
use indicatif::BinaryBytes;
use serde_json::json;

use crate::commands::pull::parse_model;
use crate::report::{OutputArgs, Report, ReportFormat};

/// List or remove the models in the cache
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cachalot models list
  cachalot models rm deepseek-ai/DeepSeek-V3.2";

#[derive(clap::Subcommand)]
enum Command {
    /// List models with their revisions and sizes
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Remove a model with all its revisions, or one revision of it
    Rm {
        /// Name of the model; with @REVISION, only this branch, tag or commit
        #[arg(value_name = "ORG/NAME[@REVISION]")]
        model: String,
    },
}

/// Runs the subcommand.
///
/// # Errors
/// A cache that cannot be read or changed, a model that is not in it.
pub fn run(args: &Args) -> Result<()> {
    let cache = HubCache::new(HubSettings::from_env()?.cache);
    match &args.command {
        Command::List { output } => list(&cache, output.format()),
        Command::Rm { model } => remove(&cache, model),
    }
}

fn list(cache: &HubCache, format: ReportFormat) -> Result<()> {
    let models = cache.models()?;
    if models.is_empty() && format == ReportFormat::Text {
        eprintln!("no models in `{}`; `cachalot pull ORG/NAME` downloads one", cache.folder().display());
        return Ok(());
    }
    let mut report = Report::new(&["model", "#size", "#files", "revision"]);
    for model in &models {
        let id = model.id.to_string();
        let mut rows = Vec::new();
        for revision in &model.revisions {
            let refs =
                if revision.refs.is_empty() { String::new() } else { format!(" ({})", revision.refs.join(", ")) };
            let commit = format!("{}{refs}", &revision.commit[..12]);
            rows.push([BinaryBytes(revision.bytes).to_string(), revision.files.to_string(), commit]);
        }
        if model.incomplete_bytes > 0 || rows.is_empty() {
            let remedy = format!("not complete: `cachalot pull {id}` continues");
            rows.push([BinaryBytes(model.incomplete_bytes).to_string(), String::new(), remedy]);
        }
        for (number, cells) in rows.into_iter().enumerate() {
            let named = |name: &str| std::iter::once(name.to_owned()).chain(cells).collect();
            if number == 0 { report.push(named(&id), to_json(model)) } else { report.push_continued(named("")) }
        }
    }
    report.print(format)?;
    if format == ReportFormat::Text {
        let total = models.iter().map(|model| model.bytes).sum();
        writeln!(std::io::stdout(), "{} in `{}`", BinaryBytes(total), cache.folder().display())?;
    }
    Ok(())
}

fn to_json(model: &CachedModel) -> serde_json::Value {
    let revision = |revision: &hub::CachedRevision| {
        json!({
            "commit": revision.commit, "refs": revision.refs, "files": revision.files, "bytes": revision.bytes,
            "folder": revision.folder,
        })
    };
    json!({
        "model": model.id.to_string(), "bytes": model.bytes, "incomplete_bytes": model.incomplete_bytes,
        "revisions": model.revisions.iter().map(revision).collect::<Vec<_>>(),
    })
}

fn remove(cache: &HubCache, text: &str) -> Result<()> {
    let model = parse_model(text)?;
    let removed = if text.contains('@') { cache.remove_revision(&model) } else { cache.remove_model(&model.id) };
    let bytes = removed.map_err(|error| match error {
        Error::NotCached { .. } => anyhow!("{error}: `cachalot models list` shows the models in it"),
        error => error.into(),
    })?;
    Ok(writeln!(std::io::stdout(), "removed {text}: {} are free now", BinaryBytes(bytes))?)
}
