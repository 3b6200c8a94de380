//! How a server starts and ends, and what stands in its way.

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
    // The other commands go on.
    home.run_ok(&["key", "add", "alice"]);
    home.run_ok(&["usage"]);
    // However it ends, the folder is free.
    first.kill();
    home.serve(&[]).stop();
}

/// Every file and folder below.
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
fn what_is_created_is_private_whatever_the_umask() {
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
        let arguments = if number % 2 == 0 { &SERVE_ARGS[..] } else { &["serve", "--listen", "127.0.0.1:0"] };
        let server = Server::spawn(home.command(arguments));
        std::thread::sleep(Duration::from_millis(delay));
        server.signal("TERM");
        let (status, log) = server.wait_for_exit(Duration::from_secs(10));
        // Before the program itself runs, nothing can be caught.
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
        server.wait_for_log("configuration read again");
        assert_eq!(server.get("/healthz", &[]).0, 200);
        server.signal("TERM");
        let (status, log) = server.wait_for_exit(Duration::from_secs(10));
        assert!(status.success() && log.contains("stopped"), "{status}: {log}");
    }
}

#[cfg(unix)]
#[test]
fn a_limit_of_file_sizes_is_an_error_and_not_the_end() {
    let home = TestHome::new();
    for command in ["serve --model none --listen 127.0.0.1:0", "key add alice"] {
        let ended = run_to_end(home.shell(&format!("ulimit -f 8; exec \"$CACHALOT\" {command}")));
        // The end by a signal has no code.
        assert_eq!(ended.status.code(), Some(1), "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains("error: the store"), "{command}: {}", ended.stderr);
    }
    home.serve(&[]).stop();
}

/// Holds a lock on the database until it is told to let go.
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
            // A test that fails drops its end.
            let _ = released.recv();
            connection.execute("rollback").await.unwrap();
            connection.close().await.unwrap();
        });
    });
    is_locked.recv().unwrap();
    (release, held)
}

#[test]
fn a_database_that_is_locked_at_the_start_is_waited_for_and_that_is_said() {
    let home = TestHome::new();
    home.serve(&[]).stop();
    for lock in ["begin immediate", "pragma locking_mode = exclusive; begin exclusive"] {
        let (release, held) = lock_database(&home.data_path("cachalot.db"), lock);
        let begun = Instant::now();
        let mut server = Server::spawn(home.command(&SERVE_ARGS));
        server.wait_for_log("locked by another process");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!server.log().contains("listening"), "{}", server.log());
        release.send(()).unwrap();
        held.join().unwrap();
        server.wait_for_log("listening on");
        server.stop();

        // Whoever waits can be stopped.
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

/// Runs a command as a user who may not write what others own; `None` where that
/// cannot be done here.
#[cfg(unix)]
fn as_unprivileged_user(mut command: Command) -> Option<Command> {
    if std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).ok()? != 0 {
        return Some(command);
    }
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(command.get_program());
    nobody.args(command.get_args()).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    nobody.current_dir(command.get_current_dir()?);
    // It may not have the program, or the path to ours is closed to it.
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
    // That of another user would be refused first.
    std::fs::remove_file(home.data_path("admin-token")).unwrap();
    for path in [home.path(""), home.path("data")] {
        set(&path, 0o755);
    }
    for (of_folder, of_file) in [(0o555, 0o444), (0o777, 0o444), (0o555, 0o666)] {
        for path in files_below(&home.data_path("")) {
            set(&path, if path.is_dir() { of_folder } else { of_file });
        }
        for command in [&SERVE_ARGS[..], &["key", "list"], &["key", "add", "alice"]] {
            let Some(command) = as_unprivileged_user(home.command(command)) else {
                eprintln!("skipped: there is no user here who may not write everything");
                return;
            };
            let ended = run_to_end(command);
            assert!(!ended.status.success(), "{}{}", ended.stdout, ended.stderr);
            assert!(ended.stderr.contains("data/cachalot") && !ended.stderr.contains("panicked"), "{}", ended.stderr);
            assert!(
                ["cannot be written", "Permission denied"].iter().any(|words| ended.stderr.contains(words)),
                "{}",
                ended.stderr
            );
        }
    }
    // So that it can be removed.
    for path in files_below(&home.data_path("")) {
        set(&path, 0o700);
    }
}

#[cfg(unix)]
fn make_pipe(path: &Path) {
    // There may be a file.
    let _ = std::fs::remove_file(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_pipe_or_a_device_in_the_place_of_a_file_is_an_error_that_names_it() {
    let home = TestHome::new();
    let pipe = home.path("pipe");
    make_pipe(&pipe);
    let config = home.path("with-prices.toml");
    std::fs::write(&config, format!("[gateway]\nprices = \"{}\"\n", pipe.display())).unwrap();
    let config = config.to_str().unwrap();
    let paths = [
        (pipe.to_str().unwrap(), "a pipe (FIFO)"),
        ("/dev/zero", "a device"),
        (home.path("").to_str().unwrap(), "a folder"),
    ]
    .map(|(path, what)| (path.to_owned(), what));
    for (path, what) in &paths {
        let store = format!("sqlite:{path}");
        for arguments in [
            [&SERVE_ARGS[..], &["--store", "off", "--config", path]].concat(),
            [&SERVE_ARGS[..], &["--store", &store]].concat(),
            vec!["key", "list", "--store", &store],
            vec!["score", "--tokens", path],
            vec!["render", path],
            vec!["provider", "import", path],
            vec!["price", "import", path, "--date", "2026-11-27"],
        ] {
            let refused = home.run_fails(&arguments);
            assert!(refused.contains(what) && refused.contains(path.trim_end_matches('/')), "{arguments:?}: {refused}");
        }
    }
    assert!(home.serve_fails(&["--store", "off", "--config", config]).contains("a pipe (FIFO)"));
    // The file that nobody names.
    make_pipe(&home.path("cachalot.toml"));
    assert!(home.serve_fails(&["--store", "off"]).contains("cachalot.toml"));
    std::fs::remove_file(home.path("cachalot.toml")).unwrap();
    // What lies in the data folder.
    home.serve(&[]).stop();
    for name in ["admin-token", "cachalot.db-wal", "cachalot.db-shm", "server.lock", "journal/1.alone.journal"] {
        let (path, kept) = (home.data_path(name), home.path("kept"));
        let was_there = std::fs::rename(&path, &kept).is_ok();
        make_pipe(&path);
        let refused = home.serve_fails(&[]);
        assert!(refused.contains("a pipe (FIFO)") && refused.contains(name), "{name}: {refused}");
        std::fs::remove_file(&path).unwrap();
        if was_there {
            std::fs::rename(&kept, &path).unwrap();
        }
    }
    let refused = run_to_end({
        let mut command = home.command(&SERVE_ARGS);
        command.env("SSL_CERT_FILE", &pipe);
        command
    });
    assert!(!refused.status.success() && refused.stderr.contains("SSL_CERT_FILE"), "{}", refused.stderr);
    home.serve(&["--config", "/dev/null"]).stop();
}

#[cfg(unix)]
#[test]
fn a_pipe_in_a_checkpoint_is_an_error_that_names_it() {
    let home = TestHome::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/v32-fp8");
    let folder = home.path("model");
    std::fs::create_dir(&folder).unwrap();
    let files: Vec<_> = std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    for name in ["config.json", "model-00001-of-000003.safetensors", "model.safetensors.index.json"] {
        for file in files.iter().filter(|file| file.is_file()) {
            std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
        make_pipe(&folder.join(name));
        let inspected = home.run(&["inspect", folder.to_str().unwrap()]);
        let said = inspected.stdout + &inspected.stderr;
        assert!(said.contains("a pipe (FIFO)") && said.contains(name), "{name}: {said}");
        let serve = ["serve", "--store", "off", "--listen", "127.0.0.1:0", "--model", folder.to_str().unwrap()];
        assert!(home.run_fails(&serve).contains(name));
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    for file in files.iter().filter(|file| file.is_file()) {
        std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
    }
    make_pipe(&folder.join("tokenizer.json"));
    let refused = home.run_fails(&["render", "--model", folder.to_str().unwrap(), "/dev/null"]);
    assert!(refused.contains("a pipe (FIFO)") && refused.contains("tokenizer.json"), "{refused}");
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_disk_cache_is_in_nobodys_way() {
    let home = TestHome::new();
    let cache = home.path("prefix");
    for name in [format!("{}.page", "ab".repeat(32)), "lock".into()] {
        make_pipe(&cache.join(name));
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--disk-cache", cache.to_str().unwrap()];
        Server::start(home.command(&arguments)).stop();
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

/// A runtime none of whose threads comes back.
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
    unreachable!("no thread is left that could ring");
}

/// Starts that must fail: their switches, and words of the complaint.
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
        (["--context", "999999999", "--listen", free], "--context"),
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
