//! Records on their way from the journal into the store. What the store refuses is set aside alone,
//! so that it never holds up the others; while the store is away, nothing is set aside.

use std::time::Duration;

use metrics::counter;
use store::{SpendUpdates, Store, StoreError, UsageRecord};

use crate::billing::quarantine::Quarantine;

/// How often the store is asked to take records before they are taken apart.
const MAX_ATTEMPTS: usize = 3;
/// Between two tries.
const ATTEMPT_DELAY: Duration = Duration::from_millis(100);
/// Before a store that is away is asked again.
const STORE_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Books records.
pub(crate) struct RecordWriter {
    pub(crate) store: Store,
    pub(crate) quarantine: Quarantine,
    /// Waits for a store that is away, for as long as it takes.
    pub(crate) waits_for_store: bool,
}

impl RecordWriter {
    /// Books `records` in as few pieces as the store takes. `done` learns of each batch what was
    /// booked; `None` for a record that was set aside.
    ///
    /// # Errors
    /// A store that is away, unless it is waited for.
    pub(crate) async fn write(
        &self,
        records: &[UsageRecord],
        mut on_written: impl FnMut(&[UsageRecord], Option<&SpendUpdates>),
    ) -> Result<(), StoreError> {
        let (mut batches, mut attempts, mut logged) = (vec![records], 0, false);
        while let Some(batch) = batches.pop() {
            let error = match self.store.insert_records(batch).await {
                Ok(booked) => {
                    if std::mem::take(&mut logged) {
                        tracing::info!("records are booked again");
                    }
                    on_written(batch, Some(&booked));
                    continue;
                }
                Err(error) if !error.is_refusal() => {
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
            } else if let Err(error) = self.store.check_accepts_records().await {
                // It refuses every record: that is no fault of this one.
                self.retry_or_fail(error, &mut logged).await?;
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
            tracing::error!(%error, "records cannot be booked: the journal keeps them until they can");
        }
        tokio::time::sleep(STORE_RETRY_DELAY).await;
        Ok(())
    }

    /// Sets a record aside, however long it takes until that can be written.
    async fn quarantine_record(&self, record: &UsageRecord, error: &StoreError) {
        let mut logged = false;
        while let Err(write_error) = self.quarantine.append(record, &error.to_string()) {
            if !std::mem::replace(&mut logged, true) {
                tracing::error!(error = %write_error, path = %self.quarantine.path().display(), "a record that the store refuses cannot be set aside");
            }
            tokio::time::sleep(STORE_RETRY_DELAY).await;
        }
        counter!("cachalot_records_quarantined_total").increment(1);
        tracing::error!(
            %error,
            id = record.id,
            key = &*record.key_name,
            path = %self.quarantine.path().display(),
            "the store refuses a record: it is set aside (see `cachalot usage check`)"
        );
    }
}

#[cfg(test)]
mod tests;
