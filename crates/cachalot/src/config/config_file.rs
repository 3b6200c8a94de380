//! The file that a configuration was read from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Table;

use crate::renamed_settings::present_name;

/// A configuration file, and the settings that are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    pub path: PathBuf,
    /// The time at which it was read, in microseconds since 1970.
    pub(crate) read_at: i64,
    /// The settings of the sections that are tables, such as `server.listen`.
    settings: BTreeSet<String>,
}

impl ConfigFile {
    /// The file `path`, which has just been read and has this content.
    pub(super) fn new(path: &Path, content: &Table) -> Self {
        let settings = content.iter().flat_map(|(section, value)| {
            let names = value.as_table().into_iter().flat_map(Table::keys);
            names.map(move |name| format!("{section}.{}", present_name(section, name)))
        });
        Self { path: path.to_owned(), read_at: store::now_micros(), settings: settings.collect() }
    }

    /// Whether the file sets this setting.
    pub(crate) fn has(&self, setting: &str) -> bool {
        self.settings.contains(setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_under_their_present_names() {
        let content = "[server]\ngrace_s = 7\nlisten = 'x'\n[[providers]]\nname = 'a'\n[aliases]\nb = 'c'\n";
        let file = ConfigFile::new(Path::new("c.toml"), &content.parse().unwrap());
        assert!(file.has("server.shutdown_grace_s") && file.has("server.listen") && file.has("aliases.b"));
        assert!(!file.has("server.grace_s") && !file.has("server.hosts") && !file.has("providers.name"));
    }
}
