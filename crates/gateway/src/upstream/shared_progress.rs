//! The progress of an answer that is converted: its reader stores it, and the meter of the request
//! reads it.

use std::sync::Arc;

use parking_lot::Mutex;
use wire::progress::AnswerProgress;

/// A cell with the progress of an answer, empty until the answer has begun. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedProgress(Arc<Mutex<AnswerProgress>>);

impl SharedProgress {
    pub(crate) fn store(&self, progress: &AnswerProgress) {
        self.0.lock().clone_from(progress);
    }

    /// Passes the progress to `read`.
    pub(crate) fn read(&self, read: impl FnOnce(&AnswerProgress)) {
        read(&self.0.lock());
    }
}
