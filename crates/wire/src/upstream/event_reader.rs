//! The interface of a dialect's event reader.

use chat::{Delta, Error};

use crate::progress::AnswerProgress;

/// Converts the events of one answer to deltas.
pub trait EventReader: Send {
    /// Parses the data of one event.
    ///
    /// # Errors
    /// `Upstream` when the provider reports an error, or when the event is not
    /// valid in its dialect.
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error>;

    /// Parses a whole answer, instead of events. [`EventReader::finish`] follows.
    ///
    /// # Errors
    /// As [`EventReader::read_event`].
    fn read_body(&mut self, body: &str, out: &mut Vec<Delta>) -> Result<(), Error>;

    /// How far the answer has come.
    fn progress(&self) -> &AnswerProgress;

    /// Ends the answer.
    ///
    /// # Errors
    /// `Upstream` when the answer is not complete.
    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error>;
}
