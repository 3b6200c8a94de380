//! The starts and ends of requests, for readers who watch them live.

use std::sync::Arc;

use store::UsageRecord;
use tokio::sync::broadcast;

/// The events that are kept for a reader. One that falls further behind misses the oldest.
const CAPACITY: usize = 1024;

/// An event of a request.
#[derive(Clone, Debug)]
pub enum RequestEvent {
    /// A provider is about to receive the request. Its counts and its cost are estimates.
    Started(Arc<UsageRecord>),
    /// The request has been settled.
    Ended(Arc<UsageRecord>),
}

impl RequestEvent {
    /// The record of the request, as far as it is known.
    pub fn record(&self) -> &UsageRecord {
        match self {
            Self::Started(record) | Self::Ended(record) => record,
        }
    }
}

/// Publishes events to any number of readers. A request never waits for them, and without a reader
/// it copies nothing.
#[derive(Debug)]
pub struct RequestEvents(broadcast::Sender<RequestEvent>);

impl Default for RequestEvents {
    fn default() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }
}

impl RequestEvents {
    /// A reader of the events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<RequestEvent> {
        self.0.subscribe()
    }

    pub(super) fn publish(&self, event: fn(Arc<UsageRecord>) -> RequestEvent, record: &UsageRecord) {
        if self.0.receiver_count() > 0 {
            // The last reader may have left meanwhile.
            let _ = self.0.send(event(Arc::new(record.clone())));
        }
    }
}
