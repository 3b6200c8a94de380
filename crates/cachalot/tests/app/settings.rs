//! Settings from the configuration file and from environment files, and the first lines of a
//! server on a terminal.

use std::time::{Duration, Instant};

use crate::process::{SERVE_ARGS, Server, TestHome, run_to_end};

const KEY: &str = "CACHALOT_TEST_ACME_KEY";

fn config_with_provider(home: &TestHome, more: &str) -> String {
    let path = home.path("cachalot.toml");
    let provider = format!(
        "[[providers]]\nname = 'acme'\nbase_url = 'https://api.acme.example/v1'\ndialect = 'openai'\nmodels = ['m']\nkey_env = '{KEY}'\n"
    );
    std::fs::write(&path, format!("{more}\n{provider}[aliases]\nfast = 'acme/m'\n")).unwrap();
    path.display().to_string()
}

#[test]
fn a_provider_without_its_key_is_disabled_and_the_server_starts() {
    let home = TestHome::new();
    let config = config_with_provider(&home, "");
    let server = home.serve(&["--config", &config]);
    let log = server.log();
    assert!(log.contains("provider disabled") && log.contains(KEY), "{log}");
    assert_eq!(log.matches("provider disabled").count(), 1, "{log}");
    assert!(server.get("/v1/models", &[]).1.contains("\"data\":[]"), "{}", server.get("/v1/models", &[]).1);
    let token = std::fs::read_to_string(home.data_path("admin-token")).unwrap();
    let (status, listed) = server.get("/admin/providers", &[&format!("Authorization: Bearer {}", token.trim())]);
    assert!(status == 200 && listed.contains("\"disabled\"") && listed.contains(KEY), "{listed}");
    server.stop();
}

#[test]
fn an_environment_file_sets_the_keys() {
    let home = TestHome::new();
    let config = config_with_provider(&home, "");
    let file = home.path("keys.env");
    std::fs::write(&file, format!("# the key of acme\n{KEY}=sk-of-acme\n")).unwrap();
    let file = file.display().to_string();
    let server = home.serve(&["--config", &config, "--env-file", &file]);
    assert!(!server.log().contains("disabled"), "{}", server.log());
    assert!(server.get("/v1/models", &[]).1.contains("\"fast\""), "{}", server.get("/v1/models", &[]).1);
    let log = server.stop();
    assert!(!log.contains("sk-of-acme"), "{log}");
    assert!(home.serve_fails(&["--env-file", "missing.env"]).contains("missing.env"));
}

#[test]
fn other_variables_that_are_missing_stop_the_server() {
    let home = TestHome::new();
    for settings in [
        format!("[[server.keys]]\nname = 'alice'\nkey_env = '{KEY}'\n"),
        format!("[server]\nadmin_token_env = '{KEY}'\n"),
        format!("[store]\nurl_env = '{KEY}'\n"),
        format!("[store]\nredis_env = '{KEY}'\n"),
    ] {
        let config = config_with_provider(&home, &settings);
        let refused = home.serve_fails(&["--config", &config]);
        assert!(refused.contains(KEY) && refused.contains("error: "), "{settings}: {refused}");
    }
}

#[test]
fn the_model_is_a_setting_too() {
    let home = TestHome::new();
    let config = home.path("engine.toml");
    let settings = "[engine]\nmodel = 'fixture'\ncontext = 256\ncache_memory = '64MiB'\ncompute = 'f32'\nthreads = 1\n";
    std::fs::write(&config, settings).unwrap();
    let config = config.display().to_string();
    let mut server =
        Server::start(home.command(&["serve", "--listen", "127.0.0.1:0", "--disk-cache", "off", "--config", &config]));
    let loaded = server.wait_for_log("model loaded");
    for part in ["model=fixture", "compute=F32", "threads=1"] {
        assert!(loaded.contains(part), "{part}: {loaded}");
    }
    assert!(server.log().contains("context=256"), "{}", server.log());
    server.stop();
    // Switches win.
    let mut server = Server::start(home.command(&[&SERVE_ARGS[..], &["--config", &config]].concat()));
    assert!(!server.wait_for_log("listening on").is_empty() && !server.log().contains("model loaded"));
    server.stop();
    std::fs::write(home.path("engine.toml"), "[engine]\ncache_memory = 'much'\n").unwrap();
    assert!(home.run_fails(&["serve", "--config", &config]).contains("`cache_memory` in [engine]"));
}

#[test]
fn a_database_that_cannot_be_reached_is_reported_at_once() {
    let home = TestHome::new();
    let refused_address = "postgres://user:a-password@127.0.0.1:1/cachalot";
    for words in [&["key", "list"][..], &SERVE_ARGS] {
        let start = Instant::now();
        let ended = run_to_end(home.command(&[words, &["--store", refused_address]].concat()));
        assert!(!ended.status.success() && ended.stderr.contains("Connection refused"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("a-password"), "{}", ended.stderr);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}

#[cfg(unix)]
#[test]
fn a_person_at_a_terminal_sees_the_addresses_and_short_lines() {
    use expectrl::{ControlCode, Eof, Expect, Session};
    use std::io::Write;

    let home = TestHome::new();
    let mut command = home.command(&SERVE_ARGS);
    command.stdin(std::process::Stdio::inherit()).env("NO_COLOR", "1");
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    let banner = session.expect("Ctrl-C").unwrap();
    let banner = String::from_utf8_lossy(banner.as_bytes()).into_owned();
    for line in ["  API      http://127.0.0.1:", "  Console  http://127.0.0.1:", "  Model    none", "  Data     "] {
        assert!(banner.contains(line), "{line}: {banner}");
    }
    let address = banner.split("Console  http://").nth(1).unwrap().split('/').next().unwrap();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    write!(client, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    session.expect("200 GET /healthz").unwrap();
    session.write_all(&[ControlCode::EndOfText.into()]).unwrap();
    session.expect("stopped").unwrap();
    session.expect(Eof).unwrap();
}
