//! Notes on what was changed in a request.

/// The parameters that were left out, and other changes in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeNotes {
    dropped: Vec<String>,
    /// The names of parts that were left out before, and are in the request again.
    restored: Vec<&'static str>,
    changed: Vec<String>,
}

impl ChangeNotes {
    pub(super) fn drop(&mut self, name: &str) {
        if !self.dropped.iter().any(|known| known == name) {
            self.dropped.push(name.to_owned());
        }
    }

    /// Says that the request has again what was left out before.
    pub(super) fn restore(&mut self, name: &'static str) {
        self.restored.push(name);
    }

    pub(super) fn change(&mut self, what: String) {
        if !self.changed.contains(&what) {
            self.changed.push(what);
        }
    }

    /// Adds what was left out before, in front.
    pub fn add_dropped(&mut self, names: &[&str]) {
        let later = std::mem::take(&mut self.dropped);
        let restored = std::mem::take(&mut self.restored);
        let earlier = names.iter().filter(|name| !restored.contains(name)).map(|name| (*name).to_owned());
        earlier.chain(later).for_each(|name| self.drop(&name));
    }

    /// The notes for the caller, such as `dropped: temperature, top_p`.
    pub fn into_notes(self) -> Vec<String> {
        let list =
            |what: &str, names: Vec<String>| (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")));
        list("dropped", self.dropped).into_iter().chain(list("changed", self.changed)).collect()
    }
}
