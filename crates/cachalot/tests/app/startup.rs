//! The start and the end of a server, and errors that prevent a start.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::process::{SERVE_ARGS, Server, TestHome, mode, run_to_end};

#[test]
fn a_second_server_on_a_data_folder_refuses_and_names_the_first() {
    let home = TestHome::new();
    let first = home.serve(&[]);
    let refused = home.serve_fails(&[]);
    assert!(refused.contains(&format!("process {}", first.id())), "{refused}");
    assert!(refused.contains(home.data_path("").to_str().unwrap().trim_end_matches('/')), "{refused}");
    // The other commands still work.
    home.run_ok(&["key", "add", "alice"]);
    home.run_ok(&["usage"]);
    // The lock ends with the process, also after SIGKILL.
    first.kill();
    home.serve(&[]).stop();
}

/// The folder with every file and folder below it.
#[cfg(unix)]
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files_below(&path)) } else { all.push(path) }
    }
    all
}

#[cfg(unix)]
#[test]
fn created_files_are_private_under_any_umask() {
    for umask in ["000", "022"] {
        let home = TestHome::new();
        let serve = format!("umask {umask}; exec \"$CACHALOT\" {}", SERVE_ARGS.join(" "));
        let server = Server::start(home.shell(&serve));
        let added = run_to_end(home.shell(&format!("umask {umask}; exec \"$CACHALOT\" key add alice")));
        assert!(added.status.success(), "{}", added.stderr);
        let files = files_below(&home.path("data"));
        for name in
            ["cachalot.db", "cachalot.db-wal", "cachalot.db-shm", "admin-token", "store-id", "server.lock", ".journal"]
        {
            assert!(files.iter().any(|path| path.to_string_lossy().ends_with(name)), "{name}: {files:?}");
        }
        for path in files {
            assert_eq!(mode(&path), if path.is_dir() { 0o700 } else { 0o600 }, "umask {umask}: {}", path.display());
        }
        server.stop();
    }
}

#[cfg(unix)]
#[test]
fn an_admin_token_that_others_can_read_is_refused_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt;
    let home = TestHome::new();
    home.serve(&[]).stop();
    let token = home.data_path("admin-token");
    for mode in [0o644, 0o640, 0o604, 0o622] {
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = home.serve_fails(&[]);
        assert!(refused.contains(&format!("chmod 600 {}", token.display())), "{mode:o}: {refused}");
    }
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o400)).unwrap();
    home.serve(&[]).stop();
}

#[cfg(unix)]
#[test]
fn a_signal_during_the_start_does_no_harm() {
    let home = TestHome::new();
    for (number, delay) in [0, 2, 5, 10, 20, 40, 80, 160, 320].into_iter().enumerate() {
        // With a local model in every other start, which takes longer.
        let with_model = ["serve", "--model", "fixture", "--listen", "127.0.0.1:0"];
        let arguments = if number % 2 == 0 { SERVE_ARGS } else { with_model };
        let server = Server::spawn(home.command(&arguments));
        std::thread::sleep(Duration::from_millis(delay));
        server.signal("TERM");
        let (status, log) = server.wait_for_exit(Duration::from_secs(10));
        // The system ends a process that has not registered its signals yet.
        assert!(status.success() || log.is_empty(), "after {delay} ms: {status}: {log}");
    }
    home.serve(&[]).stop();
}

#[cfg(unix)]
#[test]
fn a_server_handles_signals_before_it_says_that_it_is_ready() {
    let home = TestHome::new();
    for _ in 0..3 {
        let mut server = home.serve(&[]);
        server.signal("HUP");
        server.signal("XFSZ");
        server.wait_for_log("configuration reloaded");
        assert_eq!(server.get("/healthz", &[]).0, 200);
        server.signal("TERM");
        let (status, log) = server.wait_for_exit(Duration::from_secs(10));
        assert!(status.success() && log.contains("stopped"), "{status}: {log}");
    }
}

/// The address in a line of a server.
#[cfg(target_os = "linux")]
fn address_in(line: &str) -> String {
    let (_, rest) = line.split_once("http://").unwrap();
    rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_fails_no_request() {
    let home = TestHome::new();
    let mut server =
        Server::spawn(home.shell("exec \"$CACHALOT\" serve --model none --listen 127.0.0.1:0 2>/dev/full"));
    let address = address_in(&server.wait_for_output("Set up the console"));
    server.set_address(&address);
    for _ in 0..3 {
        assert_eq!(server.get("/healthz", &[]).0, 200);
        assert_eq!(server.get("/v1/models", &[]).0, 200);
    }
    server.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_ends_with_its_terminal() {
    let home = TestHome::new();
    let serve = "exec script -qec \"'$CACHALOT' serve --model none --listen 127.0.0.1:0\" /dev/null";
    let mut server = Server::spawn(home.shell(serve));
    let address = address_in(&server.wait_for_output("listening on http://"));
    server.set_address(&address);
    assert_eq!(server.get("/healthz", &[]).0, 200);
    server.kill(); // the terminal
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(&address).is_ok() {
        assert!(Instant::now() < deadline, "the server outlives its terminal");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(unix)]
#[test]
fn a_limit_of_file_sizes_is_an_error_and_not_the_end() {
    let home = TestHome::new();
    for command in ["serve --model none --listen 127.0.0.1:0", "key add alice"] {
        let ended = run_to_end(home.shell(&format!("ulimit -f 8; exec \"$CACHALOT\" {command}")));
        // A process that is ended by a signal does not have an exit code.
        assert_eq!(ended.status.code(), Some(1), "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains("error: the store"), "{command}: {}", ended.stderr);
    }
    home.serve(&[]).stop();
}

/// Holds a lock on the database until the returned sender is used.
fn lock_database(path: &Path, statements: &'static str) -> (mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let url = format!("sqlite:{}", path.display());
    let (release, released) = mpsc::channel::<()>();
    let (locked, is_locked) = mpsc::channel();
    let held = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use sqlx::{Connection, Executor};
            sqlx::any::install_default_drivers();
            let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
            connection.execute(statements).await.unwrap();
            locked.send(()).unwrap();
            // A failed test drops the sender.
            let _ = released.recv();
            connection.execute("rollback").await.unwrap();
            connection.close().await.unwrap();
        });
    });
    is_locked.recv().unwrap();
    (release, held)
}

#[test]
fn a_start_waits_for_a_locked_database_and_logs_it() {
    let home = TestHome::new();
    home.serve(&[]).stop();
    for lock in ["begin immediate", "pragma locking_mode = exclusive; begin exclusive"] {
        let (release, held) = lock_database(&home.data_path("cachalot.db"), lock);
        let start = Instant::now();
        let mut server = Server::spawn(home.command(&SERVE_ARGS));
        server.wait_for_log("locked by another process");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!server.log().contains("listening"), "{}", server.log());
        release.send(()).unwrap();
        held.join().unwrap();
        server.wait_for_log("listening on");
        server.stop();

        // A waiting server can be stopped.
        let (release, held) = lock_database(&home.data_path("cachalot.db"), lock);
        let mut server = Server::spawn(home.command(&SERVE_ARGS));
        server.wait_for_log("locked by another process");
        server.stop();
        release.send(()).unwrap();
        held.join().unwrap();
    }
}

#[test]
fn a_request_that_hangs_does_not_keep_a_stopped_server_alive() {
    let home = TestHome::new();
    let server = home.serve(&["--grace", "1"]);
    let (release, held) = lock_database(&home.data_path("cachalot.db"), "begin immediate");
    let mut client = TcpStream::connect(server.address()).unwrap();
    let body = r#"{"name": "alice"}"#;
    write!(client, "POST /admin/keys HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.signal("TERM");
    let (status, log) = server.wait_for_exit(Duration::from_secs(15));
    assert!(status.success(), "{status}: {log}");
    release.send(()).unwrap();
    held.join().unwrap();
}

/// The command as an unprivileged user; `None` where this system does not allow it.
#[cfg(unix)]
fn as_unprivileged_user(mut command: Command) -> Option<Command> {
    if std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).ok()? != 0 {
        return Some(command);
    }
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(command.get_program());
    nobody.args(command.get_args()).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    nobody.current_dir(command.get_current_dir()?);
    // `setpriv` may be missing, or the user may not be allowed to run our program.
    let can = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(env!("CARGO_BIN_EXE_cachalot"))
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    command.stdin(std::process::Stdio::null());
    can.then_some(nobody)
}

#[cfg(unix)]
#[test]
fn a_database_that_cannot_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let home = TestHome::new();
    home.serve(&[]).stop();
    // A token of another user would be refused first.
    std::fs::remove_file(home.data_path("admin-token")).unwrap();
    for path in [home.path(""), home.path("data")] {
        set(&path, 0o755);
    }
    for (of_folder, of_file) in [(0o555, 0o444), (0o777, 0o444), (0o555, 0o666)] {
        for path in files_below(&home.data_path("")) {
            set(&path, if path.is_dir() { of_folder } else { of_file });
        }
        for command in [&SERVE_ARGS[..], &["key", "list"], &["key", "add", "alice"]] {
            let reads_only = command == ["key", "list"];
            let Some(command) = as_unprivileged_user(home.command(command)) else {
                eprintln!("skipped: this system has no unprivileged user for the test");
                return;
            };
            let ended = run_to_end(command);
            // SQLite reads a write-protected file if its index is beside it or can be made there.
            if reads_only && ended.status.success() {
                assert!(
                    ended.stdout.starts_with("name") && ended.stderr.is_empty(),
                    "{}{}",
                    ended.stdout,
                    ended.stderr
                );
                continue;
            }
            assert!(!ended.status.success(), "{}{}", ended.stdout, ended.stderr);
            assert!(ended.stderr.contains("data/cachalot") && !ended.stderr.contains("panicked"), "{}", ended.stderr);
            assert!(
                ["cannot be written", "Permission denied"].iter().any(|words| ended.stderr.contains(words)),
                "{}",
                ended.stderr
            );
        }
    }
    // So that the folder can be removed.
    for path in files_below(&home.data_path("")) {
        set(&path, 0o700);
    }
}

#[cfg(unix)]
#[test]
fn a_server_whose_threads_are_all_stuck_still_ends() {
    const STUCK: &str = "CACHALOT_TEST_STUCK";
    if std::env::var_os(STUCK).is_some() {
        block_all_threads();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "startup::a_server_whose_threads_are_all_stuck_still_ends", "--nocapture"])
        .env(STUCK, "1");
    let mut server = Server::spawn(command);
    server.wait_for_log("stuck");
    server.signal("TERM");
    let (status, _) = server.wait_for_exit(Duration::from_secs(25));
    assert_eq!(status.code(), Some(1));
}

/// Blocks all threads of a runtime forever.
#[cfg(unix)]
fn block_all_threads() -> ! {
    let signals = cachalot::shutdown::ShutdownSignals::register().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for _ in 0..2 {
        runtime.spawn(async {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        });
    }
    std::thread::sleep(Duration::from_millis(200));
    eprintln!("stuck");
    runtime.block_on(async {
        signals.requested().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    });
    unreachable!("no thread is left that could drive the timer");
}

/// Starts that must fail: the switches, and a part of the error message.
fn bad_starts(home: &TestHome, taken: &str) -> Vec<(Vec<String>, &'static str)> {
    let config = |name: &str, text: &str| {
        std::fs::write(home.path(name), text).unwrap();
        home.path(name).to_str().unwrap().to_owned()
    };
    let provider = config("provider.toml", "[[providers]]\nname = 'x'\nbase_url = 'ftp://x'\ndialect = 'openai'\n");
    let prices = config("prices.toml", "[gateway]\nprices = 'nowhere.toml'\n");
    let token = config("token.toml", "[server]\nadmin_token_env = 'CACHALOT_TEST_NO_SUCH_VARIABLE'\n");
    let telemetry = config("telemetry.toml", "[telemetry]\notlp = 'collector'\n");
    let free = "127.0.0.1:0";
    [
        (["--model", "/no/such/folder", "--listen", free], "/no/such/folder"),
        (["--model=fixture", "--context=999999999", "--listen", free], "--context"),
        (["--model", "none", "--listen", taken], "cannot listen on"),
        (["--model", "none", "--listen", "0.0.0.0:0"], "no keys are configured"),
        (["--config", &provider, "--listen", free], "base_url"),
        (["--config", &prices, "--listen", free], "nowhere.toml"),
        (["--config", &token, "--listen", free], "CACHALOT_TEST_NO_SUCH_VARIABLE"),
        (["--config", &telemetry, "--listen", free], "otlp"),
    ]
    .map(|(switches, words)| (switches.map(str::to_owned).to_vec(), words))
    .to_vec()
}

#[test]
fn a_start_that_fails_leaves_nothing_in_the_data_folder() {
    let home = TestHome::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for (switches, words) in bad_starts(&home, &listener.local_addr().unwrap().to_string()) {
        let arguments: Vec<&str> = std::iter::once("serve").chain(switches.iter().map(String::as_str)).collect();
        let refused = home.run_fails(&arguments);
        assert!(refused.contains(words), "{switches:?}: {refused}");
        assert!(!home.path("data").exists(), "{switches:?} left files behind: {refused}");
    }
}
