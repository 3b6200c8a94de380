//! The accounting: who may ask, what it costs, and one record a request, whatever ends it.
//!
//! A request waits for no database. Its record goes through the local journal; a task of its own books what the journal
//! has in the store, in batches, and tries again for as long as the store is away.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use chat::{Error, ErrorKind};
use metrics::{Gauge, gauge};
use store::{Booked, Job, JobId, Owner, REFUNDED, Record, Store, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::accounts::{Accounts, Holder};
use crate::booking::Booking;
use crate::journal::{Journal, Left, Place};
use crate::leases::{Leases, LeasesError};
use crate::limits::{Estimate, Permit};
use crate::price::Prices;
use crate::quarantine::Quarantine;
use crate::recent::{self, Recent};

/// Most records in one transaction.
const BATCH: usize = 512;
/// How often changes of keys are read, and the journal is made safe from a loss of power.
const REFRESH: Duration = Duration::from_secs(1);
/// How long a record may wait for others to be booked with.
const GATHER: Duration = Duration::from_millis(20);
/// What the last records get to be booked in when the server stops; the journal keeps them otherwise.
const LAST_BATCH: Duration = Duration::from_secs(5);

/// Keys, prices and records. Without a store there are no keys, and records go nowhere.
#[derive(Debug, Default)]
pub struct Books {
    pub accounts: Accounts,
    pub prices: ArcSwap<Prices>,
    ledger: Option<Ledger>,
    /// Limits that other machines have too.
    pub(crate) leases: Option<Leases>,
    tasks: Recent,
}

struct Ledger {
    store: Store,
    journal: Arc<Journal>,
    settled: mpsc::UnboundedSender<Settled>,
    /// Made at the first record: before it there may be no recorder yet.
    unbooked: OnceLock<Gauge>,
}

impl Ledger {
    fn unbooked(&self) -> &Gauge {
        self.unbooked.get_or_init(|| gauge!("cachalot_records_unbooked"))
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("store", &self.store).finish_non_exhaustive()
    }
}

/// A record, and where the journal has lines of it.
#[derive(Debug)]
struct Settled {
    record: Record,
    places: [Option<Place>; 2],
}

/// Why the books cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Leases(#[from] LeasesError),
    #[error("the journal in `{0}` cannot be used: {1}")]
    Journal(std::path::PathBuf, std::io::Error),
}

/// The tasks behind the books.
pub struct Bookkeepers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Books {
    /// Books without a store.
    pub fn priced(prices: Prices) -> Self {
        Self { prices: ArcSwap::from_pointee(prices), ..Self::default() }
    }

    /// Books what dead processes left in the journal, reads the keys, and starts a journal of its own in `folder`. Limits are
    /// counted here alone without `leases`.
    ///
    /// # Errors
    /// A store, a folder or a Redis that cannot be used.
    pub async fn open(
        store: Store,
        folder: &Path,
        prices: Prices,
        leases: Option<Leases>,
    ) -> Result<(Arc<Self>, Bookkeepers), BooksError> {
        let fault = |error| BooksError::Journal(folder.into(), error);
        let left = Left::read(folder).map_err(fault)?;
        if !left.records.is_empty() {
            tracing::info!(records = left.records.len(), "booking what the last run left");
        }
        let mut booking = Booking { store: store.clone(), quarantine: Quarantine::of(folder), waits: false };
        for batch in left.records.chunks(BATCH) {
            booking.settle(batch, |_, _| {}).await?;
        }
        booking.waits = true;
        if let Some(leases) = &leases {
            leases.forget(&left.machines).await?;
        }
        left.remove();
        let accounts = Accounts::new(leases.is_some());
        accounts.refresh(&store).await?;
        let machine = leases.as_ref().map_or("alone", Leases::machine);
        let journal = Arc::new(Journal::create(folder, machine).map_err(fault)?);
        let (settled, records) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let ledger = Ledger { store: store.clone(), journal, settled, unbooked: OnceLock::new() };
        let prices = ArcSwap::from_pointee(prices);
        let books = Arc::new(Self { accounts, prices, ledger: Some(ledger), leases, tasks: Recent::default() });
        let mut tasks = vec![
            tokio::spawn(book(books.clone(), booking, records, stopping.clone())),
            tokio::spawn(keep_up(books.clone(), store, stopping.clone())),
        ];
        if books.leases.is_some() {
            tasks.push(tokio::spawn(keep_leases(books.clone(), stopping)));
        }
        Ok((books, Bookkeepers { stop, tasks }))
    }

    /// Takes aside what a request may cost its caller.
    ///
    /// # Errors
    /// `Balance`, `Rate`; `Overload` when limits that are shared cannot be checked.
    pub(crate) async fn admit(&self, holder: &Holder, estimate: Estimate) -> Result<Permit, Error> {
        match &self.leases {
            Some(leases) => leases.admit(&holder.account, holder.rates, estimate).await,
            None => Ok(Permit::take(&holder.account, holder.rates, estimate)?),
        }
    }

    /// Writes down that a request begins, as `record` says if nothing more is heard of it.
    ///
    /// # Errors
    /// `Overload` when it cannot be written: what cannot be billed is not served.
    pub(crate) fn begin(&self, record: &Record) -> Result<Option<Place>, Error> {
        let Some(ledger) = &self.ledger else { return Ok(None) };
        ledger.journal.open(record).map(Some).map_err(|error| {
            tracing::error!(%error, "the journal cannot be written: requests are refused");
            Error::new(ErrorKind::Overloaded, "Requests cannot be recorded right now, please try again later")
        })
    }

    /// Writes down how a request has ended.
    pub(crate) fn end(&self, record: Record, begun: Option<Place>) {
        if let Some(job) = Job::of(&record) {
            self.tasks.remember(job);
        }
        let Some(ledger) = &self.ledger else { return };
        let done = ledger.journal.done(&record);
        if let Err(error) = &done {
            tracing::error!(%error, id = record.id, "the journal cannot be written: a record is kept in memory until it is booked");
        }
        ledger.unbooked().increment(1.0);
        // The receiver is gone only after the last moment of a stopping server; the journal keeps the record.
        let _ = ledger.settled.send(Settled { record, places: [begun, done.ok()] });
    }
}

impl Books {
    /// Where keys and usage are kept; `None` when that is off.
    pub fn store(&self) -> Option<&Store> {
        Some(&self.ledger.as_ref()?.store)
    }

    /// Reads what has changed in the store, now rather than within a second.
    ///
    /// # Errors
    /// A store that cannot be asked.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        match &self.ledger {
            Some(ledger) => self.accounts.refresh(&ledger.store).await,
            None => Ok(()),
        }
    }
}

/// Tasks.
impl Books {
    /// The owner's task of this id, which may be the provider's own as well.
    ///
    /// # Errors
    /// `Overload` when the store, which may know it, cannot be asked.
    pub(crate) async fn job(&self, id: &JobId, owner: Owner<'_>) -> Result<Option<Job>, Error> {
        self.find_job(id, owner, recent::patience(self.leases.is_some())).await
    }

    /// The same; a task that another machine may have taken a moment ago is not waited for.
    ///
    /// # Errors
    /// As [`Books::job`].
    pub(crate) async fn known_job(&self, id: &JobId, owner: Owner<'_>) -> Result<Option<Job>, Error> {
        self.find_job(id, owner, &[]).await
    }

    async fn find_job(&self, id: &JobId, owner: Owner<'_>, patience: &[Duration]) -> Result<Option<Job>, Error> {
        if let Some(job) = self.tasks.find(id, owner) {
            return Ok(Some(job));
        }
        let Some(ledger) = &self.ledger else { return Ok(None) };
        let mut patience = patience.iter();
        loop {
            let found = ledger.store.job(id, owner, recent::kept_since()).await.map_err(|error| {
                tracing::error!(%error, "tasks cannot be looked for");
                Error::new(ErrorKind::Overloaded, "Tasks cannot be looked for right now, please try again later")
            })?;
            match (found, patience.next()) {
                (None, Some(pause)) => tokio::time::sleep(*pause).await,
                (found, _) => return Ok(found),
            }
        }
    }

    /// A task has ended. What was paid for one that failed is given back: the record of that is the same however often it is written.
    pub(crate) async fn job_ended(&self, job: &Job, failed: bool) {
        let Some(ledger) = &self.ledger else { return self.tasks.ended(&job.id) };
        if failed && job.cost != 0 {
            let refund = Record {
                id: format!("{}:refund", job.record_id),
                at: store::now(),
                key_id: job.key_id.clone(),
                key_name: job.key_name.clone(),
                project_id: job.project_id.clone(),
                model: job.model.clone(),
                upstream: job.upstream.clone(),
                cost: job.cost.saturating_neg(),
                outcome: REFUNDED.into(),
                ..Record::default()
            };
            self.end(refund, None);
        }
        let state = if failed { "failed" } else { "done" };
        match ledger.store.end_job(&job.id, state).await {
            Ok(()) => self.tasks.ended(&job.id),
            // It is asked for again, and nothing is given back twice.
            Err(error) => tracing::warn!(%error, task = job.id.id, "the end of a task cannot be written down"),
        }
    }

    /// Tasks of which it is not known how they ended. Those submitted more than a week ago are forgotten.
    pub(crate) async fn open_jobs(&self, since: i64, limit: i64) -> Result<Vec<Job>, StoreError> {
        let Some(ledger) = &self.ledger else { return Ok(self.tasks.open()) };
        ledger.store.forget_jobs(since).await?;
        ledger.store.open_jobs(since, i64::MAX, limit).await
    }
}

impl Bookkeepers {
    /// Books what is left and ends. What cannot be booked in time is kept by the journal.
    pub async fn finish(self) {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + LAST_BATCH;
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
async fn book(
    books: Arc<Books>,
    booking: Booking,
    mut records: mpsc::UnboundedReceiver<Settled>,
    mut stopping: watch::Receiver<bool>,
) {
    let Some(ledger) = &books.ledger else { return };
    let mut batch = Vec::new();
    loop {
        let more = tokio::select! {
            biased;
            more = records.recv_many(&mut batch, BATCH) => more > 0,
            _ = stopping.wait_for(|&stop| stop) => false,
        };
        if !more {
            break;
        }
        // Many in one transaction cost little more than one.
        tokio::time::sleep(GATHER).await;
        while batch.len() < BATCH
            && let Ok(record) = records.try_recv()
        {
            batch.push(record);
        }
        let (settled, places): (Vec<Record>, Vec<_>) = batch.drain(..).map(|s: Settled| (s.record, s.places)).unzip();
        let mut places = places.into_iter();
        let done = |piece: &[Record], booked: Option<&Booked>| {
            // What was set aside stays settled here: it was spent.
            if let Some(booked) = booked {
                books.accounts.booked(piece, booked);
            }
            ledger.journal.booked(places.by_ref().take(piece.len()).flatten().flatten());
            ledger.unbooked().decrement(piece.len() as f64);
        };
        if let Err(error) = booking.settle(&settled, done).await {
            tracing::error!(%error, "records are left to the journal");
        }
    }
    ledger.journal.close();
}

async fn keep_leases(books: Arc<Books>, stopping: watch::Receiver<bool>) {
    if let Some(leases) = &books.leases {
        leases.keep(stopping).await;
    }
}

/// Reads changes of keys, and keeps the journal safe.
async fn keep_up(books: Arc<Books>, store: Store, mut stopping: watch::Receiver<bool>) {
    let Some(ledger) = &books.ledger else { return };
    let mut told = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            _ = stopping.wait_for(|&stop| stop) => return,
        }
        match books.accounts.refresh(&store).await {
            Ok(()) if std::mem::take(&mut told) => tracing::info!("the store answers again"),
            Ok(()) => {}
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
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
