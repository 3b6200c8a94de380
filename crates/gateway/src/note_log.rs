//! The log of notes about accepted requests.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// The number of notes after which those that were logged are forgotten, and are logged again.
pub(crate) const MAX_LOGGED_NOTES: usize = 4096;

/// Logs each note once per key. A note may quote the request, so their number is limited.
#[derive(Debug, Default)]
pub(crate) struct NoteLog {
    /// The notes that were logged, by the name of the key; at most [`MAX_LOGGED_NOTES`].
    logged: Mutex<HashSet<(Option<Arc<str>>, String)>>,
}

impl NoteLog {
    pub(crate) fn log(&self, key_name: Option<&Arc<str>>, notes: &[String]) {
        for note in notes {
            let mut logged = self.logged.lock();
            if logged.len() == MAX_LOGGED_NOTES {
                logged.clear();
            }
            if logged.insert((key_name.cloned(), note.clone())) {
                tracing::info!(
                    key = key_name.map(|name| &**name),
                    note,
                    "accepted a request with unsupported or non-DeepSeek parameters"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_that_differ_without_end_are_remembered_up_to_a_limit() {
        let log = NoteLog::default();
        let notes: Vec<String> = (0..2 * MAX_LOGGED_NOTES).map(|n| format!("note {n}")).collect();
        log.log(None, &notes);
        assert!((1..=MAX_LOGGED_NOTES).contains(&log.logged.lock().len()));
    }
}
