//! The parts of a chat that a request leaves out.

/// The names of parts that are left out, each once. Whatever leaves a part out of a request adds
/// its name here, so that a note cannot say anything else than what was sent.
#[derive(Debug, Default)]
pub(super) struct DroppedParts(Vec<&'static str>);

impl DroppedParts {
    pub(super) fn add(&mut self, name: &'static str) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// Adds the name if the part `is_dropped`.
    pub(super) fn add_if(&mut self, is_dropped: bool, name: &'static str) {
        if is_dropped {
            self.add(name);
        }
    }

    /// The names in the order of the alphabet.
    pub(super) fn into_names(mut self) -> Vec<&'static str> {
        self.0.sort_unstable();
        self.0
    }
}
