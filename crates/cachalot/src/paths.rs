//! The folders of the user: cache, data, state and configuration, by the XDG base directory rules.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The default folder of the prefix cache: `$XDG_CACHE_HOME/cachalot/prefix`, else
/// `~/.cache/cachalot/prefix`.
pub fn cache_folder() -> Option<PathBuf> {
    Some(base_folder("XDG_CACHE_HOME", ".cache")?.join("cachalot/prefix"))
}

/// `$XDG_DATA_HOME/cachalot`, else `~/.local/share/cachalot`.
pub fn data_folder() -> Option<PathBuf> {
    Some(base_folder("XDG_DATA_HOME", ".local/share")?.join("cachalot"))
}

/// The user's data folder.
///
/// # Errors
/// Neither XDG_DATA_HOME nor HOME is set.
pub fn user_data_folder() -> Result<PathBuf> {
    data_folder().context("neither XDG_DATA_HOME nor HOME is set: say where keys and usage are kept with --store sqlite:PATH, or --store off")
}

/// The lines that were typed in `cachalot chat`: `$XDG_STATE_HOME/cachalot/chat-history`, else
/// `~/.local/state/cachalot/chat-history`.
pub(crate) fn chat_history_file() -> Option<PathBuf> {
    Some(base_folder("XDG_STATE_HOME", ".local/state")?.join("cachalot/chat-history"))
}

/// `$XDG_CONFIG_HOME/cachalot/cachalot.toml`, else `~/.config/cachalot/cachalot.toml`.
pub(crate) fn user_config_file() -> Option<PathBuf> {
    Some(base_folder("XDG_CONFIG_HOME", ".config")?.join("cachalot/cachalot.toml"))
}

/// The folder that `variable` names, else `below_home` in the home folder; `None` where HOME is not
/// set either.
fn base_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(below_home)))
}
