//! The way of a record into the store: the journal first, then, in batches, the store.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use metrics::{Gauge, gauge};
use store::{SpendUpdates, Store, UsageRecord};
use tokio::sync::{mpsc, watch};

use crate::billing::journal::{Journal, JournalRef};
use crate::billing::record_writer::RecordWriter;
use crate::billing::refusals::RefusalLimiter;
use crate::keys::key_cache::KeyCache;

/// Most records in one transaction.
pub(super) const MAX_BATCH_RECORDS: usize = 512;
/// The time that a record waits for others of its batch. Each batch writes the sums of an hour and
/// a day, and the spend of a key, once. With few requests a second, these are most of its cost.
const FLUSH_DELAY: Duration = Duration::from_millis(50);

/// The days for which attempts are kept, unless the configuration says otherwise.
pub const ATTEMPTS_DAYS: u32 = 7;

/// The journal of this process, and the queue of records that the store does not have yet.
pub(crate) struct Ledger {
    pub(super) store: Store,
    pub(super) journal: Journal,
    pending: mpsc::UnboundedSender<PendingRecord>,
    refusals: RefusalLimiter,
    /// The days for which attempts are kept.
    pub(super) attempts_days: AtomicU32,
    /// Created with the first record: the metrics recorder may be installed later than the ledger.
    pending_gauge: OnceLock<Gauge>,
}

/// A record that the store does not have yet, and its lines in the journal.
#[derive(Debug)]
pub(super) struct PendingRecord {
    record: UsageRecord,
    journal_refs: [Option<JournalRef>; 2],
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Ledger {
    /// A ledger whose records are sent to `pending`, for [`Ledger::flush_records`].
    pub(super) fn new(store: Store, journal: Journal, pending: mpsc::UnboundedSender<PendingRecord>) -> Self {
        Self {
            store,
            journal,
            pending,
            refusals: RefusalLimiter::default(),
            attempts_days: AtomicU32::new(ATTEMPTS_DAYS),
            pending_gauge: OnceLock::new(),
        }
    }

    fn pending_gauge(&self) -> &Gauge {
        self.pending_gauge.get_or_init(|| gauge!("cachalot_usage_records_pending"))
    }

    /// Writes the settled record of a request to the journal, and queues it for the store.
    pub(super) fn record_end(&self, record: UsageRecord, start_ref: Option<JournalRef>) {
        let end_ref = self.journal.write_end(&record);
        if let Err(error) = &end_ref {
            tracing::error!(%error, id = record.id, "failed to write the journal: a record is kept in memory until it is committed");
        }
        self.pending_gauge().increment(1.0);
        // Without a receiver the server is stopping, and the journal keeps the record.
        let _ = self.pending.send(PendingRecord { record, journal_refs: [start_ref, end_ref.ok()] });
    }

    /// Records a refused request, unless its key is refused too often: then it is counted.
    pub(super) fn record_refusal(&self, record: UsageRecord) {
        for record in self.refusals.admit(record) {
            self.record_end(record, None);
        }
    }

    /// Records the refused requests that were only counted, of the seconds before `at`.
    pub(super) fn flush_refusals(&self, at: i64) {
        for record in self.refusals.take_before(at) {
            self.record_end(record, None);
        }
    }

    /// Commits queued records to the store until `stopping` is set and the queue is empty.
    pub(super) async fn flush_records(
        &self,
        keys: &KeyCache,
        writer: RecordWriter,
        mut pending: mpsc::UnboundedReceiver<PendingRecord>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut batch = Vec::new();
        loop {
            let has_more = tokio::select! {
                biased;
                received = pending.recv_many(&mut batch, MAX_BATCH_RECORDS) => received > 0,
                _ = stopping.wait_for(|&stop| stop) => false,
            };
            if !has_more {
                break;
            }
            // A transaction of many records costs little more than one of a single record.
            tokio::time::sleep(FLUSH_DELAY).await;
            while batch.len() < MAX_BATCH_RECORDS
                && let Ok(record) = pending.try_recv()
            {
                batch.push(record);
            }
            let (records, journal_refs): (Vec<UsageRecord>, Vec<_>) =
                batch.drain(..).map(|pending: PendingRecord| (pending.record, pending.journal_refs)).unzip();
            let mut journal_refs = journal_refs.into_iter();
            let on_written = |written: &[UsageRecord], updates: Option<&SpendUpdates>| {
                // The cost of a quarantined record stays settled here: it was spent.
                if let Some(updates) = updates {
                    keys.record_committed(written, updates);
                }
                self.journal.mark_committed(journal_refs.by_ref().take(written.len()).flatten().flatten());
                self.pending_gauge().decrement(written.len() as f64);
            };
            if let Err(error) = writer.write(&records, on_written).await {
                tracing::error!(%error, "failed to commit usage records: the journal keeps them");
            }
        }
        self.journal.close();
    }
}
