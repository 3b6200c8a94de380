//! The program `cachalot`: parses the command line and runs a subcommand.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use cachalot::commands::{
    bench, chat, inspect, key, pack, price, project, provider, render, score, serve, usage, user,
};
use cachalot::logging::{LogArgs, LogLevel};
use clap::{Parser, Subcommand};

/// The files of `models/minnow/`, in this program alone and not in the library.
#[cfg(has_minnow)]
mod minnow {
    include!(concat!(env!("OUT_DIR"), "/minnow.rs"));
}

/// jemalloc, which returns the memory of finished requests to the system within a fraction of a
/// second. The system's own allocator keeps most of it, scattered over its arenas.
/// `.cargo/config.toml` explains the settings; docs/performance.md has the figures.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An inference engine for the DeepSeek V3 family and a gateway to other providers' models, behind
/// the APIs of DeepSeek, OpenAI, Anthropic and Gemini
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Key(key::Args),
    Price(price::Args),
    Project(project::Args),
    Provider(provider::Args),
    Usage(usage::Args),
    User(user::Args),
    Chat(chat::Args),
    Inspect(inspect::Args),
    Pack(pack::Args),
    Score(score::Args),
    Render(render::Args),
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
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
        Command::Inspect(args) => inspect::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Score(args) => score::run(args),
        Command::Render(args) => render::run(args),
        Command::Bench(args) => bench::run(args),
    }
}

/// Whether the error or one of its causes is a closed pipe.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    error.chain().any(|cause| io(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
