//! `cachalot chat` in a pseudo-terminal, with the embedded model and with a server.
#![cfg(unix)]

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use expectrl::session::OsSession;
use expectrl::{Eof, Expect, Session};
use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};

use crate::process::TestHome;

const CTRL_A: &str = "\x01";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const ENTER: &str = "\r";
const LEFT: &str = "\x1b[D";
const UP: &str = "\x1b[A";

/// A conversation in a pseudo-terminal of 80 columns and 24 rows.
struct Terminal {
    session: OsSession,
}

impl Terminal {
    /// Starts a conversation and waits for its prompt.
    fn start(home: &TestHome, switches: &[&str]) -> Self {
        let mut command = home.command(&[&["chat"], switches].concat());
        command.stdin(Stdio::inherit()).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let mut session = Session::spawn(command).unwrap();
        session.set_expect_timeout(Some(Duration::from_secs(60)));
        let mut terminal = Self { session };
        terminal.wait_for("Ctrl-D ends.");
        terminal.wait_for("> ");
        terminal
    }

    /// Waits for this output and returns everything up to it.
    fn wait_for(&mut self, output: &str) -> String {
        match self.session.expect(output) {
            Ok(found) => String::from_utf8_lossy(found.as_bytes()).into_owned(),
            Err(error) => {
                let mut rest = vec![0; 1 << 16];
                let read = self.session.try_read(&mut rest).unwrap_or(0);
                panic!("no `{output}` ({error}): {:?}", String::from_utf8_lossy(&rest[..read]));
            }
        }
    }

    /// Types keys, slowly enough for a terminal whose buffer is 4,096 bytes, while its output is
    /// read.
    fn press(&mut self, keys: &str) {
        for chunk in keys.as_bytes().chunks(512) {
            self.session.write_all(chunk).unwrap();
            self.session.flush().unwrap();
            if keys.len() > 512 {
                self.drain();
            }
        }
    }

    /// Reads output until there is none for a moment.
    fn drain(&mut self) {
        let mut last = Instant::now();
        let mut bytes = vec![0; 1 << 16];
        while last.elapsed() < Duration::from_millis(50) {
            match self.session.try_read(&mut bytes) {
                Ok(read) if read > 0 => last = Instant::now(),
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Types a line and waits for the answer of [`counting_server`].
    fn ask(&mut self, line: &str) -> String {
        self.press(line);
        self.press(ENTER);
        let answer = self.wait_for("characters.");
        self.wait_for("> ");
        answer
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        self.session.get_process_mut().set_window_size(columns, rows).unwrap();
    }

    /// Ends the conversation with Ctrl-D and checks the exit code.
    fn end(mut self) {
        self.press(CTRL_D);
        self.session.expect(Eof).unwrap();
        let status = self.session.get_process().wait().unwrap();
        assert!(format!("{status:?}").contains("Exited") && format!("{status:?}").ends_with(", 0)"), "{status:?}");
    }
}

/// A server that answers with the number of lines and characters of the last message, and whose
/// answer to `wait` never ends.
async fn counting_server() -> FakeUpstream {
    FakeUpstream::start(|request| {
        if request.path.ends_with("/models") {
            return FakeResponse::json(200, json!({"object": "list", "data": [{"id": "counter"}, {"id": "other"}]}));
        }
        let body = request.json();
        let last = body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned();
        let (lines, characters) = (last.lines().count(), last.chars().count());
        if last == "wait" {
            let chunk = json!({"choices": [{"index": 0, "delta": {"content": "It begins "}}]});
            let first = BodyStep::Send(format!("data: {chunk}\n\n").into_bytes());
            return FakeResponse::stream([first, BodyStep::Wait(Duration::from_secs(600))]);
        }
        FakeResponse::chat_stream(&[&format!("{lines} lines, "), &format!("**{characters}** characters.")], 3)
    })
    .await
}

/// The last message that a server received.
fn last_message(server: &FakeUpstream) -> String {
    messages(server).pop().unwrap()
}

/// The texts of the last request.
fn messages(server: &FakeUpstream) -> Vec<String> {
    let body = server.requests().last().unwrap().json();
    let text = |message: &Value| message["content"].as_str().unwrap().to_owned();
    body["messages"].as_array().unwrap().iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_edited_and_remembered() {
    let (home, server) = (TestHome::new(), counting_server().await);
    let url = server.base_url();
    let mut terminal = Terminal::start(&home, &["--url", &url]);
    let answer = terminal.ask(&format!("hello wrld{LEFT}{LEFT}{LEFT}o"));
    assert!(answer.contains("1 lines, ") && answer.contains("\x1b[0;1m**11**"), "{answer:?}");
    assert_eq!(last_message(&server), "hello world");
    terminal.ask(&format!("{UP}{CTRL_A}again: "));
    assert_eq!(messages(&server), ["hello world", "1 lines, **11** characters.", "again: hello world"]);
    terminal.end();
    // The next conversation has the lines of the last one.
    let mut terminal = Terminal::start(&home, &["--url", &url]);
    terminal.ask(&format!("{UP}{UP}"));
    assert_eq!(messages(&server), ["hello world"]);
    terminal.end();
    let history = home.path("state/cachalot/chat-history");
    assert_eq!(crate::process::mode(&history), 0o600);
    let mut private = Terminal::start(&home, &["--url", &url, "--no-history"]);
    private.ask("a secret");
    private.end();
    assert!(!std::fs::read_to_string(history).unwrap().contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pasted_lines_are_one_message_and_a_line_has_any_length() {
    let (home, server) = (TestHome::new(), counting_server().await);
    let mut terminal = Terminal::start(&home, &["--url", &server.base_url()]);
    let pasted: Vec<String> = (0..200).map(|line| format!("line {line} of the text")).collect();
    terminal.press(&format!("\x1b[200~{}\x1b[201~", pasted.join("\n")));
    let answer = terminal.ask("");
    assert!(answer.contains("200 lines, "), "{answer:?}");
    assert_eq!(last_message(&server), pasted.join("\n"));
    let long = "abcdefghi ".repeat(2000);
    let answer = terminal.ask(&format!("{long}end"));
    assert!(answer.contains("**20003**"), "{answer:?}");
    assert_eq!(last_message(&server), format!("{long}end"));
    // A block and a continued line show another prompt.
    terminal.press("\"\"\"\r");
    terminal.wait_for("… ");
    terminal.press("a\r\rb\r");
    terminal.ask("\"\"\"");
    assert_eq!(last_message(&server), "a\n\nb");
    terminal.press("one\\\r");
    terminal.wait_for("… ");
    terminal.ask("two");
    assert_eq!(last_message(&server), "one\ntwo");
    terminal.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_an_answer_or_drops_a_line_and_never_ends_the_program() {
    let (home, server) = (TestHome::new(), counting_server().await);
    let mut terminal = Terminal::start(&home, &["--url", &server.base_url()]);
    terminal.press("wait\r");
    terminal.wait_for("It begins ");
    terminal.press(CTRL_C);
    terminal.wait_for("> ");
    // The key is pressed while the line is edited: before, it would be a signal.
    terminal.press("never sent");
    terminal.wait_for("sent");
    terminal.press(CTRL_C);
    terminal.wait_for("> ");
    terminal.ask("next");
    assert_eq!(messages(&server), ["wait", "It begins ", "next"]);
    terminal.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_survives_a_resized_window() {
    let (home, server) = (TestHome::new(), counting_server().await);
    let mut terminal = Terminal::start(&home, &["--url", &server.base_url()]);
    let text = "words that need more than one line of a narrow window ".repeat(4);
    terminal.press(&text);
    for (columns, rows) in [(20, 5), (200, 50), (10, 2), (80, 24)] {
        terminal.resize(columns, rows);
        terminal.drain();
    }
    terminal.ask("end");
    assert_eq!(last_message(&server), format!("{text}end"));
    terminal.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_carried_out() {
    let (home, server) = (TestHome::new(), counting_server().await);
    let mut terminal = Terminal::start(&home, &["--url", &server.base_url(), "--key", "sk-of-the-caller"]);
    let command = |terminal: &mut Terminal, line: &str, answer: &str| {
        terminal.press(&format!("{line}{ENTER}"));
        terminal.wait_for(answer);
        terminal.wait_for("> ");
    };
    // Tab completes.
    command(&mut terminal, "/he\t", "/set [NAME VALUE]");
    command(&mut terminal, "/hlep", "did you mean `/help`?");
    command(&mut terminal, "/system Count.", "the system prompt is set");
    command(&mut terminal, "/set temperature 0.2", "temperature is 0.2");
    command(&mut terminal, "/think on", "thinking is on");
    command(&mut terminal, "/model othr", "did you mean `other`?");
    command(&mut terminal, "/model other", "other: at 127.0.0.1");
    command(&mut terminal, "/verbose on", "speeds are printed");
    terminal.press("hello\r");
    terminal.wait_for("2 tokens in");
    terminal.wait_for("> ");
    let request = server.requests().last().unwrap().clone();
    let body = request.json();
    assert_eq!((&body["model"], &body["temperature"]), (&json!("other"), &json!(0.2)));
    assert_eq!(body["thinking"], json!({"type": "enabled"}));
    assert_eq!(messages(&server), ["Count.", "hello"]);
    assert_eq!(request.header("authorization"), Some("Bearer sk-of-the-caller"));
    command(&mut terminal, "/save talk.json", "saved to `talk.json`");
    command(&mut terminal, "/new", "a new conversation begins");
    command(&mut terminal, "/load talk.json", "loaded 2 messages");
    terminal.ask("more");
    assert_eq!(messages(&server).len(), 4);
    terminal.press("/exit\r");
    terminal.session.expect(Eof).unwrap();
}

#[test]
fn the_embedded_model_answers_in_a_terminal() {
    let home = TestHome::new();
    let mut terminal = Terminal::start(&home, &["--model", "fixture", "--context", "512", "--verbose"]);
    for _ in 0..2 {
        terminal.press("Who are you?\r");
        let answer = terminal.wait_for("tokens/s");
        assert!(answer.contains("first token after"), "{answer:?}");
        terminal.wait_for("> ");
    }
    terminal.press("/model\r");
    terminal.wait_for("fixture: on this machine, context 512 tokens");
    terminal.wait_for("> ");
    terminal.press("/model nothing-of-this-name\r");
    terminal.wait_for("error: ");
    terminal.wait_for("> ");
    terminal.press("/model fixture\r");
    terminal.wait_for("fixture: on this machine");
    terminal.wait_for("> ");
    terminal.end();
}
