//! Keys, prices and usage records: which keys there are, what a request costs, and one record for
//! each request, however it ends.
//!
//! A request never waits for the database. Its record is written to the local journal first; a
//! background task commits records to the store in batches, and retries while the store is away.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use chat::{Error, ErrorKind};
use store::{Store, StoreError, Task, UsageRecord};
use tokio::sync::mpsc;

use crate::billing::background::BackgroundTasks;
use crate::billing::journal::recovery::Recovered;
use crate::billing::journal::{Journal, JournalRef};
use crate::billing::ledger::{Ledger, MAX_BATCH_RECORDS};
use crate::billing::quarantine::Quarantine;
use crate::billing::record_writer::RecordWriter;
use crate::billing::request_events::{RequestEvent, RequestEvents};
use crate::billing::task_cache::TaskCache;
use crate::keys::caller::Caller;
use crate::keys::key_cache::{ApiKey, KeyCache};
use crate::keys::key_search::KeySearch;
use crate::limits::budget::Budget;
use crate::limits::key_limits::{Permit, ReservationRequest, limit_error};
use crate::limits::redis_leases::{RedisLeases, RedisLeasesError};
use crate::pricing::Prices;
use crate::request_id::RequestId;

/// The part of the names of journals that stands for a server without replicas.
const SINGLE_SERVER: &str = "alone";

/// Keys, prices and usage records. Without a store there are no keys, and records are discarded.
#[derive(Debug, Default)]
pub struct Accounting {
    pub keys: Arc<KeyCache>,
    pub prices: ArcSwap<Prices>,
    pub(super) ledger: Option<Arc<Ledger>>,
    key_search: KeySearch,
    /// Limits that are shared with other replicas.
    pub(crate) leases: Option<Arc<RedisLeases>>,
    pub(super) task_cache: TaskCache,
    pub request_events: RequestEvents,
}

/// An error that keeps the accounting from being opened.
#[derive(Debug, thiserror::Error)]
pub enum AccountingError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Leases(#[from] RedisLeasesError),
    #[error("the journal in `{0}` cannot be used: {1}")]
    Journal(std::path::PathBuf, std::io::Error),
}

impl Accounting {
    /// An accounting without a store.
    pub fn with_prices(prices: Prices) -> Self {
        Self { prices: ArcSwap::from_pointee(prices), ..Self::default() }
    }

    /// Commits the records that dead processes left in the journal, reads the keys, and starts a
    /// journal of this process in `folder`. Without `leases`, limits are those of
    /// this process alone.
    ///
    /// # Errors
    /// A store, a folder or a Redis server that cannot be used.
    pub async fn open(
        store: Store,
        folder: &Path,
        prices: Prices,
        leases: Option<RedisLeases>,
    ) -> Result<(Arc<Self>, BackgroundTasks), AccountingError> {
        let journal_error = |error| AccountingError::Journal(folder.into(), error);
        let recovered = Recovered::read(folder).map_err(journal_error)?;
        if !recovered.records.is_empty() {
            tracing::info!(records = recovered.records.len(), "recovered usage records of the previous run");
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
        let keys = Arc::new(KeyCache::new(leases.is_some()));
        keys.refresh(&store).await?;
        let replica = leases.as_ref().map_or(SINGLE_SERVER, RedisLeases::replica);
        let journal = Journal::create(folder, replica).map_err(journal_error)?;
        let leases = leases.map(Arc::new);
        let (pending, records) = mpsc::unbounded_channel();
        let ledger = Arc::new(Ledger::new(store, journal, pending));
        let background_tasks = BackgroundTasks::start(ledger.clone(), keys.clone(), leases.clone(), writer, records);
        let prices = ArcSwap::from_pointee(prices);
        let accounting = Self { keys, prices, ledger: Some(ledger), leases, ..Self::default() };
        Ok((Arc::new(accounting), background_tasks))
    }

    /// Reserves what a request may cost. `budgets` are those of the key that count it.
    ///
    /// # Errors
    /// `InsufficientBalance` or `RateLimited`; `Overloaded` when shared limits cannot be checked.
    pub(crate) async fn admit(
        &self,
        api_key: &ApiKey,
        budgets: &[Arc<Budget>],
        request: ReservationRequest,
    ) -> Result<Permit, Error> {
        match &self.leases {
            Some(leases) => leases.admit(&api_key.limits, budgets, api_key.rate_limits, request).await,
            None => Permit::acquire(&api_key.limits, budgets, api_key.rate_limits, request)
                .map_err(|exceeded| limit_error(exceeded, request)),
        }
    }

    /// Writes to the journal that a request starts. After a crash, `record` is what it cost.
    ///
    /// # Errors
    /// `Overloaded` when the journal cannot be written: a request that cannot be billed is
    /// not served.
    pub(crate) fn record_start(&self, record: &UsageRecord) -> Result<Option<JournalRef>, Error> {
        let written = self.ledger.as_ref().map(|ledger| ledger.journal.write_start(record)).transpose();
        let start_ref = written.map_err(|error| {
            tracing::error!(%error, "failed to write the journal: requests are refused");
            Error::new(ErrorKind::Overloaded, "Requests cannot be recorded right now, please try again later")
        })?;
        self.request_events.publish(RequestEvent::Started, record);
        Ok(start_ref)
    }

    /// Writes the settled record of a request to the journal, and passes it on to the store.
    pub(crate) fn record_end(&self, record: UsageRecord, start_ref: Option<JournalRef>) {
        if let Some(task) = Task::from_record(&record) {
            self.task_cache.insert(task);
        }
        self.request_events.publish(RequestEvent::Ended, &record);
        if let Some(ledger) = &self.ledger {
            ledger.record_end(record, start_ref);
        }
    }

    /// Records a request that was refused before a provider received it.
    pub(crate) fn record_refusal(&self, caller: &Caller, request: &RequestId, outcome: &'static str) {
        request.mark_recorded();
        let record = UsageRecord {
            model: request.model().flatten().cloned().unwrap_or_default(),
            outcome: outcome.into(),
            ..caller.new_record(store::now_micros())
        };
        self.request_events.publish(RequestEvent::Ended, &record);
        if let Some(ledger) = &self.ledger {
            ledger.record_refusal(record);
        }
    }

    /// Sets the number of days for which attempts are kept.
    pub fn keep_attempts(&self, days: u32) {
        if let Some(ledger) = &self.ledger {
            ledger.attempts_days.store(days, Ordering::Relaxed);
        }
    }

    /// The store of keys and usage; `None` when the server runs without one.
    pub fn store(&self) -> Option<&Store> {
        Some(&self.ledger.as_ref()?.store)
    }

    /// Looks for a key with this SHA-256 in the store, where it is not known already.
    pub async fn search_key(&self, hash: &[u8; 32]) {
        if let Some(ledger) = &self.ledger {
            self.key_search.search(&self.keys, hash, &ledger.store).await;
        }
    }

    /// Reads changed keys from the store now, not only at the next interval.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn refresh_keys(&self) -> Result<(), StoreError> {
        match &self.ledger {
            Some(ledger) => self.keys.refresh(&ledger.store).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
