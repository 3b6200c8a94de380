//! Records on their way from the journal into the store. What the store refuses is set aside alone, so that it never holds up
//! the others; while the store is away, nothing is set aside.

use std::time::Duration;

use metrics::counter;
use store::{Booked, Record, Store, StoreError};

use crate::quarantine::Quarantine;

/// How often the store is asked to take records before they are taken apart.
const TRIES: usize = 3;
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(100);
/// Before a store that is away is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// Books records.
pub(crate) struct Booking {
    pub(crate) store: Store,
    pub(crate) quarantine: Quarantine,
    /// Waits for a store that is away, for as long as it takes.
    pub(crate) waits: bool,
}

impl Booking {
    /// Books `records` in as few pieces as the store takes. `done` learns of each piece what was booked; `None` for a record
    /// that was set aside.
    ///
    /// # Errors
    /// A store that is away, unless it is waited for.
    pub(crate) async fn settle(
        &self,
        records: &[Record],
        mut done: impl FnMut(&[Record], Option<&Booked>),
    ) -> Result<(), StoreError> {
        let (mut left, mut tries, mut told) = (vec![records], 0, false);
        while let Some(piece) = left.pop() {
            let error = match self.store.settle(piece).await {
                Ok(booked) => {
                    if std::mem::take(&mut told) {
                        tracing::info!("records are booked again");
                    }
                    done(piece, Some(&booked));
                    continue;
                }
                Err(error) if !error.is_refusal() => {
                    self.away(error, &mut told).await?;
                    left.push(piece);
                    continue;
                }
                Err(error) => error,
            };
            tries += 1;
            if tries < TRIES {
                tokio::time::sleep(AGAIN).await;
                left.push(piece);
            } else if piece.len() > 1 {
                let (first, second) = piece.split_at(piece.len() / 2);
                left.extend([second, first]);
            } else if let Err(error) = self.store.takes_records().await {
                // It refuses every record: that is no fault of this one.
                self.away(error, &mut told).await?;
                left.push(piece);
            } else {
                self.set_aside(&piece[0], &error).await;
                done(piece, None);
            }
        }
        Ok(())
    }

    async fn away(&self, error: StoreError, told: &mut bool) -> Result<(), StoreError> {
        if !self.waits {
            return Err(error);
        }
        if !std::mem::replace(told, true) {
            tracing::error!(%error, "records cannot be booked: the journal keeps them until they can");
        }
        tokio::time::sleep(RETRY).await;
        Ok(())
    }

    /// Sets a record aside, however long it takes until that can be written.
    async fn set_aside(&self, record: &Record, error: &StoreError) {
        let mut told = false;
        while let Err(fault) = self.quarantine.add(record, &error.to_string()) {
            if !std::mem::replace(&mut told, true) {
                tracing::error!(error = %fault, path = %self.quarantine.path().display(), "a record that the store refuses cannot be set aside");
            }
            tokio::time::sleep(RETRY).await;
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
