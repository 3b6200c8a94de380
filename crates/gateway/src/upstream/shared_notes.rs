//! Notes on a request that are known when its body has been written for a provider.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::note_log::NoteLog;

/// A cell with the notes on the body that was sent last. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedNotes {
    notes: Arc<Mutex<Vec<String>>>,
    log: Arc<NoteLog>,
    /// The name of the caller's key.
    key_name: Option<Arc<str>>,
}

impl SharedNotes {
    /// An empty cell, whose notes are logged.
    pub(crate) fn new(log: &Arc<NoteLog>, key_name: Option<&Arc<str>>) -> Self {
        Self { notes: Arc::default(), log: log.clone(), key_name: key_name.cloned() }
    }

    pub(crate) fn store(&self, notes: Vec<String>) {
        self.log.log(self.key_name.as_ref(), &notes);
        *self.notes.lock() = notes;
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.lock().clone()
    }
}
