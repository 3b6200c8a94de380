//! Notes about what was accepted although DeepSeek's own service refuses it.

/// Adds notes to a chat, without duplicates.
pub(super) struct Notes<'a>(pub(super) &'a mut Vec<String>);

impl Notes<'_> {
    pub(super) fn add(&mut self, note: &str) {
        if !self.0.iter().any(|other| other == note) {
            self.0.push(note.into());
        }
    }
}

/// The note on parts of a schema that the grammar does not enforce.
pub(super) fn unenforced_note(subject: &str, paths: &[String]) -> Option<String> {
    (!paths.is_empty()).then(|| format!("the schema of {subject} is not enforced at {}", paths.join(", ")))
}
