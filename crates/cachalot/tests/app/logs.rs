//! The log of the program: its level, its format, and the errors that end a command.

use serde_json::Value;

use crate::process::{SERVE_ARGS, Server, TestHome, run_to_end};

/// The lines of a JSON log.
fn lines(log: &str) -> Vec<Value> {
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    log.lines().map(read).collect()
}

#[test]
fn every_line_of_a_json_log_is_an_object() {
    let home = TestHome::new();
    let mut server = Server::spawn(home.command(&[&SERVE_ARGS[..], &["--log-format", "json"]].concat()));
    let listening = lines(&server.wait_for_log("listening on http://")).remove(0);
    let message = listening["message"].as_str().unwrap();
    assert!(listening["level"] == "INFO" && listening["timestamp"].is_string(), "{listening}");
    let address = message.rsplit_once("http://").unwrap().1.to_owned();
    server.set_address(&address);
    assert_eq!(server.get("/healthz", &[]).0, 200);
    let log = lines(&server.stop());
    assert!(log.len() > 2 && log.iter().all(|line| line["message"].is_string()), "{log:?}");
}

#[test]
fn a_start_that_fails_ends_a_json_log_with_an_object() {
    let home = TestHome::new();
    for level in [&[][..], &["--log-level", "off"]] {
        let arguments =
            [&["serve", "--listen", "127.0.0.1:0", "--model", "/no/such/folder", "--log-format", "json"][..], level];
        let log = lines(&home.run_fails(&arguments.concat()));
        let last = log.last().unwrap();
        assert_eq!(last["level"], "ERROR");
        assert!(last["message"].as_str().unwrap().contains("/no/such/folder"), "{last}");
    }
}

#[test]
fn a_level_that_does_not_exist_is_refused_with_the_remedy() {
    let home = TestHome::new();
    let switched = home.run(&["--log-level", "debgu", "provider", "list"]);
    assert_eq!(switched.status.code(), Some(2));
    assert!(switched.stderr.contains("debgu") && switched.stderr.contains("'debug'"), "{}", switched.stderr);
    for (directives, fault) in
        [("debgu", "`debgu` is not a level"), ("gateway=debgu", "`gateway=debgu` is not a directive")]
    {
        let mut command = home.command(&SERVE_ARGS);
        command.env("CACHALOT_LOG", directives);
        let set = run_to_end(command);
        assert_eq!(set.status.code(), Some(1), "{}", set.stderr);
        assert!(set.stderr.contains("CACHALOT_LOG") && set.stderr.contains(fault), "{}", set.stderr);
        assert!(set.stderr.contains("off, error, warn, info, debug or trace"), "{}", set.stderr);
        assert!(!home.path("data").exists(), "a refused start has written files");
    }
}

#[test]
fn the_switch_wins_over_the_environment() {
    let home = TestHome::new();
    let mut command = home.command(&[&SERVE_ARGS[..], &["--log-level", "info"]].concat());
    command.env("CACHALOT_LOG", "off");
    let log = Server::start(command).stop();
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn the_cause_of_an_error_is_printed_once() {
    let home = TestHome::new();
    let file = home.path("file");
    std::fs::write(&file, "").unwrap();
    let inside = file.join("model");
    for arguments in
        [&["inspect", inside.to_str().unwrap()][..], &["render", "--model", "fixture", inside.to_str().unwrap()]]
    {
        let refused = home.run_fails(arguments);
        assert_eq!(refused.matches("os error").count(), 1, "{arguments:?}: {refused}");
    }
}

#[test]
fn the_help_names_the_gateway_and_the_supported_formats() {
    let home = TestHome::new();
    let help = home.run_ok(&["--help"]);
    assert!(help.contains("gateway") && help.contains("--log-format"), "{help}");
    for refused in [["--compute", "fp8"], ["--index", "bf16"]] {
        let help = home.run(&[&["score"][..], &refused].concat());
        assert_eq!(help.status.code(), Some(2), "{}", help.stderr);
        assert!(help.stderr.contains("possible values"), "{}", help.stderr);
    }
}
