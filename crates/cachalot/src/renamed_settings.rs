//! Settings of the configuration file that were renamed. A former name can be read for one release
//! and is reported in the log.

use std::path::Path;

use toml::{Table, Value};

/// Section, former name and present name.
const RENAMED: [(&str, &str, &str); 2] = [("server", "grace_s", "shutdown_grace_s"), ("providers", "row", "preset")];

/// Logs a warning for each former name that the configuration file `path` uses.
pub(crate) fn warn_of_former_names(path: &Path, file: &Table) {
    for (section, former, present) in former_names(file) {
        tracing::warn!(
            file = %path.display(), section, former, present,
            "setting was renamed: write the present name, the former one is removed in the next release"
        );
    }
}

/// The present name of a setting.
pub(crate) fn present_name<'a>(section: &str, name: &'a str) -> &'a str {
    let renamed = RENAMED.iter().find(|(of, former, _)| *of == section && *former == name);
    renamed.map_or(name, |(.., present)| present)
}

/// The entries of [`RENAMED`] that the file uses.
fn former_names(file: &Table) -> Vec<(&'static str, &'static str, &'static str)> {
    let uses = |(section, former, _): &(&str, &str, &str)| match file.get(*section) {
        Some(Value::Table(table)) => table.contains_key(*former),
        Some(Value::Array(blocks)) => blocks.iter().any(|block| block.get(former).is_some()),
        _ => false,
    };
    RENAMED.into_iter().filter(uses).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn former_names_are_read_and_found() {
        let text = "[server]\ngrace_s = 7\n[[providers]]\nname = 'a'\n[[providers]]\nname = 'b'\nrow = 'vllm'\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.server.shutdown_grace_s, 7);
        assert_eq!(config.providers[1].preset.as_deref(), Some("vllm"));
        let found = former_names(&text.parse().unwrap());
        assert_eq!(found, RENAMED);
    }

    #[test]
    fn present_names_are_not_reported() {
        let text = "[server]\nshutdown_grace_s = 7\n[[providers]]\nname = 'b'\npreset = 'vllm'\n";
        toml::from_str::<Config>(text).unwrap();
        assert!(former_names(&text.parse().unwrap()).is_empty());
    }

    #[test]
    fn both_names_at_once_are_refused() {
        let error = toml::from_str::<Config>("[server]\ngrace_s = 7\nshutdown_grace_s = 8\n").unwrap_err();
        assert!(error.to_string().contains("duplicate field"), "{error}");
    }
}
