//! Upkeep of the usage in the store: sums that are not filled in yet, old attempts, and old
//! windows of budgets.

use std::sync::atomic::Ordering;
use std::time::Duration;

use store::DAY_MICROS;
use tokio::sync::watch;

use crate::billing::ledger::Ledger;

/// The interval at which the work is looked for.
const INTERVAL: Duration = Duration::from_secs(60);
/// The pause between two days, in which others use the store.
const DAY_PAUSE: Duration = Duration::from_millis(20);
/// The time for which windows of budgets are kept after their end. A refund can arrive late.
const WINDOWS_KEPT_MICROS: i64 = 30 * DAY_MICROS;

/// Works until `stopping` is set.
pub(super) async fn run(ledger: &Ledger, mut stopping: watch::Receiver<bool>) {
    loop {
        let pause = match ledger.store.fill_usage_sums().await {
            Ok(true) => DAY_PAUSE,
            Ok(false) => {
                delete_old_attempts(ledger).await;
                delete_old_windows(ledger).await;
                INTERVAL
            }
            Err(error) => {
                tracing::warn!(%error, "failed to sum usage: sums are read from the records");
                INTERVAL
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.wait_for(|&stop| stop) => return,
        }
    }
}

async fn delete_old_windows(ledger: &Ledger) {
    let oldest = store::now_micros().saturating_sub(WINDOWS_KEPT_MICROS);
    if let Err(error) = ledger.store.delete_budget_spend_before(oldest).await {
        tracing::warn!(%error, "failed to delete old windows of budgets");
    }
}

async fn delete_old_attempts(ledger: &Ledger) {
    let days = ledger.attempts_days.load(Ordering::Relaxed);
    let oldest = store::now_micros().saturating_sub(i64::from(days).saturating_mul(DAY_MICROS));
    if let Err(error) = ledger.store.delete_attempts_before(oldest).await {
        tracing::warn!(%error, "failed to delete old attempts");
    }
}
