//! The accounting: who may ask, what it costs, and one record a request, whatever ends it.
//!
//! A request waits for no database. Its record goes through the local journal; a task of its
//! own accounting what the journal has in the store, in batches, and tries again for as long as
//! the store is away.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use chat::{Error, ErrorKind};
use metrics::{Gauge, gauge};
use store::{REFUNDED, SpendUpdates, Store, StoreError, Task, TaskId, TaskOwner, UsageRecord};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::billing::journal::{Journal, JournalRef, Recovered};
use crate::billing::quarantine::Quarantine;
use crate::billing::record_writer::RecordWriter;
use crate::billing::task_cache::{self, TaskCache};
use crate::keys::key_cache::{ApiKey, KeyCache};
use crate::limits::key_limits::{Permit, ReservationRequest};
use crate::limits::redis_leases::{RedisLeases, RedisLeasesError};
use crate::pricing::Prices;

/// Most records in one transaction.
const MAX_BATCH_RECORDS: usize = 512;
/// How often changes of keys are read, and the journal is made safe from a loss of power.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a record may wait for others to be booked with.
const FLUSH_DELAY: Duration = Duration::from_millis(20);
/// What the last records get to be booked in when the server stops; the journal
/// keeps them otherwise.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Keys, prices and records. Without a store there are no keys, and records go nowhere.
#[derive(Debug, Default)]
pub struct Accounting {
    pub keys: KeyCache,
    pub prices: ArcSwap<Prices>,
    ledger: Option<Ledger>,
    /// Limits that other machines have too.
    pub(crate) leases: Option<RedisLeases>,
    task_cache: TaskCache,
}

struct Ledger {
    store: Store,
    journal: Arc<Journal>,
    pending: mpsc::UnboundedSender<PendingRecord>,
    /// Made at the first record: before it there may be no recorder yet.
    pending_gauge: OnceLock<Gauge>,
}

impl Ledger {
    fn pending_gauge(&self) -> &Gauge {
        self.pending_gauge.get_or_init(|| gauge!("cachalot_records_unbooked"))
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("store", &self.store).finish_non_exhaustive()
    }
}

/// A record, and where the journal has lines of it.
#[derive(Debug)]
struct PendingRecord {
    record: UsageRecord,
    journal_refs: [Option<JournalRef>; 2],
}

/// Why the accounting cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AccountingError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Leases(#[from] RedisLeasesError),
    #[error("the journal in `{0}` cannot be used: {1}")]
    Journal(std::path::PathBuf, std::io::Error),
}

/// The tasks behind the accounting.
pub struct BackgroundTasks {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Accounting {
    /// Books without a store.
    pub fn with_prices(prices: Prices) -> Self {
        Self { prices: ArcSwap::from_pointee(prices), ..Self::default() }
    }

    /// Books what dead processes left in the journal, reads the keys, and starts a journal of its
    /// own in `folder`. Limits are counted here alone without `leases`.
    ///
    /// # Errors
    /// A store, a folder or a Redis that cannot be used.
    pub async fn open(
        store: Store,
        folder: &Path,
        prices: Prices,
        leases: Option<RedisLeases>,
    ) -> Result<(Arc<Self>, BackgroundTasks), AccountingError> {
        let journal_error = |error| AccountingError::Journal(folder.into(), error);
        let recovered = Recovered::read(folder).map_err(journal_error)?;
        if !recovered.records.is_empty() {
            tracing::info!(records = recovered.records.len(), "booking what the last run left");
        }
        let mut writer =
            RecordWriter { store: store.clone(), quarantine: Quarantine::in_folder(folder), waits_for_store: false };
        for batch in recovered.records.chunks(MAX_BATCH_RECORDS) {
            writer.write(batch, |_, _| {}).await?;
        }
        writer.waits_for_store = true;
        if let Some(leases) = &leases {
            leases.release_dead_replicas(&recovered.replicas).await?;
        }
        recovered.remove();
        let keys = KeyCache::new(leases.is_some());
        keys.refresh(&store).await?;
        let replica = leases.as_ref().map_or("alone", RedisLeases::replica);
        let journal = Arc::new(Journal::create(folder, replica).map_err(journal_error)?);
        let (pending, records) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let ledger = Ledger { store: store.clone(), journal, pending, pending_gauge: OnceLock::new() };
        let prices = ArcSwap::from_pointee(prices);
        let accounting =
            Arc::new(Self { keys, prices, ledger: Some(ledger), leases, task_cache: TaskCache::default() });
        let mut tasks = vec![
            tokio::spawn(flush_loop(accounting.clone(), writer, records, stopping.clone())),
            tokio::spawn(refresh_loop(accounting.clone(), store, stopping.clone())),
        ];
        if accounting.leases.is_some() {
            tasks.push(tokio::spawn(lease_loop(accounting.clone(), stopping)));
        }
        Ok((accounting, BackgroundTasks { stop, tasks }))
    }

    /// Takes aside what a request may cost its caller.
    ///
    /// # Errors
    /// `Balance`, `Rate`; `Overload` when limits that are shared cannot be checked.
    pub(crate) async fn admit(&self, api_key: &ApiKey, estimate: ReservationRequest) -> Result<Permit, Error> {
        match &self.leases {
            Some(leases) => leases.admit(&api_key.limits, api_key.rate_limits, estimate).await,
            None => Ok(Permit::acquire(&api_key.limits, api_key.rate_limits, estimate)?),
        }
    }

    /// Writes down that a request begins, as `record` says if nothing more is heard of it.
    ///
    /// # Errors
    /// `Overload` when it cannot be written: what cannot be billed is not served.
    pub(crate) fn record_start(&self, record: &UsageRecord) -> Result<Option<JournalRef>, Error> {
        let Some(ledger) = &self.ledger else { return Ok(None) };
        ledger.journal.write_start(record).map(Some).map_err(|error| {
            tracing::error!(%error, "the journal cannot be written: requests are refused");
            Error::new(ErrorKind::Overloaded, "Requests cannot be recorded right now, please try again later")
        })
    }

    /// Writes down how a request has ended.
    pub(crate) fn record_end(&self, record: UsageRecord, start_ref: Option<JournalRef>) {
        if let Some(task) = Task::from_record(&record) {
            self.task_cache.insert(task);
        }
        let Some(ledger) = &self.ledger else { return };
        let end_ref = ledger.journal.write_end(&record);
        if let Err(error) = &end_ref {
            tracing::error!(%error, id = record.id, "the journal cannot be written: a record is kept in memory until it is booked");
        }
        ledger.pending_gauge().increment(1.0);
        // The receiver is gone only after the last moment of a stopping server; the journal
        // keeps the record.
        let _ = ledger.pending.send(PendingRecord { record, journal_refs: [start_ref, end_ref.ok()] });
    }
}

impl Accounting {
    /// Where keys and usage are kept; `None` when that is off.
    pub fn store(&self) -> Option<&Store> {
        Some(&self.ledger.as_ref()?.store)
    }

    /// Reads what has changed in the store, now rather than within a second.
    ///
    /// # Errors
    /// A store that cannot be asked.
    pub async fn refresh_keys(&self) -> Result<(), StoreError> {
        match &self.ledger {
            Some(ledger) => self.keys.refresh(&ledger.store).await,
            None => Ok(()),
        }
    }
}

/// Tasks.
impl Accounting {
    /// The owner's task of this id, which may be the provider's own as well.
    ///
    /// # Errors
    /// `Overload` when the store, which may know it, cannot be asked.
    pub(crate) async fn find_task(&self, id: &TaskId, owner: TaskOwner<'_>) -> Result<Option<Task>, Error> {
        self.find_task_with_retries(id, owner, task_cache::lookup_retry_delays(self.leases.is_some())).await
    }

    /// The same; a task that another machine may have taken a moment ago is not waited for.
    ///
    /// # Errors
    /// As [`Books::task`].
    pub(crate) async fn find_known_task(&self, id: &TaskId, owner: TaskOwner<'_>) -> Result<Option<Task>, Error> {
        self.find_task_with_retries(id, owner, &[]).await
    }

    async fn find_task_with_retries(
        &self,
        id: &TaskId,
        owner: TaskOwner<'_>,
        retry_delays: &[Duration],
    ) -> Result<Option<Task>, Error> {
        if let Some(task) = self.task_cache.find(id, owner) {
            return Ok(Some(task));
        }
        let Some(ledger) = &self.ledger else { return Ok(None) };
        let mut retry_delays = retry_delays.iter();
        loop {
            let found = ledger.store.find_task(id, owner, task_cache::retained_since()).await.map_err(|error| {
                tracing::error!(%error, "tasks cannot be looked for");
                Error::new(ErrorKind::Overloaded, "Tasks cannot be looked for right now, please try again later")
            })?;
            match (found, retry_delays.next()) {
                (None, Some(pause)) => tokio::time::sleep(*pause).await,
                (found, _) => return Ok(found),
            }
        }
    }

    /// A task has ended. What was paid for one that failed is given back: the record of that is the
    /// same however often it is written.
    pub(crate) async fn record_task_end(&self, task: &Task, failed: bool) {
        let Some(ledger) = &self.ledger else { return self.task_cache.mark_ended(&task.id) };
        if failed && task.cost != 0 {
            let refund = UsageRecord {
                id: format!("{}:refund", task.record_id),
                at: store::now_micros(),
                key_id: task.key_id.clone(),
                key_name: task.key_name.clone(),
                project_id: task.project_id.clone(),
                model: task.model.clone(),
                upstream: task.upstream.clone(),
                cost: task.cost.saturating_neg(),
                outcome: REFUNDED.into(),
                ..UsageRecord::default()
            };
            self.record_end(refund, None);
        }
        let state = if failed { "failed" } else { "done" };
        match ledger.store.end_task(&task.id, state).await {
            Ok(()) => self.task_cache.mark_ended(&task.id),
            // It is asked for again, and nothing is given back twice.
            Err(error) => tracing::warn!(%error, task = task.id.id, "the end of a task cannot be written down"),
        }
    }

    /// Tasks of which it is not known how they ended. Those submitted more than a week
    /// ago are forgotten.
    pub(crate) async fn open_tasks(&self, since: i64, limit: i64) -> Result<Vec<Task>, StoreError> {
        let Some(ledger) = &self.ledger else { return Ok(self.task_cache.open_tasks()) };
        ledger.store.delete_tasks_before(since).await?;
        ledger.store.open_tasks(since, i64::MAX, limit).await
    }
}

impl BackgroundTasks {
    /// Books what is left and ends. What cannot be booked in time is kept by the journal.
    pub async fn finish(self) {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + FINAL_FLUSH_TIMEOUT;
        for task in self.tasks {
            if tokio::time::timeout_at(deadline, task).await.is_err() {
                tracing::warn!(
                    "the store did not answer in time: the journal keeps the last records for the next start"
                );
            }
        }
    }
}

/// Books records as they come, until told to stop and none is left.
async fn flush_loop(
    accounting: Arc<Accounting>,
    writer: RecordWriter,
    mut records: mpsc::UnboundedReceiver<PendingRecord>,
    mut stopping: watch::Receiver<bool>,
) {
    let Some(ledger) = &accounting.ledger else { return };
    let mut batch = Vec::new();
    loop {
        let has_more = tokio::select! {
            biased;
            more = records.recv_many(&mut batch, MAX_BATCH_RECORDS) => more > 0,
            _ = stopping.wait_for(|&stop| stop) => false,
        };
        if !has_more {
            break;
        }
        // Many in one transaction cost little more than one.
        tokio::time::sleep(FLUSH_DELAY).await;
        while batch.len() < MAX_BATCH_RECORDS
            && let Ok(record) = records.try_recv()
        {
            batch.push(record);
        }
        let (records_to_write, journal_refs): (Vec<UsageRecord>, Vec<_>) =
            batch.drain(..).map(|s: PendingRecord| (s.record, s.journal_refs)).unzip();
        let mut journal_refs = journal_refs.into_iter();
        let on_written = |piece: &[UsageRecord], booked: Option<&SpendUpdates>| {
            // What was set aside stays settled here: it was spent.
            if let Some(booked) = booked {
                accounting.keys.record_committed(piece, booked);
            }
            ledger.journal.mark_committed(journal_refs.by_ref().take(piece.len()).flatten().flatten());
            ledger.pending_gauge().decrement(piece.len() as f64);
        };
        if let Err(error) = writer.write(&records_to_write, on_written).await {
            tracing::error!(%error, "records are left to the journal");
        }
    }
    ledger.journal.close();
}

async fn lease_loop(accounting: Arc<Accounting>, stopping: watch::Receiver<bool>) {
    if let Some(leases) = &accounting.leases {
        leases.run_maintenance(stopping).await;
    }
}

/// Reads changes of keys, and keeps the journal safe.
async fn refresh_loop(accounting: Arc<Accounting>, store: Store, mut stopping: watch::Receiver<bool>) {
    let Some(ledger) = &accounting.ledger else { return };
    let mut logged = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(REFRESH_INTERVAL) => {}
            _ = stopping.wait_for(|&stop| stop) => return,
        }
        match accounting.keys.refresh(&store).await {
            Ok(()) if std::mem::take(&mut logged) => tracing::info!("the store answers again"),
            Ok(()) => {}
            Err(error) => {
                if !std::mem::replace(&mut logged, true) {
                    tracing::error!(%error, "the store does not answer: keys are taken from memory, and new ones are not seen");
                }
            }
        }
        let journal = ledger.journal.clone();
        match tokio::task::spawn_blocking(move || journal.sync()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the journal cannot be made safe"),
            Err(error) => tracing::error!(%error, "the journal cannot be made safe"),
        }
    }
}

#[cfg(test)]
mod tests;
