//! Environment variables of a file (`--env-file`).

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result};

/// Most bytes of a file of variables.
const MAX_BYTES: u64 = 1 << 20;

/// Sets the variables of a file for this process. Those that are set already stay. Called before
/// other threads exist.
///
/// # Errors
/// A file that cannot be read, or a line that is not NAME=VALUE.
pub fn load(path: &Path) -> Result<()> {
    let context = || format!("the environment file `{}`", path.display());
    let text = files::read_text(path, MAX_BYTES).with_context(context)?;
    // The error of a line would show the secret in it.
    let count = dotenvy::from_read_iter(Cursor::new(&text)).take_while(Result::is_ok).count();
    dotenvy::from_read(Cursor::new(&text)).map_err(|error| {
        let kind = if error.not_found() { "it cannot be read" } else { "a line is not NAME=VALUE" };
        anyhow::anyhow!("{}: after {count} variables, {kind}", context())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_set_unless_they_are_set_already() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        std::fs::write(&path, "# keys\nCACHALOT_TEST_ENV_FILE=\"a b\"\nexport PATH=/changed\n").unwrap();
        load(&path).unwrap();
        assert_eq!(std::env::var("CACHALOT_TEST_ENV_FILE").unwrap(), "a b");
        assert_ne!(std::env::var("PATH").unwrap(), "/changed");
        std::fs::write(&path, "A=1\nsk-secret without a name\n").unwrap();
        let error = crate::with_causes(&load(&path).unwrap_err());
        assert!(error.contains("after 1 variables") && !error.contains("sk-secret"), "{error}");
        assert!(load(folder.path()).is_err() && load(Path::new("/no/such/file")).is_err());
    }
}
