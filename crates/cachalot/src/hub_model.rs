//! A model by its name on a hub: opened from the cache, or described from afar by its
//! configuration and the headers of its weights.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_util::{StreamExt, TryStreamExt, stream};
use hub::{Error, HubCache, HubClient, HubSettings, ModelRef, RepoFile, Repository, select};
use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};
use serde_json::Value;
use weights::{Bytes, Checkpoint, CheckpointSummary};

use crate::model_fit;
use crate::model_names;
use crate::terminal;

/// The most bytes of a configuration, an index, or a header of safetensors.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
const MAX_INDEX_BYTES: u64 = 256 << 20;
const MAX_HEADER_BYTES: u64 = 100_000_008;
/// The first bytes of a safetensors file that are requested. Most headers are shorter.
const FIRST_BYTES: u64 = 128 << 10;
/// Headers that are requested at once.
const CONCURRENT_REQUESTS: usize = 8;
/// The time that an error message may take to look up the size of a model.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);
const INDEX: &str = "model.safetensors.index.json";

/// A client and a cache by the environment's settings.
///
/// # Errors
/// Settings that cannot be used.
pub(crate) fn client_and_cache() -> Result<(HubClient, HubCache)> {
    let settings = HubSettings::from_env()?;
    Ok((HubClient::new(&settings)?, HubCache::new(settings.cache)))
}

/// The cache by the environment's settings. Needs no client, whose making reads the certificates of
/// the system.
///
/// # Errors
/// Settings that cannot be used.
pub(crate) fn cache() -> Result<HubCache> {
    Ok(HubCache::new(HubSettings::from_env()?.cache))
}

/// Opens a model of the cache. Nothing is downloaded.
///
/// # Errors
/// A model that is not in the cache: the text names the command that downloads it, and its size. A
/// model that is not complete.
pub(crate) fn open_cached(model: &ModelRef) -> Result<Checkpoint> {
    let snapshot = match cache()?.snapshot(model) {
        Ok(snapshot) => snapshot,
        Err(missing @ Error::NotCached { .. }) => {
            return Err(explain_missing(&client_and_cache()?.0, model, &missing));
        }
        Err(error) => return Err(error.into()),
    };
    let opened =
        Checkpoint::open(&snapshot).with_context(|| format!("the model `{model}` in `{}`", snapshot.display()));
    opened.map_err(|error| {
        let text = crate::with_causes(&error);
        anyhow!("{text}\nhint: `cachalot pull {model}` downloads what is missing, with `--verify` also what is damaged")
    })
}

/// The error for a model that is not in the cache. Looks up its size.
fn explain_missing(client: &HubClient, model: &ModelRef, missing: &Error) -> anyhow::Error {
    let lookup = async { tokio::time::timeout(LOOKUP_TIMEOUT, client.repository(model)).await };
    let provider =
        model_names::provider_hint(model.id.org()).map_or_else(String::new, |hint| format!("\nhint: {hint}"));
    let text = format!("{missing}, and there is no folder of this name");
    let command = format!("`cachalot pull {model}` downloads it");
    match block_on(lookup) {
        Ok(Ok(repository)) => {
            let selection = select(&repository, &[], "");
            let files = selection.map_or_else(|_| Vec::new(), |selection| selection.files);
            let bytes = files.iter().map(|file| file.bytes()).sum();
            let size = format!("{} files, {}", files.len(), BinaryBytes(bytes));
            let fit = model_fit::memory_hint(&repository).map_or_else(String::new, |hint| format!("\n{hint}"));
            anyhow!("{text}\nhint: {command} ({size}){fit}")
        }
        Ok(Err(error @ (Error::NoModel { .. } | Error::NoRevision { .. } | Error::Gated { .. }))) => {
            anyhow!("{text}; {error}{provider}")
        }
        Ok(Err(error)) => anyhow!("{text}\nhint: {command}; its size is not known ({error}){provider}"),
        Err(_) => anyhow!("{text}\nhint: {command}; `{}` did not tell its size in time{provider}", client.host()),
    }
}

/// A model that was described without its weights.
pub(crate) struct RemoteModel {
    pub(crate) repository: Repository,
    pub(crate) summary: CheckpointSummary,
}

/// Describes a model of the hub: reads its configuration, its index, and the headers of its
/// weights.
///
/// # Errors
/// A model that cannot be had; a configuration or a header that is not valid.
pub(crate) fn describe(client: &HubClient, model: &ModelRef) -> Result<RemoteModel> {
    block_on(async {
        let repository = client.repository(model).await?;
        let config = config_bytes(client, &repository).await?.with_context(|| no_config(&repository))?;
        let mut files = BTreeMap::from([("config.json".to_owned(), Bytes::from(config))]);
        if let Some(file) = repository.file(INDEX) {
            let index = client.read_file(&repository, file, MAX_INDEX_BYTES).await?;
            files.insert(INDEX.to_owned(), index.into());
        }
        let is_weights = |file: &&RepoFile| file.path.ends_with(".safetensors") && !file.path.contains('/');
        let weights: Vec<&RepoFile> = repository.files.iter().filter(is_weights).collect();
        let style =
            ProgressStyle::with_template("reading headers {bar:40} {pos}/{len} {eta}").expect("a valid template");
        let bar = terminal::draw(ProgressBar::new(weights.len() as u64).with_style(style));
        let headers = weights.into_iter().map(|file| {
            let (repository, bar) = (&repository, &bar);
            async move {
                let header = header_bytes(client, repository, file).await?;
                bar.inc(1);
                anyhow::Ok((file.path.clone(), (Bytes::from(header), file.bytes())))
            }
        });
        let headers: Vec<_> = headers.collect();
        let headers: BTreeMap<_, _> = stream::iter(headers).buffer_unordered(CONCURRENT_REQUESTS).try_collect().await?;
        bar.finish_and_clear();
        let summary = CheckpointSummary::from_headers(model.id.name(), files, headers)?;
        Ok(RemoteModel { repository, summary })
    })
}

/// The configuration of a model of the hub; `None` without one.
///
/// # Errors
/// A hub that cannot be reached, text that is not JSON.
pub(crate) async fn config(client: &HubClient, repository: &Repository) -> Result<Option<Value>> {
    let Some(bytes) = config_bytes(client, repository).await? else { return Ok(None) };
    let config = serde_json::from_slice(&bytes).with_context(|| format!("`config.json` of `{}`", repository.id))?;
    Ok(Some(config))
}

async fn config_bytes(client: &HubClient, repository: &Repository) -> Result<Option<Vec<u8>>> {
    let Some(file) = repository.file("config.json") else { return Ok(None) };
    Ok(Some(client.read_file(repository, file, MAX_CONFIG_BYTES).await?))
}

/// The header of a safetensors file, and perhaps bytes behind it. An invalid length is left to the
/// reader of the header.
async fn header_bytes(client: &HubClient, repository: &Repository, file: &RepoFile) -> Result<Vec<u8>> {
    let start = client.read_start(repository, file, FIRST_BYTES).await?;
    let Some((length, _)) = start.split_first_chunk::<8>() else { return Ok(start) };
    let needed = u64::from_le_bytes(*length).saturating_add(8);
    if needed <= start.len() as u64 || needed > MAX_HEADER_BYTES {
        return Ok(start);
    }
    Ok(client.read_start(repository, file, needed).await?)
}

fn no_config(repository: &Repository) -> String {
    let other = model_fit::other_format(repository);
    other.unwrap_or_else(|| format!("`{}` has no `config.json`: it is not a checkpoint", repository.id))
}

/// Runs a future to its end on a thread of its own, so that it does not matter whether the caller
/// is on a runtime.
pub(crate) fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime without threads starts").block_on(future)
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("the future does not panic"))
}
