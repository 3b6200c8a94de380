//! The reference of commands and settings in `docs/`, which the code determines. A test with
//! `INSTA_UPDATE=always` writes the pages that differ.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use cachalot::cli::Cli;
use clap::{Arg, CommandFactory};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn the_reference_of_commands_is_that_of_the_program() {
    let path = Path::new(ROOT).join("docs/reference/commands.md");
    let page = commands_page();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "{} is stale: INSTA_UPDATE=always cargo test -p cachalot --test app reference",
        path.display()
    );
}

fn commands_page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut page = String::from(
        "# Commands\n\nA test writes this page from the program (`crates/cachalot/tests/app/reference.rs`).\n\n\
         ## Options of every command\n",
    );
    list_arguments(&command, &mut page);
    add_commands(&command, &mut page);
    page
}

/// Adds a section for each subcommand, and then for those below it.
fn add_commands(parent: &clap::Command, page: &mut String) {
    for command in parent.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_bin_name().unwrap_or_default();
        let level = "#".repeat(name.split(' ').count());
        let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        let usage = command.clone().render_usage().to_string().replace("Usage: ", "");
        write!(page, "\n{level} {name}\n\n{}\n\n```text\n{usage}\n```\n", as_markdown(&about)).unwrap();
        list_arguments(command, page);
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if let Some((_, examples)) = after.split_once("Examples:\n") {
            let (examples, rest) = examples.split_once("\n\n").unwrap_or((examples, ""));
            let examples = examples.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
            write!(page, "\nExamples:\n\n```sh\n{examples}\n```\n").unwrap();
            if !rest.is_empty() {
                write!(page, "\n{}\n", as_markdown(rest)).unwrap();
            }
        }
        add_commands(command, page);
    }
}

/// Adds a line for each argument that is this command's own.
fn list_arguments(command: &clap::Command, page: &mut String) {
    let is_own = |argument: &&Arg| {
        let is_inherited = argument.is_global_set() && is_global_of_parent(command, argument);
        !is_inherited && !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
    };
    for (index, argument) in command.get_arguments().filter(is_own).enumerate() {
        if index == 0 {
            page.push('\n');
        }
        let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        let help = as_markdown(&as_line(&help));
        // The help of an argument often names its default.
        let takes_value = argument.get_action().takes_values();
        let default = argument.get_default_values().first().filter(|_| takes_value && !help.contains("[default:"));
        let default = default.map_or(String::new(), |value| format!(" [default: {}]", value.to_string_lossy()));
        let values = argument.get_possible_values();
        let names: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        let values = if takes_value && !names.is_empty() { format!(": {}", names.join(", ")) } else { String::new() };
        writeln!(page, "- `{}`: {help}{default}{values}", signature(argument, takes_value)).unwrap();
    }
}

/// Whether the argument comes from a command above this one.
fn is_global_of_parent(command: &clap::Command, argument: &Arg) -> bool {
    let path: Vec<&str> = command.get_bin_name().unwrap_or_default().split(' ').skip(1).collect();
    let mut above = Cli::command();
    for name in path {
        if above.get_arguments().any(|known| known.get_id() == argument.get_id()) {
            return true;
        }
        above = above.find_subcommand(name).expect("a command of the program").clone();
    }
    false
}

/// `--budget <USD|none>`, `<NAME>`.
fn signature(argument: &Arg, takes_value: bool) -> String {
    let value = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let value = value.unwrap_or_else(|| argument.get_id().as_str().to_uppercase());
    match argument.get_long() {
        Some(long) if takes_value => format!("--{long} <{value}>"),
        Some(long) => format!("--{long}"),
        None => format!("<{value}>"),
    }
}

/// The paragraphs of a text in one line. The first one has no full stop where others follow.
fn as_line(text: &str) -> String {
    let paragraph = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split("\n\n").map(paragraph).collect::<Vec<_>>().join(". ")
}

/// The text with what Markdown would take for HTML escaped.
fn as_markdown(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| match index % 2 {
        0 => part.replace('<', "\\<").replace('*', "\\*").replace('_', "\\_"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}

/// The name of a field in the file: its own, or what `#[serde(rename = "...")]` says.
fn setting_name(field: &syn::Field) -> Option<String> {
    let renamed = field.attrs.iter().find_map(|attribute| {
        let tokens = attribute.meta.require_list().ok()?.tokens.to_string();
        let (_, name) = tokens.split_once("rename = \"")?;
        Some(name.split('"').next()?.to_owned())
    });
    renamed.or_else(|| Some(field.ident.as_ref()?.to_string()))
}

#[test]
fn the_example_file_has_every_setting_and_no_other() {
    let mut settings = BTreeSet::new();
    let files = ["cachalot/src/config.rs", "cachalot/src/config/engine_settings.rs"];
    for file in files.into_iter().chain(["cachalot/src/config/provider_settings.rs", "wire/src/model_rules/row.rs"]) {
        let text = std::fs::read_to_string(format!("{ROOT}/crates/{file}")).unwrap();
        for item in syn::parse_file(&text).unwrap().items {
            let syn::Item::Struct(section) = item else { continue };
            // The whole file: its fields are sections.
            if section.ident != "Config" {
                settings.extend(section.fields.iter().filter_map(setting_name));
            }
        }
    }
    let example = std::fs::read_to_string(format!("{ROOT}/cachalot.example.toml")).unwrap();
    let names = example.lines().filter_map(|line| line.trim_start_matches("# ").split_once(" = "));
    let is_name =
        |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let shown: BTreeSet<String> = names.map(|(name, _)| name).filter(is_name).map(str::to_owned).collect();
    assert!(settings.len() > 40, "{settings:?}");
    let unknown: Vec<_> = shown.difference(&settings).collect();
    assert!(unknown.is_empty(), "no settings of the program: {unknown:?}");
    // Some are sections or stand in a table within a line.
    let is_missing =
        |name: &&String| !example.contains(&format!("{name} = ")) && !example.contains(&format!(".{name}]"));
    let missing: Vec<_> = settings.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "not in cachalot.example.toml: {missing:?}");
}
