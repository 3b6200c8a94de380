//! `cachalot man`: the manual pages.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// Write the manual pages, one for each command, into a folder
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The folder, which is made where it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  cachalot man ~/.local/share/man/man1";

/// Writes the pages of `command`, the whole command line.
///
/// # Errors
/// A folder that cannot be written.
pub fn run(args: &Args, command: clap::Command) -> Result<()> {
    let write = || {
        std::fs::create_dir_all(&args.folder)?;
        clap_mangen::generate_to(command, &args.folder)
    };
    write().with_context(|| format!("cannot write the manual pages to `{}`", args.folder.display()))
}
