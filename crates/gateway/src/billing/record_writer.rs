//! Commits records to the store. A record that the store refuses is quarantined alone, so that it
//! does not block the others; while the store is away, records are not quarantined.

use std::time::Duration;

use metrics::counter;
use store::{SpendUpdates, Store, StoreError, UsageRecord};

use crate::billing::quarantine::Quarantine;

/// The number of attempts to insert a batch before it is split.
const MAX_ATTEMPTS: usize = 3;
/// The delay between two attempts.
const ATTEMPT_DELAY: Duration = Duration::from_millis(100);
/// The delay after which a store that was away is tried again.
const STORE_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Commits records to a store, and quarantines those that it refuses.
pub(crate) struct RecordWriter {
    pub(crate) store: Store,
    pub(crate) quarantine: Quarantine,
    /// Whether to wait for a store that is away, without a time limit.
    pub(crate) waits_for_store: bool,
}

impl RecordWriter {
    /// Commits `records` in as few batches as the store accepts. `on_written` receives each batch
    /// with the updated spend of its keys and projects, or `None` for a record that
    /// was quarantined.
    ///
    /// # Errors
    /// A store that is away, unless the writer waits for it.
    pub(crate) async fn write(
        &self,
        records: &[UsageRecord],
        mut on_written: impl FnMut(&[UsageRecord], Option<&SpendUpdates>),
    ) -> Result<(), StoreError> {
        let mut batches = vec![records];
        let mut attempts = 0;
        let mut logged = false;
        // Whether the store accepts other records since the last failure.
        let mut accepts_others = false;
        while let Some(batch) = batches.pop() {
            let error = match self.store.insert_records(batch).await {
                Ok(updates) => {
                    accepts_others = false;
                    if std::mem::take(&mut logged) {
                        tracing::info!("usage records are committed again");
                    }
                    on_written(batch, Some(&updates));
                    continue;
                }
                Err(error) if !error.is_refusal() => {
                    accepts_others = false;
                    self.retry_or_fail(error, &mut logged).await?;
                    batches.push(batch);
                    continue;
                }
                Err(error) => error,
            };
            attempts += 1;
            if attempts < MAX_ATTEMPTS {
                tokio::time::sleep(ATTEMPT_DELAY).await;
                batches.push(batch);
            } else if batch.len() > 1 {
                let (first, second) = batch.split_at(batch.len() / 2);
                batches.extend([second, first]);
            } else if !std::mem::take(&mut accepts_others) {
                // A store that refuses every record is away. One that accepts others may have been
                // away a moment ago, so the record is tried once more.
                match self.store.check_accepts_records().await {
                    Ok(()) => accepts_others = true,
                    Err(error) => self.retry_or_fail(error, &mut logged).await?,
                }
                batches.push(batch);
            } else {
                self.quarantine_record(&batch[0], &error).await;
                on_written(batch, None);
            }
        }
        Ok(())
    }

    async fn retry_or_fail(&self, error: StoreError, logged: &mut bool) -> Result<(), StoreError> {
        if !self.waits_for_store {
            return Err(error);
        }
        if !std::mem::replace(logged, true) {
            tracing::error!(%error, "failed to commit usage records: the journal keeps them until the store is available");
        }
        tokio::time::sleep(STORE_RETRY_DELAY).await;
        Ok(())
    }

    /// Quarantines a record. Retries until the file can be written.
    async fn quarantine_record(&self, record: &UsageRecord, error: &StoreError) {
        let mut logged = false;
        while let Err(write_error) = self.quarantine.append(record, &error.to_string()) {
            if !std::mem::replace(&mut logged, true) {
                tracing::error!(error = %write_error, path = %self.quarantine.path().display(), "failed to quarantine a usage record");
            }
            tokio::time::sleep(STORE_RETRY_DELAY).await;
        }
        counter!("cachalot_usage_records_quarantined_total").increment(1);
        tracing::error!(
            %error,
            id = record.id,
            key = &*record.key_name,
            path = %self.quarantine.path().display(),
            "the store refused a usage record: it is quarantined (see `cachalot usage check`)"
        );
    }
}

#[cfg(test)]
mod tests;
