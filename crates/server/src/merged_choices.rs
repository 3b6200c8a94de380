//! The answers of one request as one stream: each delta with its choice, and the usage of all
//! together at the end.

use std::collections::BTreeSet;

use chat::{Delta, Error, Usage};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use gateway::MeteredStream;

/// What came of one choice.
type ChoiceDelta = Result<(usize, Delta), Error>;

/// Dropping it cancels every answer.
pub(crate) struct MergedChoices {
    answers: SelectAll<BoxStream<'static, ChoiceDelta>>,
    count: usize,
    unfinished: BTreeSet<usize>,
    /// Of the choices whose usage has come; `None` before the first and after it has been said.
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

    /// What comes next; after the end of every answer, their usage in the name of the first.
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

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Every answer has said why it ended.
    pub(crate) fn all_finished(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Cancels every answer. Returns one that has not said why it ended, as often as there is one.
    pub(crate) fn abort_next(&mut self) -> Option<usize> {
        self.answers.clear();
        self.unfinished.pop_first()
    }
}
