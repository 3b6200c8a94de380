//! The interface of a dialect's event reader, and the signatures of reasoning that events carry.

use chat::{Delta, Error};

use crate::progress::AnswerProgress;

/// Reasoning, or the key of a call that followed it, and the provider's signature of it. The
/// provider accepts the reasoning in later requests only with this signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReasoning {
    pub text: String,
    pub signature: String,
}

/// A lookup of signatures.
pub trait SignatureStore {
    /// The signature of `text`, if it is known.
    fn find(&self, text: &str) -> Option<String>;
}

/// A store without signatures.
impl SignatureStore for () {
    fn find(&self, _text: &str) -> Option<String> {
        None
    }
}

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

    /// Takes the reasoning that has been signed since the last call.
    fn take_signed(&mut self) -> Vec<SignedReasoning> {
        Vec::new()
    }
}
