//! The command line: its commands in groups, and hints for commands of other tools.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    bench, chat, completions, inspect, key, man, models, pack, price, project, provider, pull, render, score, serve,
    usage, user,
};
use crate::logging::LogArgs;

/// An inference engine for the DeepSeek V3 family and a gateway to other providers' models, behind
/// the APIs of DeepSeek, OpenAI, Anthropic and Gemini
#[derive(Parser)]
#[command(name = "cachalot", version, long_version = LONG_VERSION, max_term_width = 110, styles = STYLES, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub log: LogArgs,
    /// File of environment variables, one NAME=VALUE in each line; variables that are set already
    /// win
    #[arg(long, value_name = "FILE", global = true, help_heading = "Global options")]
    pub env_file: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    Serve(serve::Args),
    Chat(chat::Args),
    Pull(pull::Args),
    Models(models::Args),
    Key(key::Args),
    User(user::Args),
    Project(project::Args),
    Usage(usage::Args),
    Provider(provider::Args),
    Price(price::Args),
    Inspect(inspect::Args),
    Pack(pack::Args),
    Score(score::Args),
    Render(render::Args),
    Bench(bench::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The version, and what it was built from.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("CACHALOT_BUILD_COMMIT"),
    "\ntarget: ",
    env!("CACHALOT_BUILD_TARGET"),
    "\nfeatures: ",
    env!("CACHALOT_BUILD_FEATURES")
);

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  cachalot serve
  cachalot chat
  cachalot key add alice --budget 5
  cachalot usage --by model";

/// The groups of the commands in the help. A command that is in none of them is in the last one.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Models", &["serve", "chat", "pull", "models", "inspect", "pack"]),
    ("Gateway", &["key", "user", "project", "usage", "provider", "price"]),
    ("Measurements", &["score", "render", "bench"]),
    ("Further commands", &[]),
];

/// Commands of other tools, below which of ours they are looked for, and ours.
const OTHER_TOOLS: [(&str, &str, &str); 32] = [
    ("", "run", "chat"),
    ("", "start", "serve"),
    ("", "server", "serve"),
    ("", "up", "serve"),
    ("", "gateway", "serve"),
    ("", "proxy", "serve"),
    ("", "download", "pull"),
    ("", "ls", "models list"),
    ("", "rm", "models rm"),
    ("", "show", "inspect"),
    ("", "info", "inspect"),
    ("", "quantize", "pack"),
    ("", "convert", "pack"),
    ("", "keys", "key"),
    ("", "token", "key"),
    ("", "virtual-key", "key"),
    ("", "team", "project"),
    ("", "spend", "usage"),
    ("", "completion", "completions"),
    ("key", "create", "key add"),
    ("key", "new", "key add"),
    ("key", "generate", "key add"),
    ("key", "rm", "key revoke"),
    ("key", "delete", "key revoke"),
    ("key", "remove", "key revoke"),
    ("key", "ls", "key list"),
    ("key", "update", "key set"),
    ("models", "remove", "models rm"),
    ("user", "create", "user add"),
    ("project", "create", "project add"),
    ("provider", "ls", "provider list"),
    ("provider", "create", "provider add"),
];

impl Cli {
    /// Reads the command line of this process. Prints help and errors and ends the process where
    /// they are due.
    pub fn read() -> Self {
        Self::parse_words(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads a command line, the name of the program first.
    ///
    /// # Errors
    /// A command line that is not valid, with a hint; also a request for help.
    pub fn parse_words(words: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let parsed = grouped_command().try_get_matches_from(&words).and_then(|found| Self::from_arg_matches(&found));
        parsed.map_err(|error| with_hint(error, &words))
    }
}

/// The command with its help in groups.
fn grouped_command() -> clap::Command {
    let command = Cli::command();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{}\n{{all-args}}{{after-help}}",
        command_groups(&command)
    );
    // The template lists them.
    let command = command.mut_subcommands(|command| command.hide(true));
    command.override_usage("cachalot [OPTIONS] <COMMAND>").help_template(template)
}

/// The commands and their explanations, a block for each group.
fn command_groups(command: &clap::Command) -> String {
    let (header, literal) = (STYLES.get_header(), STYLES.get_literal());
    let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let mut text = String::new();
    for (title, names) in GROUPS {
        let is_last = names.is_empty();
        let belongs = |name: &str| if is_last { !grouped.contains(&name) } else { names.contains(&name) };
        text.push_str(&format!("\n{header}{title}:{header:#}\n"));
        for command in command.get_subcommands().filter(|command| belongs(command.get_name())) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let first_sentence = about.split(". ").next().unwrap_or_default();
            text.push_str(&format!("  {literal}{:<12}{literal:#} {}\n", command.get_name(), indented(first_sentence)));
        }
        if is_last {
            text.push_str(&format!("  {literal}{:<12}{literal:#} Print the help of a command\n", "help"));
        }
    }
    text
}

/// The text in lines of at most 64 columns, the later ones below the first in the list of commands.
fn indented(text: &str) -> String {
    let mut lines = String::new();
    let mut columns = 0;
    for word in text.split(' ') {
        if columns > 0 && columns + 1 + word.len() > 64 {
            lines.push_str("\n               ");
            columns = 0;
        } else if columns > 0 {
            lines.push(' ');
            columns += 1;
        }
        lines.push_str(word);
        columns += word.len();
    }
    lines
}

/// Adds the command of ours that a command of another tool most likely means.
fn with_hint(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidSubcommand).cloned() else { return error };
    // The command before it, if there is one.
    let command = Cli::command();
    let before = words.iter().skip(1).take_while(|word| **word != *unknown).filter_map(|word| word.to_str());
    let parent = before.filter(|word| command.find_subcommand(word).is_some()).last().unwrap_or_default();
    let known = OTHER_TOOLS.iter().find(|(below, theirs, _)| *below == parent && *theirs == unknown);
    if let Some((_, _, ours)) = known {
        let suggested = ContextValue::Strings(vec![format!("cachalot {ours}")]);
        error.insert(ContextKind::SuggestedSubcommand, suggested);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &[&str]) -> String {
        let words = ["cachalot"].iter().chain(words);
        Cli::parse_words(words.copied()).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_command_line_is_consistent() {
        grouped_command().debug_assert();
        let command = Cli::command();
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        for name in GROUPS.iter().flat_map(|(_, names)| names.iter()) {
            assert!(names.contains(name), "{name}");
        }
        for (below, theirs, ours) in OTHER_TOOLS {
            let parent = if below.is_empty() { &command } else { command.find_subcommand(below).unwrap() };
            assert!(parent.find_subcommand(theirs).is_none(), "{below} {theirs} exists");
            let mut found = &command;
            for word in ours.split(' ') {
                found = found.find_subcommand(word).unwrap_or_else(|| panic!("{ours}"));
            }
        }
    }

    #[test]
    fn commands_of_other_tools_are_translated() {
        for (words, ours) in [
            (&["run", "llama3"][..], "cachalot chat"),
            (&["key", "create", "alice"], "cachalot key add"),
            (&["--log-level", "warn", "key", "--store", "off", "rm", "alice"], "cachalot key revoke"),
            (&["srve"], "serve"),
            (&["key", "ad"], "add"),
        ] {
            assert!(refused(words).contains(ours), "{words:?}: {}", refused(words));
        }
        assert!(!refused(&["frobnicate"]).contains("similar"), "{}", refused(&["frobnicate"]));
    }

    #[test]
    fn the_help_lists_every_command_in_a_group() {
        let help = refused(&["--help"]);
        for command in Cli::command().get_subcommands() {
            assert!(help.contains(&format!("\n  {}", command.get_name())), "{}: {help}", command.get_name());
        }
        for title in ["Models:", "Gateway:", "Measurements:", "Further commands:", "Log options:", "Examples:"] {
            assert!(help.contains(title), "{title}: {help}");
        }
    }
}
