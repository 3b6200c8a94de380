//! The program `cachalot`: parses the command line and runs a subcommand.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use cachalot::cli::{Cli, Command};
use cachalot::commands::{
    bench, chat, completions, inspect, key, man, models, pack, price, project, provider, pull, render, score, serve,
    usage, user,
};
use cachalot::logging::LogLevel;
use clap::CommandFactory;

/// The files of `models/minnow/`, in this program alone and not in the library.
#[cfg(has_minnow)]
mod minnow {
    include!(concat!(env!("OUT_DIR"), "/minnow.rs"));
}

/// jemalloc, which returns the memory of finished requests to the system within a fraction of a
/// second. The system's own allocator keeps most of it, scattered over its arenas.
/// `malloc_conf.c` has the settings, docs/performance.md the figures.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::read();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that closed its end (`cachalot score | head`) is not an error.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            cli.log.write_failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    if let Some(path) = &cli.env_file {
        cachalot::env_file::load(path)?;
    }
    cachalot::install_tls_provider();
    #[cfg(has_minnow)]
    cachalot::embedded_model::add_minnow(minnow::FILES);
    // The default level: `serve` logs its events, and the other commands only warnings and errors.
    let level = if matches!(cli.command, Command::Serve(_)) { LogLevel::Info } else { LogLevel::Warn };
    cli.log.install(level)?;
    match &cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Key(args) => key::run(args),
        Command::Price(args) => price::run(args),
        Command::Project(args) => project::run(args),
        Command::Provider(args) => provider::run(args),
        Command::Usage(args) => usage::run(args),
        Command::User(args) => user::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Pull(args) => pull::run(args),
        Command::Models(args) => models::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Score(args) => score::run(args),
        Command::Render(args) => render::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Completions(args) => completions::run(args, Cli::command()),
        Command::Man(args) => man::run(args, Cli::command()),
    }
}

/// Whether the error or one of its causes is a closed pipe.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    error.chain().any(|cause| io(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
