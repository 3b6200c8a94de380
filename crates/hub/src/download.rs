//! The download of a plan, several files at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::transfer::Transfer;
use crate::{DownloadPlan, Error, HubCache, HubClient, Report};

/// How a plan is downloaded.
#[derive(Clone, Copy, Debug)]
pub struct DownloadOptions {
    /// Files at once.
    pub jobs: usize,
    /// Whether files that are complete already are compared with their checksums.
    pub verify: bool,
}

/// Downloads what a plan lacks, and returns the folder with its files. Dropping the future stops
/// the download; the next one continues where it was. Needs a runtime with several threads.
///
/// # Errors
/// The first failure that another attempt cannot mend. Files that are complete stay in the cache.
pub async fn download(
    client: &HubClient,
    cache: &HubCache,
    plan: Arc<DownloadPlan>,
    options: DownloadOptions,
    report: Arc<Report>,
) -> Result<PathBuf, Error> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..options.jobs.clamp(1, plan.blobs.len().max(1)) {
        let (client, cache, plan) = (client.clone(), cache.clone(), plan.clone());
        let (next, report) = (next.clone(), report.clone());
        workers.spawn(async move {
            while let Some(blob) = plan.blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                Transfer::new(&client, &cache, &plan.repository, blob, &*report).run(options.verify).await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        // Dropping the others stops them.
        ended.expect("a worker does not panic")?;
    }
    // Last, so that a branch names a new commit only when its files are there.
    cache.write_ref(&plan.model, &plan.repository.commit)?;
    Ok(cache.snapshot_folder(&plan.model.id, &plan.repository.commit))
}
