//! The line to one caller: a bounded channel, and the little that did not fit. A slow reader
//! makes its own sequence wait, never the engine, and what is held for it never grows beyond the
//! deltas of one step.

use std::collections::VecDeque;
use std::task::{Poll, ready};

use chat::{BoxDeltaStream, Delta, Error};
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// How far a prompt has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefillProgress {
    /// Tokens read, those found in the prefix cache included.
    pub processed: usize,
    /// Tokens of the prompt.
    pub total: usize,
}

pub(crate) struct DeltaSender {
    sender: mpsc::Sender<Result<Delta, Error>>,
    overflow: VecDeque<Result<Delta, Error>>,
}

impl DeltaSender {
    /// A line that holds `capacity` deltas, and its other end. Dropping the stream hangs up; a line
    /// that is cut before its last word ends the stream with an error.
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

    /// The last thing the caller hears.
    pub(crate) fn fail(&mut self, error: Error) {
        self.overflow.push_back(Err(error));
        self.flush();
    }

    /// Sends what there is room for.
    pub(crate) fn flush(&mut self) {
        while let Some(item) = self.overflow.pop_front() {
            match self.sender.try_send(item) {
                Ok(()) => {}
                Err(TrySendError::Full(item)) => {
                    self.overflow.push_front(item);
                    return;
                }
                // Nobody listens: `is_closed` tells.
                Err(TrySendError::Closed(_)) => self.overflow.clear(),
            }
        }
    }

    /// The caller has not taken everything yet.
    pub(crate) fn is_backpressured(&self) -> bool {
        !self.overflow.is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}
