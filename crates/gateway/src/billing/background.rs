//! The background tasks of the accounting: records are committed to the store, keys are refreshed,
//! the journal is flushed to disk, and leases are maintained.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::billing::ledger::{Ledger, PendingRecord};
use crate::billing::record_writer::RecordWriter;
use crate::billing::usage_maintenance;
use crate::keys::key_cache::KeyCache;
use crate::limits::redis_leases::RedisLeases;

/// The interval at which changed keys are read and the journal is flushed to disk (fsync).
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// The time in which the last records are committed when the server stops. The journal keeps
/// the others.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The background tasks of an accounting.
pub struct BackgroundTasks {
    stop: watch::Sender<bool>,
    pub(super) tasks: Vec<JoinHandle<()>>,
}

impl BackgroundTasks {
    pub(super) fn start(
        ledger: Arc<Ledger>,
        keys: Arc<KeyCache>,
        leases: Option<Arc<RedisLeases>>,
        writer: RecordWriter,
        pending: mpsc::UnboundedReceiver<PendingRecord>,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        let mut tasks = vec![tokio::spawn(refresh_loop(ledger.clone(), keys.clone(), stopping.clone()))];
        if let Some(leases) = leases {
            let stopping = stopping.clone();
            tasks.push(tokio::spawn(async move { leases.run_maintenance(stopping).await }));
        }
        tasks.push(tokio::spawn({
            let (ledger, stopping) = (ledger.clone(), stopping.clone());
            async move { usage_maintenance::run(&ledger, stopping).await }
        }));
        tasks.push(tokio::spawn(async move { ledger.flush_records(&keys, writer, pending, stopping).await }));
        Self { stop, tasks }
    }

    /// Commits the last records and ends the tasks. The journal keeps the records that cannot be
    /// committed within 5 s.
    pub async fn finish(self) {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + FINAL_FLUSH_TIMEOUT;
        for task in self.tasks {
            if tokio::time::timeout_at(deadline, task).await.is_err() {
                tracing::warn!("timed out waiting for the store: the journal keeps the last records");
            }
        }
    }
}

/// Reads changed keys, records counted refusals, and flushes the journal to disk.
async fn refresh_loop(ledger: Arc<Ledger>, keys: Arc<KeyCache>, mut stopping: watch::Receiver<bool>) {
    let mut logged = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(REFRESH_INTERVAL) => {}
            _ = stopping.wait_for(|&stop| stop) => return ledger.flush_refusals(i64::MAX),
        }
        ledger.flush_refusals(store::now_micros());
        match keys.refresh(&ledger.store).await {
            Ok(()) if std::mem::take(&mut logged) => tracing::info!("the store is available again"),
            Ok(()) => {}
            Err(error) => {
                if !std::mem::replace(&mut logged, true) {
                    tracing::error!(%error, "the store is unavailable: keys are taken from memory, and new ones are not known");
                }
            }
        }
        let ledger = ledger.clone();
        match tokio::task::spawn_blocking(move || ledger.journal.sync()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "failed to fsync the journal"),
            Err(error) => tracing::error!(%error, "failed to fsync the journal"),
        }
    }
}
