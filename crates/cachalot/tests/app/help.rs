//! The help of every command, the manual pages, the completion scripts, and hints for what was
//! mistyped.

use std::process::Command;

use cachalot::cli::Cli;
use clap::CommandFactory;

use crate::process::{TestHome, run_to_end};

/// The words of every command and subcommand.
pub(crate) fn command_lines() -> Vec<Vec<String>> {
    fn add(command: &clap::Command, words: &[String], lines: &mut Vec<Vec<String>>) {
        lines.push(words.to_vec());
        for sub in command.get_subcommands() {
            add(sub, &[words, &[sub.get_name().to_owned()]].concat(), lines);
        }
    }
    let mut lines = Vec::new();
    add(&Cli::command(), &[], &mut lines);
    lines
}

/// The help of a command on a terminal of 80 columns.
pub(crate) fn help(home: &TestHome, words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
    let mut command = home.command(&words);
    command.env("COLUMNS", "80");
    let ended = run_to_end(command);
    assert!(ended.status.success(), "{words:?}: {}", ended.stderr);
    ended.stdout
}

#[test]
fn every_help_fits_80_columns() {
    let home = TestHome::new();
    for words in command_lines() {
        let text = help(&home, &words);
        assert!(!text.contains('\x1b'), "{words:?}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{words:?}: {line}");
        }
    }
}

#[test]
fn completion_scripts_load_in_their_shells() {
    let home = TestHome::new();
    for (shell, switches) in [("bash", &["-c"][..]), ("zsh", &["-fc"]), ("fish", &["-N", "-c"])] {
        let script = home.run_ok(&["completions", shell]);
        assert!(script.contains("cachalot") && script.contains("provider"), "{shell}");
        let path = home.path(shell);
        std::fs::write(&path, script).unwrap();
        let load = match shell {
            "zsh" => format!("autoload -U compinit; compinit -D; source {0}", path.display()),
            _ => format!("source {}", path.display()),
        };
        match Command::new(shell).args(switches).arg(load).output() {
            Ok(loaded) => {
                let stderr = String::from_utf8_lossy(&loaded.stderr).into_owned();
                assert!(loaded.status.success() && stderr.is_empty(), "{shell}: {stderr}");
            }
            Err(error) => eprintln!("skipped for {shell}: {error}"),
        }
    }
    assert!(home.run_ok(&["completions", "powershell"]).contains("Register-ArgumentCompleter"));
}

#[test]
fn every_command_has_a_manual_page() {
    let home = TestHome::new();
    let folder = home.path("man/man1");
    home.run_ok(&["man", folder.to_str().unwrap()]);
    for words in command_lines() {
        let name = ["cachalot".to_owned()].iter().chain(&words).map(String::as_str).collect::<Vec<_>>().join("-");
        let page =
            std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".SH NAME"), "{name}");
    }
    std::fs::write(home.path("file"), "").unwrap();
    assert!(home.run_fails(&["man", "file"]).contains("`file`"));
}

#[test]
fn the_version_names_what_it_was_built_from() {
    let home = TestHome::new();
    assert_eq!(home.run_ok(&["-V"]), concat!("cachalot ", env!("CARGO_PKG_VERSION"), "\n"));
    let long = home.run_ok(&["--version"]);
    let value = |name: &str| long.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{long}"));
    let commit = value("commit: ");
    assert!(commit == "unknown" || commit.len() >= 40, "{long}");
    assert!(value("target: ").contains(std::env::consts::ARCH), "{long}");
    assert_eq!(value("features: "), if cfg!(has_minnow) { "embedded-model" } else { "none" });
}

/// The settings of the allocator are compiled into the program, however it was built.
#[cfg(target_os = "linux")]
#[test]
fn the_allocator_has_its_settings() {
    let home = TestHome::new();
    let mut command = home.command(&["-V"]);
    command.env("_RJEM_MALLOC_CONF", "confirm_conf:true");
    let printed = run_to_end(command).stderr;
    assert!(printed.contains("dirty_decay_ms:100,muzzy_decay_ms:0,retain:false,narenas:2"), "{printed}");
}

#[test]
fn mistyped_words_get_a_hint() {
    let home = TestHome::new();
    std::fs::write(home.path("key.toml"), "[server]\nlissten = '127.0.0.1:0'\n").unwrap();
    std::fs::write(home.path("name.toml"), "[[providers]]\nname = 'opanai'\n").unwrap();
    for (words, hint) in [
        (&["run", "llama"][..], "cachalot chat"),
        (&["key", "create", "alice"], "cachalot key add"),
        (&["key", "rm", "alice"], "cachalot key revoke"),
        (&["srve"], "serve"),
        (&["serve", "--config", "key.toml"], "did you mean `listen`?"),
        (&["serve", "--model", "none", "--listen", "127.0.0.1:0", "--config", "name.toml"], "did you mean `openai`?"),
    ] {
        let refused = home.run_fails(words);
        assert!(refused.contains(hint), "{words:?}: {refused}");
    }
}
