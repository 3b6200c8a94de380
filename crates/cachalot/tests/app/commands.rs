//! The subcommands as a user runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

fn cachalot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cachalot")).args(args).output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = cachalot(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn file(folder: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn score_prints_the_exchange_format_whatever_the_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = file(&folder, "tokens.json", "[[0, 17, 4, 99], [0]]");
    let model = golden("v32-fp8");
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

    assert_eq!(score(&["--logits"]), score(&["--logits", "--chunk", "1"]));
    assert_eq!(score(&["--mtp"]).lines().count(), 3);
    let greedy: Value = serde_json::from_str(&score(&["--greedy", "5"])).unwrap();
    assert_eq!(greedy[0]["continuation"].as_array().unwrap().len(), 5);
}

#[test]
fn score_refuses_tokens_it_cannot_score() {
    let folder = tempfile::tempdir().unwrap();
    let model = golden("v3-f32");
    for (content, complaint) in [("[[512]]", "vocabulary ends at 511"), ("[[]]", "is empty"), ("{}", "list of lists")] {
        let tokens = file(&folder, "tokens.json", content);
        let output = cachalot(&["score", "--model", model.to_str().unwrap(), "--tokens", &tokens]);
        let complaint_of = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && complaint_of.contains(complaint), "{content}: {complaint_of}");
    }
}

#[test]
fn render_prints_the_prompt_its_ids_and_the_parsed_answer() {
    let folder = tempfile::tempdir().unwrap();
    let body = file(
        &folder,
        "body.json",
        r#"{"model": "deepseek-reasoner", "messages": [{"role": "user", "content": "hi <think>"}]}"#,
    );
    let prompt = "<｜begin▁of▁sentence｜><｜User｜>hi <think><｜Assistant｜><think>";
    assert_eq!(stdout(&["render", &body]), prompt);
    let ids: Vec<u32> = serde_json::from_str(&stdout(&["render", "--ids", &body])).unwrap();
    let marker = *ids.last().unwrap();
    assert_eq!(ids.iter().filter(|id| **id == marker).count(), 1, "what the user writes is never a control token");

    let completion = file(&folder, "completion.txt", "Let me see.</think>It is late.");
    let message: Value = serde_json::from_str(&stdout(&["render", "--parse", "--think", &completion])).unwrap();
    assert_eq!(message, json!({ "role": "assistant", "content": "It is late.", "reasoning_content": "Let me see." }));
}

#[test]
fn inspect_tells_what_a_checkpoint_is() {
    let text = stdout(&["inspect", golden("v32-fp8").to_str().unwrap()]);
    assert!(text.contains("deepseek_v32") && text.contains("F8_E4M3"), "{text}");
    let output = cachalot(&["inspect", "/no/such/folder"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("/no/such/folder"));
}
