//! The examples in the help of the commands and in the documents for beginners, run as they are
//! printed, and the commands in all other documents, parsed.

use std::path::Path;

use cachalot::cli::Cli;

use crate::help::{command_lines, help};
use crate::process::{Server, TestHome, run_to_end};

/// Parts of examples that are not run, and the reason.
const NOT_RUN: [(&str, &str); 11] = [
    ("deepseek-ai/", "needs a hub: `pull.rs` runs these commands against a fake one"),
    ("cachalot provider test", "needs a provider: `operator_commands.rs` runs it against a fake one"),
    ("cachalot bench", "takes minutes in a debug build"),
    ("cargo ", "builds the program"),
    ("sha256sum ", "needs an archive, as the next lines: `tests/clients/repository.py` makes one"),
    ("tar ", "needs an archive"),
    ("sudo ", "needs an archive"),
    ("jq ", "needs another program"),
    ("pip ", "needs a registry"),
    ("git ", "needs the address of a repository"),
    ("docker ", "needs a service"),
];

/// The examples of a help text or of a document, run one after the other.
struct Runner {
    home: TestHome,
    /// The ports that the examples name, and the servers in their place.
    servers: Vec<(String, Server)>,
}

impl Runner {
    fn new() -> Self {
        let home = TestHome::new();
        for folder in ["bin", ".zfunc", ".config/fish/completions"] {
            std::fs::create_dir_all(home.path(folder)).unwrap();
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cachalot"), home.path("bin/cachalot")).unwrap();
        // The example of a checkpoint is the fixture.
        std::os::unix::fs::symlink(repository().join("models/fixture"), home.path("DeepSeek-V3.2")).unwrap();
        let body = r#"{"model": "deepseek-chat", "messages": [{"role": "user", "content": "Hi"}]}"#;
        for (name, text) in [
            ("gateway.toml", ""),
            ("keys.env", ""),
            ("letter.txt", "Dear Olga,\nthank you.\n"),
            ("body.json", body),
            ("tokens.json", "[[0, 17, 4]]"),
        ] {
            std::fs::write(home.path(name), text).unwrap();
        }
        Self { home, servers: Vec::new() }
    }

    /// Runs the command of an example. Returns whether it is one that is run.
    fn run(&mut self, example: &str) -> bool {
        if let Some((_, reason)) = NOT_RUN.iter().find(|(part, _)| example.contains(part)) {
            println!("not run: {example}: {reason}");
            return false;
        }
        match example.strip_prefix("cachalot serve") {
            Some(switches) => self.serve(switches),
            None => self.run_to_end(example),
        }
        true
    }

    /// Starts a server, after that of the same port has ended.
    fn serve(&mut self, switches: &str) {
        // The context of the fixture is shorter than that of the released models.
        let switches = switches.trim_end_matches('&').replace("32768", "4096");
        let listen = switches.split_once("--listen ").map_or("127.0.0.1:8000", |(_, rest)| rest.trim());
        let listen = listen.split(' ').next().unwrap_or_default().to_owned();
        let port = listen.rsplit(':').next().unwrap_or_default().to_owned();
        let mut words: Vec<String> = switches.split_whitespace().map(str::to_owned).collect();
        words.iter_mut().filter(|word| **word == listen).for_each(|word| *word = listen.replace(&port, "0"));
        let mut more = |switch: &str, value: &str| {
            if !words.iter().any(|word| word == switch) {
                words.extend([switch.to_owned(), value.to_owned()]);
            }
        };
        more("--listen", "127.0.0.1:0");
        more("--model", "fixture");
        if listen.starts_with("0.0.0.0:") {
            // Without a key such an address is refused.
            self.home.run_ok(&["key", "add", "for-other-machines"]);
        }
        if let Some(at) = self.servers.iter().position(|(known, _)| *known == port) {
            self.servers.remove(at).1.stop();
        }
        let words: Vec<&str> = std::iter::once("serve").chain(words.iter().map(String::as_str)).collect();
        self.servers.push((port, Server::start(self.home.command(&words))));
    }

    fn run_to_end(&mut self, example: &str) {
        if example.contains("127.0.0.1:8000") && self.servers.is_empty() {
            self.serve("");
        }
        // Another model takes long in a debug build.
        let chat = "cachalot chat";
        let is_default = example.contains(chat) && !example.contains("--model") && !example.contains("--url");
        let mut command =
            if is_default { example.replace(chat, "cachalot chat --model fixture") } else { example.into() };
        for (port, server) in &self.servers {
            command = command.replace(&format!("127.0.0.1:{port}"), server.address());
        }
        let script = format!("set -euo pipefail\nPATH=\"$HOME/bin:$PATH\"\n{command}");
        let ended = run_to_end(self.home.shell(&script));
        assert!(ended.status.success(), "{example}: {}{}", ended.stdout, ended.stderr);
    }
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(repository().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The commands in the shell blocks of a document, with continued lines joined, without comments.
fn shell_commands(text: &str) -> Vec<String> {
    let blocks = text.split("\n```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let joined = blocks.map(|block| block.replace("\\\n", " ")).collect::<Vec<_>>().join("\n");
    let commands = joined.lines().map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
    commands.filter(|command| !command.is_empty() && !command.starts_with('#')).collect()
}

/// The lines behind `Examples:`, up to the next empty line.
fn examples_of_help(text: &str) -> Vec<String> {
    let examples = text.split_once("\nExamples:\n").map_or("", |(_, examples)| examples);
    examples.lines().map_while(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
}

#[test]
fn the_examples_of_every_help_run() {
    let home = TestHome::new();
    let mut run = 0;
    for words in command_lines() {
        let mut runner = Runner::new();
        for example in examples_of_help(&help(&home, &words)) {
            run += usize::from(runner.run(&example));
        }
    }
    assert!(run > 30, "{run} examples");
}

#[test]
fn the_commands_of_the_first_documents_run() {
    for (name, least) in
        [("README.md", 8), ("docs/quick-start-model.md", 5), ("docs/quick-start-gateway.md", 8), ("docs/chat.md", 5)]
    {
        let mut runner = Runner::new();
        let run = shell_commands(&document(name)).iter().filter(|command| runner.run(command)).count();
        assert!(run >= least, "{name}: {run} commands");
    }
}

#[test]
fn the_commands_of_all_documents_are_valid() {
    let mut found = 0;
    let mut folders = vec![repository().join("docs")];
    let mut texts = vec![document("README.md"), document("CONTRIBUTING.md"), document("SECURITY.md")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                texts.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    for text in texts {
        for command in shell_commands(&text) {
            found += usize::from(check_command(&command));
        }
    }
    assert!(found > 50, "{found} commands");
}

/// Parses the command in a line. Returns whether there is one.
fn check_command(line: &str) -> bool {
    let line = line.replace("2>&1", "");
    let command = line.split(['|', '>', '&', ';']).map(str::trim).find(|part| part.starts_with("cachalot "));
    let Some(command) = command else { return false };
    let mut words = Vec::new();
    // Quoted words may have spaces.
    for (index, part) in command.split(['\'', '"']).enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    if let Err(error) = Cli::parse_words(&words) {
        assert!(!error.use_stderr(), "{line}: {error}");
    }
    true
}

#[test]
fn the_first_minute_can_be_measured() {
    let home = TestHome::new();
    let script = format!(
        "PROGRAM=$CACHALOT MODEL=fixture RUNS=1 {}",
        repository().join("bench/first_minute.sh").canonicalize().unwrap().display()
    );
    let ended = run_to_end(home.shell(&script));
    assert!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
    // README.md has the same rows.
    let rows = |text: &str| -> Vec<String> {
        let table = text.lines().skip_while(|line| *line != "| | time |").skip(2);
        let row = |line: &str| line.strip_prefix("| ")?.split_once(" | ").map(|(step, _)| step.to_owned());
        table.map_while(row).collect()
    };
    assert_eq!(rows(&ended.stdout), rows(&document("README.md")));
    assert_eq!(rows(&ended.stdout).len(), 6);
}
