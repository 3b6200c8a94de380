//! `cachalot chat` with a pipe instead of a terminal.

use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;

fn spawn_chat(switches: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cachalot"));
    command
        .args(["chat", "--model", "fixture"])
        .args(switches)
        // The key of a server does not matter to a local model.
        .env("CACHALOT_KEY", "sk-of-a-server")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs a whole conversation. Returns its output.
fn run_chat(switches: &[&str], lines: &str) -> Output {
    let mut child = spawn_chat(switches);
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_piped_conversation_is_answered_without_escape_codes_and_ends_with_its_input() {
    for switches in [&["--context", "512"][..], &["--context", "512", "--think"]] {
        let output = run_chat(switches, "Hello!\n\n/new\nHello again!\n");
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{stderr}");
        assert!(stdout.lines().count() >= 2, "every answer ends its line: {stdout}");
        assert!(!stdout.contains('\x1b') && !stderr.contains('\x1b'), "{stdout:?} {stderr:?}");
    }
}

#[test]
fn a_question_that_does_not_fit_is_refused_and_the_conversation_goes_on() {
    let output =
        run_chat(&["--context", "128"], &format!("{}\nHello!\n/exit\nnever read\n", "many words ".repeat(1000)));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.ends_with("error: 1 of the lines had no answer\n"), "{stderr}");
    assert_eq!(stderr.matches("maximum context length is 128 tokens").count(), 1, "{stderr}");
    assert!(!output.stdout.is_empty());
}

#[test]
fn temperature_and_seed_decide_the_answer() {
    let answer = |switches: &[&str]| {
        let output = run_chat(&[&["--context", "256"], switches].concat(), "Tell me about the sea.\n");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(answer(&["--temperature", "0"]), answer(&["--temperature", "0", "--seed", "2"]));
    let hot = |seed| answer(&["--temperature", "1.5", "--seed", seed]);
    assert_eq!(hot("-1"), hot("-1"));
    assert_ne!(hot("1"), hot("2"));
    for bad in ["2.1", "-1", "NaN", "warm"] {
        let refused = run_chat(&["--temperature", bad], "");
        let stderr = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && stderr.contains("a number from 0 to 2"), "{bad}: {stderr}");
    }
}

/// Runs a whole conversation with a server. The key is in the environment.
fn run_remote(url: &str, switches: &[&str], lines: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cachalot"));
    command.args(["chat", "--url", url]).args(switches).env("CACHALOT_KEY", "sk-from-the-environment");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A refused start does not read its input.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piped_conversation_with_a_server_is_answered_or_fails() {
    let server = FakeUpstream::start(|request| match request.path.as_str() {
        "/v1/models" => FakeResponse::json(200, json!({"data": [{"id": "some-model"}, {"id": "other"}]})),
        _ if request.json()["messages"][0]["content"] == "refuse" => {
            FakeResponse::json(402, json!({"error": {"message": "Insufficient Balance"}}))
        }
        _ if request.json()["messages"][0]["content"] == "who" => FakeResponse::json(401, json!({})),
        _ => FakeResponse::chat_stream(&["**Hi**", "\x1b[2J"], 3),
    })
    .await;
    // A server's address without a path is that of its API below `/v1`.
    let url = format!("http://{}", server.address);
    let output = run_remote(&url, &[], "\"\"\"\ntwo\nlines\n\"\"\"\n");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "**Hi**\x1b[2J\n", "a pipe gets every byte");
    let request = server.requests().pop().unwrap();
    assert_eq!(request.path, "/v1/chat/completions");
    assert_eq!(request.header("authorization"), Some("Bearer sk-from-the-environment"));
    let body = request.json();
    assert_eq!((&body["model"], &body["messages"][0]["content"]), (&json!("some-model"), &json!("two\nlines")));
    assert!(body.get("thinking").is_none() && body.get("temperature").is_none(), "{body}");

    for (switches, lines, fault) in [
        (&[][..], "refuse\nHello!\n", "status=402"),
        (&[], "who\n", "refuses the key: name one with --key or in CACHALOT_KEY"),
        (&["who"], "not read\n", "refuses the key: name one with --key or in CACHALOT_KEY"),
        (&[""], "", "[MESSAGE]"),
        (&[], "/think maybe\n", "takes `on` or `off`"),
        (&[], "\"\"\"\nHello!\n", "is not ended"),
        (&["--model", "some-modle"], "", "did you mean `some-model`?"),
        (&["--threads", "2"], "", "--threads"),
    ] {
        let output = run_remote(&url, switches, lines);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains(fault), "{switches:?} {lines:?}: {stderr}");
    }
    drop(server);
    let output = run_remote("http://127.0.0.1:9", &[], "Hello!\n");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("is a server there?"), "{stderr}");
    assert!(!stderr.contains("sk-from-the-environment"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_the_answer_and_not_the_program() {
    let mut child = spawn_chat(&["--context", "512"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"Tell me a long story.\n").unwrap();
    // The first byte of the answer, at the latest the end of its line.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    stdin.write_all(b"/exit\n").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}
