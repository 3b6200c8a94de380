//! The channel of deltas to one client: bounded, with an overflow buffer. A slow client makes its
//! own sequence wait, never the engine, and the overflow never exceeds the deltas of one step.

use std::collections::VecDeque;
use std::task::{Poll, ready};

use chat::{BoxDeltaStream, Delta, Error};
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// The progress of a prefill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefillProgress {
    /// Processed tokens, including those found in the prefix cache.
    pub processed: usize,
    /// Tokens of the prompt.
    pub total: usize,
}

/// The engine's end of the channel.
pub(crate) struct DeltaSender {
    sender: mpsc::Sender<Result<Delta, Error>>,
    /// Items that did not fit into the channel.
    overflow: VecDeque<Result<Delta, Error>>,
}

impl DeltaSender {
    /// Creates a channel of `capacity` deltas. Dropping the stream closes the channel. If the
    /// sender is dropped before the final usage or an error, the stream ends with an error.
    pub(crate) fn channel(capacity: usize) -> (Self, BoxDeltaStream) {
        let (sender, mut receiver) = mpsc::channel(capacity.max(1));
        let mut complete = false;
        let deltas = stream::poll_fn(move |context| {
            let item = ready!(receiver.poll_recv(context));
            let truncated = item.is_none() && !complete;
            complete |= matches!(item, None | Some(Err(_) | Ok(Delta::Usage(_))));
            Poll::Ready(if truncated {
                Some(Err(Error::internal("the engine stopped before the answer was complete")))
            } else {
                item
            })
        });
        (Self { sender, overflow: VecDeque::new() }, Box::pin(deltas))
    }

    pub(crate) fn send(&mut self, deltas: impl IntoIterator<Item = Delta>) {
        self.overflow.extend(deltas.into_iter().map(Ok));
        self.flush();
    }

    /// Sends the error that ends the stream.
    pub(crate) fn fail(&mut self, error: Error) {
        self.overflow.push_back(Err(error));
        self.flush();
    }

    /// Moves items from the overflow to the channel, as far as there is room.
    pub(crate) fn flush(&mut self) {
        while let Some(item) = self.overflow.pop_front() {
            match self.sender.try_send(item) {
                Ok(()) => {}
                Err(TrySendError::Full(item)) => {
                    self.overflow.push_front(item);
                    return;
                }
                // The client has disconnected; `is_closed` reports it.
                Err(TrySendError::Closed(_)) => self.overflow.clear(),
            }
        }
    }

    /// Whether items wait for the client to read.
    pub(crate) fn is_backpressured(&self) -> bool {
        !self.overflow.is_empty()
    }

    /// Whether the client has dropped the stream.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}
