//! The answers of one request as one stream: each delta with the index of its choice, and at the
//! end the usage of all choices.

use std::collections::BTreeSet;

use chat::{Delta, Error, Usage};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use gateway::MeteredStream;

/// A delta with the index of its choice.
type ChoiceDelta = Result<(usize, Delta), Error>;

/// The merged answers. Dropping it cancels every answer.
pub(crate) struct MergedChoices {
    answers: SelectAll<BoxStream<'static, ChoiceDelta>>,
    count: usize,
    unfinished: BTreeSet<usize>,
    /// The sum over the choices whose usage has arrived; `None` before the first and after
    /// it was returned.
    usage: Option<Usage>,
}

impl MergedChoices {
    pub(crate) fn new(answers: Vec<MeteredStream>) -> Self {
        let count = answers.len();
        let tagged = answers
            .into_iter()
            .enumerate()
            .map(|(choice, answer)| answer.map(move |delta| delta.map(|delta| (choice, delta))).boxed());
        Self { answers: stream::select_all(tagged), count, unfinished: (0..count).collect(), usage: None }
    }

    /// The next delta. After the end of every answer, their total usage as a delta of
    /// the first choice.
    pub(crate) async fn next(&mut self) -> Option<ChoiceDelta> {
        loop {
            let item = match self.answers.next().await {
                Some(item) => item,
                None => return self.usage.take().map(|usage| Ok((0, Delta::Usage(usage)))),
            };
            match item {
                Ok((_, Delta::Usage(usage))) => self.usage = Some(self.usage.unwrap_or_default() + usage),
                Ok((choice, Delta::Finish(reason))) => {
                    self.unfinished.remove(&choice);
                    return Some(Ok((choice, Delta::Finish(reason))));
                }
                other => return Some(other),
            }
        }
    }

    /// The number of choices.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether every choice has a finish reason.
    pub(crate) fn all_finished(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Cancels every answer. Each call returns another choice without a finish reason, then `None`.
    pub(crate) fn abort_next(&mut self) -> Option<usize> {
        self.answers.clear();
        self.unfinished.pop_first()
    }
}
