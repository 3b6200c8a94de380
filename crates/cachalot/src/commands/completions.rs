//! `cachalot completions`: the completion script of a shell.

use std::io;

use anyhow::Result;
use clap_complete::Shell;

/// Print the completion script of a shell
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  cachalot completions bash > ~/.bash_completion
  cachalot completions zsh > ~/.zfunc/_cachalot
  cachalot completions fish > ~/.config/fish/completions/cachalot.fish";

/// Prints the script for `command`, the whole command line.
///
/// # Errors
/// Standard output that cannot be written.
pub fn run(args: &Args, mut command: clap::Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "cachalot", &mut script);
    Ok(io::Write::write_all(&mut io::stdout(), &script)?)
}
