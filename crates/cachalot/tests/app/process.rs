//! The program as an operator runs it: a process with a home of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A time that suffices for every step, also on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A home folder. The default data folder is in it.
pub(crate) struct TestHome {
    folder: TempDir,
}

/// The result of a command.
pub(crate) struct ProcessOutput {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl TestHome {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The data folder.
    pub(crate) fn data_path(&self, name: &str) -> PathBuf {
        self.path("data/cachalot").join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cachalot"));
        self.set_environment(command.args(arguments));
        command
    }

    /// A shell script in which `$CACHALOT` is the program.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        self.set_environment(command.args(["-c", script]).env("CACHALOT", env!("CARGO_BIN_EXE_cachalot")));
        command
    }

    fn set_environment(&self, command: &mut Command) {
        command.current_dir(self.folder.path()).env("HOME", self.folder.path()).stdin(Stdio::null());
        command.env("XDG_DATA_HOME", self.path("data")).env("XDG_CACHE_HOME", self.path("cache"));
        command.env("XDG_CONFIG_HOME", self.path("config")).env("XDG_STATE_HOME", self.path("state"));
        command.env_remove("CACHALOT_LOG");
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> ProcessOutput {
        run_to_end(self.command(arguments))
    }

    /// Runs a command that succeeds, and returns its standard output.
    pub(crate) fn run_ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert!(ended.status.success(), "{arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    /// Runs a command that fails, and returns its standard error.
    pub(crate) fn run_fails(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert!(!ended.status.success(), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
        ended.stderr
    }

    /// Starts a server without a local model.
    pub(crate) fn serve(&self, switches: &[&str]) -> Server {
        Server::start(self.command(&[&SERVE_ARGS[..], switches].concat()))
    }

    /// Starts a server that must fail. Returns its standard error.
    pub(crate) fn serve_fails(&self, switches: &[&str]) -> String {
        self.run_fails(&[&SERVE_ARGS[..], switches].concat())
    }
}

/// The arguments of a server without a local model.
pub(crate) const SERVE_ARGS: [&str; 5] = ["serve", "--model", "none", "--listen", "127.0.0.1:0"];

/// Runs a command to its end. Panics after [`TIMEOUT`].
pub(crate) fn run_to_end(mut command: Command) -> ProcessOutput {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (read_in_thread(child.stdout.take().unwrap()), read_in_thread(child.stderr.take().unwrap()));
    let status = wait_with_timeout(&mut child, TIMEOUT);
    ProcessOutput { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn read_in_thread(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Collects the lines of a stream of a process.
fn keep_lines(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let lines = Arc::new(Mutex::new(String::new()));
    let kept = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut kept = kept.lock().unwrap();
            kept.push_str(&line);
            kept.push('\n');
        }
    });
    lines
}

/// Waits for the end of a process, which is killed after `timeout`.
fn wait_with_timeout(child: &mut Child, timeout: Duration) -> ExitStatus {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the process did not end within {timeout:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server process.
pub(crate) struct Server {
    child: Child,
    address: String,
    /// Its standard error.
    log: Arc<Mutex<String>>,
    /// Its standard output.
    output: Arc<Mutex<String>>,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub(crate) fn start(command: Command) -> Self {
        let mut server = Self::spawn(command);
        let line = server.wait_for_log("listening on http://");
        server.address = line.rsplit_once("http://").unwrap().1.trim().to_owned();
        server
    }

    /// Starts a server without waiting until it listens.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = keep_lines(child.stderr.take().unwrap());
        let output = keep_lines(child.stdout.take().unwrap());
        Self { child, address: String::new(), log, output }
    }

    /// Waits for the first line of the log with these words. Panics after [`TIMEOUT`].
    pub(crate) fn wait_for_log(&mut self, words: &str) -> String {
        self.wait_for_line(&self.log.clone(), words)
    }

    /// Waits for the first line of the standard output with these words. Panics after [`TIMEOUT`].
    pub(crate) fn wait_for_output(&mut self, words: &str) -> String {
        self.wait_for_line(&self.output.clone(), words)
    }

    fn wait_for_line(&mut self, lines: &Mutex<String>, words: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let ended = self.child.try_wait().unwrap();
            if let Some(line) = lines.lock().unwrap().lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            assert!(ended.is_none(), "the server has ended: {}", self.log());
            assert!(Instant::now() < deadline, "`{words}` did not appear: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its standard output so far.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
    }

    /// Waits for the end of the server. Returns exit status and log.
    pub(crate) fn wait_for_exit(mut self, timeout: Duration) -> (ExitStatus, String) {
        let status = wait_with_timeout(&mut self.child, timeout);
        // The thread that reads the log may still be at its last lines.
        std::thread::sleep(Duration::from_millis(100));
        (status, self.log())
    }

    /// Shuts the server down by SIGTERM. Returns its log.
    pub(crate) fn stop(self) -> String {
        self.signal("TERM");
        let (status, log) = self.wait_for_exit(TIMEOUT);
        assert!(status.success(), "{status}: {log}");
        log
    }

    /// Ends the server by SIGKILL.
    pub(crate) fn kill(self) {
        self.signal("KILL");
        self.wait_for_exit(TIMEOUT);
    }

    /// The status and the text of an answer. `headers` are whole lines.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let host = if headers.iter().any(|header| header.to_ascii_lowercase().starts_with("host:")) {
            ""
        } else {
            "Host: localhost\r\n"
        };
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("no answer: {answer}")), answer)
    }

    /// Sets the address of a server that was started by [`Server::spawn`].
    pub(crate) fn set_address(&mut self, address: &str) {
        address.clone_into(&mut self.address);
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits until the server lists this number of models of providers. Returns false where it does
    /// not within ten seconds.
    pub(crate) fn wait_for_models(&self, number: usize) -> bool {
        for _ in 0..200 {
            if self.get("/v1/models", &[]).1.matches("\"id\":").count() >= number {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    pub(crate) fn get(&self, path: &str, headers: &[&str]) -> (u16, String) {
        self.request("GET", path, headers, "")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The permissions of a file or folder.
#[cfg(unix)]
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}
