//! Notes on a request that are known when its body has been written for a provider.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::note_log::NoteLog;

/// A cell with the notes on the body that was sent last. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedNotes {
    notes: Arc<Mutex<Vec<String>>>,
    /// The parts of the answer that the caller does not get.
    missing: Arc<Mutex<BTreeSet<&'static str>>>,
    log: Arc<NoteLog>,
    /// The name of the caller's key.
    key_name: Option<Arc<str>>,
}

impl SharedNotes {
    /// An empty cell, whose notes are logged.
    pub(crate) fn new(log: &Arc<NoteLog>, key_name: Option<&Arc<str>>) -> Self {
        Self { notes: Arc::default(), missing: Arc::default(), log: log.clone(), key_name: key_name.cloned() }
    }

    pub(crate) fn store(&self, notes: Vec<String>) {
        self.log.log(self.key_name.as_ref(), &notes);
        *self.notes.lock() = notes;
    }

    /// Notes that the caller does not get a part of the answer.
    pub(crate) fn add_missing(&self, name: &'static str) {
        if self.missing.lock().insert(name) {
            self.log.log(self.key_name.as_ref(), &[format!("dropped from an answer: {name}")]);
        }
    }

    /// The note on what the caller does not get of the answer so far.
    pub(crate) fn missing(&self) -> Option<String> {
        let missing = self.missing.lock();
        let names: Vec<&str> = missing.iter().copied().collect();
        (!names.is_empty()).then(|| format!("dropped from the answer: {}", names.join(", ")))
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.lock().iter().cloned().chain(self.missing()).collect()
    }
}
