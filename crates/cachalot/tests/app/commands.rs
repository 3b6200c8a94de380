//! The subcommands as a user runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::process::TestHome;

fn golden_checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

fn run_cachalot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cachalot")).args(args).output().unwrap()
}

/// Runs a command that succeeds. Returns its standard output.
pub(crate) fn stdout(args: &[&str]) -> String {
    let output = run_cachalot(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that fails. Returns its standard error.
pub(crate) fn stderr(args: &[&str]) -> String {
    let output = run_cachalot(args);
    assert!(!output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn write_file(folder: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn score_prints_the_exchange_format_whatever_the_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = write_file(&folder, "tokens.json", "[[0, 17, 4, 99], [0]]");
    let model = golden_checkpoint("v32-fp8");
    let score = |more: &[&str]| {
        let args = ["score", "--model", model.to_str().unwrap(), "--tokens", &tokens];
        stdout(&[&args[..], more].concat())
    };
    let lines: Vec<Value> = score(&["--top", "3"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    let second = &lines[1];
    assert_eq!((&second["seq"], &second["position"], &second["token"]), (&json!(0), &json!(1), &json!(17)));
    let top: Vec<f64> = second["top"].as_array().unwrap().iter().map(|pair| pair[1].as_f64().unwrap()).collect();
    assert!(top.len() == 3 && top[0] >= top[1] && top[1] >= top[2] && top[0] <= 0.0, "{top:?}");

    let logits = score(&["--logits"]);
    assert_eq!(logits, score(&["--logits", "--chunk", "1"]));
    let row: Value = serde_json::from_str(logits.lines().nth(1).unwrap()).unwrap();
    let row: Vec<f64> = row["logits"].as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap()).collect();
    let of_4 = row[4] - row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    assert!((second["next"].as_f64().unwrap() - of_4).abs() < 1e-9, "the token after position 1 is 4");
    assert!(lines[3].get("next").is_none() && lines[4].get("next").is_none(), "nothing follows the last token");

    assert_eq!(score(&["--mtp"]).lines().count(), 3);
    let greedy: Value = serde_json::from_str(&score(&["--greedy", "5"])).unwrap();
    assert_eq!(greedy[0]["continuation"].as_array().unwrap().len(), 5);
}

/// A copy of a golden checkpoint.
fn copy_golden(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden_checkpoint(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}

/// The only file of weights, or the first.
fn weights_file(folder: &Path) -> PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    files.remove(0)
}

#[test]
fn score_fails_where_the_weights_are_not_numbers() {
    let folder = copy_golden("v3-f32");
    let file_of_weights = weights_file(folder.path());
    let mut bytes = std::fs::read(&file_of_weights).unwrap();
    let header = weights::Header::parse("w", &bytes).unwrap();
    let tensor = header.tensors.iter().find(|tensor| tensor.name.ends_with("input_layernorm.weight")).unwrap();
    // These bits are NaN in every number format.
    bytes[tensor.range.start as usize..tensor.range.end as usize].fill(0xff);
    std::fs::write(&file_of_weights, bytes).unwrap();
    let tokens = write_file(&folder, "tokens.json", "[[0, 17, 4, 99]]");
    for more in [&[][..], &["--logits"], &["--greedy", "3"]] {
        let error =
            stderr(&[&["score", "--model", folder.path().to_str().unwrap(), "--tokens", &tokens], more].concat());
        assert!(error.contains("sequence 0") && error.contains("weights are damaged"), "{more:?}: {error}");
    }
}

#[test]
fn a_checkpoint_whose_files_are_not_what_they_should_be_is_refused_by_name() {
    let tokens = tempfile::tempdir().unwrap();
    let tokens = write_file(&tokens, "tokens.json", "[[0, 17]]");
    let complaints = |folder: &Path| {
        let folder = folder.to_str().unwrap();
        [stderr(&["inspect", folder]), stderr(&["score", "--model", folder, "--tokens", &tokens])]
    };
    for length in [-1, -9, 1] {
        let folder = copy_golden("v3-f32");
        let file_of_weights = weights_file(folder.path());
        let mut bytes = std::fs::read(&file_of_weights).unwrap();
        bytes.resize((bytes.len() as i64 + length) as usize, 0);
        std::fs::write(&file_of_weights, bytes).unwrap();
        let name = file_of_weights.file_name().unwrap().to_str().unwrap();
        for error in complaints(folder.path()) {
            assert!(error.contains(name) && error.contains("download it again"), "{length}: {error}");
        }
    }
    for name in ["generation_config.json", "tokenizer_config.json"] {
        for broken in ["", "{", "[]", "null", "{\"temperature\": NaN}", "<html>"] {
            let folder = copy_golden("v3-f32");
            std::fs::write(folder.path().join(name), broken).unwrap();
            for error in complaints(folder.path()) {
                assert!(error.contains(name), "{name} {broken}: {error}");
            }
        }
    }
}

#[test]
fn names_and_sizes_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("cachalot.db").display());
    let long = "x".repeat(65);
    for name in [&*long, "a\u{202e}b", "a\u{1b}[31m", "a\nb", "a\u{200b}", " "] {
        for command in
            [&["key", "add", name][..], &["project", "add", name], &["user", "add", name, "--role", "viewer"]]
        {
            let error = stderr(&[command, &["--store", &store]].concat());
            assert!(error.contains("1 to 64 characters"), "{command:?}: {error}");
        }
    }
    for size in ["99999999999999999999GiB", "0", "0GiB", "17000000TiB", "18446744073709551616"] {
        for switch in ["--cache-memory", "--disk-cache-bytes"] {
            let error =
                stderr(&["serve", "--model", "fixture", "--listen", "127.0.0.1:0", "--store", "off", switch, size]);
            assert!(error.contains(switch) && error.contains(size), "{error}");
        }
    }
    for (command, word) in [
        (&["key", "add", "a", "--expires", "99999999999999999999d"][..], "--expires"),
        (&["key", "add", "a", "--expires", "36601d"], "--expires"),
        (&["key", "add", "a", "--expires", "0d"], "--expires"),
        (&["key", "add", "a", "--budget", "NaN"], "--budget"),
        (&["key", "add", "a", "--budget", "inf"], "--budget"),
        (&["key", "add", "a", "--budget", "1e30"], "--budget"),
        (&["key", "add", "a", "--budget=-1"], "--budget"),
        (&["key", "add", "a", "--rpm", "0"], "--rpm"),
        (&["key", "add", "a", "--models", "a\u{202e}"], "--models"),
        (&["usage", "--days", "99999999999"], "--days"),
    ] {
        let error = stderr(&[command, &["--store", &store]].concat());
        assert!(error.contains(word), "{command:?}: {error}");
    }
    for (settings, word) in [
        ("[cache]\ndisk_bytes = '99999999999999999999GiB'", "disk_bytes"),
        ("[server]\nshutdown_grace_s = 18446744073709551615", "shutdown_grace_s"),
        ("[server]\nshutdown_grace_s = 9223372036854775807", "shutdown_grace_s"),
        ("[server]\nreply_keepalive_s = 0", "reply_keepalive_s"),
        ("[engine]\nbatch_tokens = 0", "batch_tokens"),
        ("[engine]\nmax_running = 9223372036854775807", "max_running"),
        ("[aliases]\n\"a\\u202e\" = 'deepseek-chat'", "1 to 64"),
        ("[[server.keys]]\nname = \"a\\u202e\"\nkey_env = 'PATH'", "1 to 64"),
        ("[[providers]]\nname = 'vllm'\nweight = 99999999999", "weight"),
    ] {
        let config = write_file(&folder, "cachalot.toml", settings);
        let error =
            stderr(&["serve", "--model", "fixture", "--listen", "127.0.0.1:0", "--store", "off", "--config", &config]);
        assert!(error.contains(word), "{settings}: {error}");
    }
}

#[test]
fn score_refuses_tokens_it_cannot_score() {
    let folder = tempfile::tempdir().unwrap();
    let model = golden_checkpoint("v3-f32");
    for (content, complaint) in [("[[512]]", "vocabulary ends at 511"), ("[[]]", "is empty"), ("{}", "list of lists")] {
        let tokens = write_file(&folder, "tokens.json", content);
        let output = run_cachalot(&["score", "--model", model.to_str().unwrap(), "--tokens", &tokens]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(complaint), "{content}: {error}");
    }
}

#[test]
fn render_prints_the_prompt_its_ids_and_the_parsed_answer() {
    let folder = tempfile::tempdir().unwrap();
    let body = write_file(
        &folder,
        "body.json",
        r#"{"model": "deepseek-reasoner", "messages": [{"role": "user", "content": "hi <think>"}]}"#,
    );
    let prompt = "<｜begin▁of▁sentence｜><｜User｜>hi <think><｜Assistant｜><think>";
    assert_eq!(stdout(&["render", "--model", "fixture", &body]), prompt);
    let ids: Vec<u32> = serde_json::from_str(&stdout(&["render", "--model", "fixture", "--ids", &body])).unwrap();
    let marker = *ids.last().unwrap();
    assert_eq!(ids.iter().filter(|id| **id == marker).count(), 1, "what the user writes is never a control token");

    let completion = write_file(&folder, "completion.txt", "Let me see.</think>It is late.");
    let parse = ["render", "--model", "fixture", "--parse", "--think", &completion];
    let message: Value = serde_json::from_str(&stdout(&parse)).unwrap();
    assert_eq!(message, json!({ "role": "assistant", "content": "It is late.", "reasoning_content": "Let me see." }));
}

#[test]
fn render_accepts_what_the_server_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let body = |more: &str| {
        let body = format!(r#"{{"model": "a-folder", "messages": [{{"role": "user", "content": "hi"}}]{more}}}"#);
        write_file(&folder, "body.json", &body)
    };
    let strict = body(r#", "tools": [{"type": "function", "function": {"name": "f", "strict": true}}]"#);
    assert!(stdout(&["render", "--model", "fixture", &strict]).ends_with("</think>"));
    // A model that always thinks does so under its own name.
    assert!(stdout(&["render", "--model", "fixture", "--encoding", "r1", &body("")]).contains("hi"));
}

#[test]
fn settings_that_cannot_be_served_are_refused_before_the_model_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let flood = write_file(&folder, "flood.toml", "[server]\nstream_keepalive_s = 0\n");
    let empty = write_file(&folder, "empty.toml", "");
    for (listen, config, complaint) in [
        ("127.0.0.1:0", &flood, "`stream_keepalive_s` takes 1 to 86400 seconds"),
        ("0.0.0.0:0", &empty, "no keys are configured"),
    ] {
        let output =
            run_cachalot(&["serve", "--model", "fixture", "--listen", listen, "--store", "off", "--config", config]);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && log.contains(complaint), "{log}");
        assert!(!log.contains("model loaded"), "{log}");
    }
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_does_not_wait_for_running_answers() {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;

    let mut command = Command::new(env!("CARGO_BIN_EXE_cachalot"));
    command
        .args(["serve", "--model", "fixture", "--listen", "127.0.0.1:0", "--grace", "600"])
        .args(["--disk-cache", "off", "--store", "off"])
        .stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
    let listening = log.find(|line| line.contains("listening on")).unwrap();
    let mut client = TcpStream::connect(listening.rsplit_once("http://").unwrap().1).unwrap();
    // The body stays incomplete.
    let head =
        "POST /chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    client.read_exact(&mut [0; 12]).unwrap();
    let interrupt =
        || assert!(Command::new("kill").args(["-INT", &server.id().to_string()]).status().unwrap().success());
    interrupt();
    log.find(|line| line.contains("no new connections")).unwrap();
    interrupt();
    assert_eq!(server.wait().unwrap().code(), Some(130));
}

#[test]
fn reserved_names_are_models_of_the_program_and_other_spellings_are_folders() {
    let home = TestHome::new();
    let embedded = home.run_ok(&["inspect", "fixture"]);
    assert!(embedded.contains("deepseek_v32") && embedded.contains("8,192 positions"), "{embedded}");
    // A folder of that name, with another model.
    let folder = home.path("fixture");
    std::fs::rename(copy_golden("v3-f32").keep(), &folder).unwrap();
    // The rest of a report depends on the memory that is free at the moment.
    let model = |report: &str| report.split_once("\ncache ").unwrap().0.to_owned();
    assert_eq!(model(&home.run_ok(&["inspect", "fixture"])), model(&embedded));
    for spelling in ["./fixture", "fixture/", folder.to_str().unwrap()] {
        let other = home.run_ok(&["inspect", spelling]);
        assert!(other.contains("deepseek_v3\n"), "{spelling}: {other}");
    }
    let missing = home.run_fails(&["chat", "--model", "./minnow"]);
    assert!(missing.contains("cannot open the checkpoint `./minnow`"), "{missing}");
}

#[test]
fn inspect_describes_a_checkpoint() {
    let text = stdout(&["inspect", golden_checkpoint("v32-fp8").to_str().unwrap()]);
    assert!(text.contains("deepseek_v32") && text.contains("F8_E4M3"), "{text}");
    let output = run_cachalot(&["inspect", "/no/such/folder"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("/no/such/folder"));
}
