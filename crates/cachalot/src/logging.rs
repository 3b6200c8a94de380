//! The log on standard error: which events are written, and in which format.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::json;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use crate::log_line::LogLine;
use crate::terminal;

/// The environment variable that holds filter directives.
const VARIABLE: &str = "CACHALOT_LOG";

/// Level and format of the log
#[derive(clap::Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Log options")]
pub struct LogArgs {
    /// Least severe level that is logged; wins over the environment variable CACHALOT_LOG [default:
    /// info for `serve`, else warn]
    #[arg(long, value_enum, value_name = "LEVEL", global = true)]
    pub log_level: Option<LogLevel>,
    /// Format of the log on standard error: lines of text, or one JSON object per line
    #[arg(long, value_enum, value_name = "FORMAT", global = true, default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Whether the log is text on a terminal.
static FOR_PEOPLE: AtomicBool = AtomicBool::new(false);

/// Whether a person reads the log on a terminal.
pub(crate) fn is_for_people() -> bool {
    FOR_PEOPLE.load(Ordering::Relaxed)
}

impl LogArgs {
    /// Installs the log of this process. `default` is the level where neither the switch nor the
    /// environment sets one.
    ///
    /// # Errors
    /// `CACHALOT_LOG` holds something that is not a list of filter directives.
    pub fn install(&self, default: LogLevel) -> Result<()> {
        let directives = std::env::var(VARIABLE).unwrap_or_default();
        let filter = match self.log_level {
            Some(level) => EnvFilter::default().add_directive(level.filter().into()),
            None => filter(&directives, default).with_context(|| {
                format!("the environment variable `{VARIABLE}` is `{directives}`, which is not a filter for the log")
            })?,
        };
        // A line that cannot be written, because the terminal was closed or the disk is full, fails
        // no request: the subscriber would report it on standard error, and panic there.
        let log = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
        let log = log.with_writer(|| terminal::Stderr);
        match self.log_format {
            LogFormat::Text => {
                let is_terminal = std::io::stderr().is_terminal();
                let is_colored = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                FOR_PEOPLE.store(is_terminal, Ordering::Relaxed);
                log.with_ansi(is_colored).event_format(LogLine { is_terminal }).init();
            }
            LogFormat::Json => {
                log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
                std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
            }
        }
        Ok(())
    }

    /// Writes the error that ends the program, in the format of the log and at any level.
    pub fn write_failure(&self, error: &anyhow::Error) {
        let message = crate::with_causes(error);
        match self.log_format {
            LogFormat::Text => eprintln!("error: {message}"),
            LogFormat::Json => {
                let timestamp = jiff::Timestamp::now().to_string();
                eprintln!(
                    "{}",
                    json!({"timestamp": timestamp, "level": "ERROR", "message": message, "target": "cachalot"})
                );
            }
        }
    }
}

impl LogLevel {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// Reads directives such as `warn` or `gateway=debug`, separated by commas. `default` holds for
/// targets that none of them names, so that a filter for one target does not silence the others.
fn filter(directives: &str, default: LogLevel) -> Result<EnvFilter> {
    let mut filter = EnvFilter::default().add_directive(default.filter().into());
    for text in split(directives) {
        let is_word = !text.contains(['=', '[', '{']);
        if is_word && text.parse::<LevelFilter>().is_err() {
            bail!(
                "`{text}` is not a level: write off, error, warn, info, debug or trace, or TARGET=LEVEL such as `gateway=debug`"
            );
        }
        let directive: Directive = text.parse().with_context(|| {
            format!("`{text}` is not a directive: write TARGET=LEVEL such as `gateway=debug`, with a level of off, error, warn, info, debug or trace")
        })?;
        filter = filter.add_directive(directive);
    }
    Ok(filter)
}

/// The directives of a list. A comma between the fields of a span (`[request{method,path}]=debug`)
/// does not separate directives.
fn split(directives: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let parts = directives.split(move |c: char| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(directives: &str) -> String {
        match filter(directives, LogLevel::Info) {
            Ok(filter) => filter.to_string(),
            Err(error) => crate::with_causes(&error),
        }
    }

    #[test]
    fn directives_add_to_the_default_level() {
        assert_eq!(read(""), "info");
        assert_eq!(read("debug"), "debug");
        assert_eq!(read(" WARN , cachalot=info,"), "cachalot=info,warn");
        assert_eq!(read("gateway=debug"), "gateway=debug,info");
        assert_eq!(read("off,server::admin=trace"), "server::admin=trace,off");
        assert!(read("[request{method,path}]=debug").contains("[request{method,path}]=debug"));
    }

    #[test]
    fn words_that_are_not_levels_are_refused_by_name() {
        for (directives, fault) in [
            ("debgu", "`debgu` is not a level: write off, error, warn, info, debug or trace"),
            ("info,gateway", "`gateway` is not a level"),
            ("gateway=debgu", "`gateway=debgu` is not a directive"),
            ("info,=", "`=` is not a directive"),
        ] {
            assert!(read(directives).contains(fault), "{directives}: {}", read(directives));
        }
    }
}
