//! Models that recommend sampling parameters in their `generation_config.json`. The number of the
//! case is that of docs/api.md, section 5.

use cachalot::config::Profile;
use serde_json::{Value, json};
use testkit::TinyCheckpoint;

use crate::app::TestApp;
use crate::commands::stderr;

/// The folder of a tiny checkpoint with this `generation_config.json`.
fn checkpoint(generation_config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in TinyCheckpoint::default().files() {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    std::fs::write(folder.path().join("generation_config.json"), generation_config).unwrap();
    folder
}

/// The reasoning and the content of an answer.
async fn text(app: &TestApp, thinking: &str, more: Value) -> String {
    let mut body = json!({ "model": "deepseek-chat", "messages": [{ "role": "user", "content": "Say hi" }],
        "thinking": { "type": thinking }, "max_tokens": 40, "seed": 5 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let message = app.reply(body).await["choices"][0]["message"].clone();
    format!("{} {}", message["reasoning_content"], message["content"])
}

#[tokio::test(flavor = "multi_thread")]
async fn case_46_the_defaults_of_the_model_apply_in_the_lenient_profile() {
    let folder = checkpoint(r#"{"temperature": 0}"#);
    let switches = ["--model", folder.path().to_str().unwrap()];
    let lenient = TestApp::start(&switches).await;
    let service = TestApp::start_with_config(&switches, |config| config.compat.profile = Profile::Deepseek).await;
    for thinking in ["disabled", "enabled"] {
        let greedy = text(&lenient, thinking, json!({ "temperature": 0 })).await;
        let sampled = text(&lenient, thinking, json!({ "temperature": 1 })).await;
        assert_ne!(greedy, sampled);
        assert_eq!(text(&lenient, thinking, json!({})).await, greedy);
        assert_eq!(text(&service, thinking, json!({})).await, sampled);
    }
    lenient.stop().await;
    service.stop().await;
}

#[test]
fn a_value_out_of_range_is_refused_with_file_and_field() {
    for (config, complaint) in [
        (r#"{"temperature": 3}"#, "`temperature` is 3, it must be a number from 0 to 2"),
        (r#"{"top_p": 0}"#, "`top_p` is 0, it must be a number above 0 and at most 1"),
        (r#"{"top_k": -1}"#, "`top_k` is -1, it must be an integer from 0 to 4294967295"),
        (r#"{"repetition_penalty": "1.1"}"#, "`repetition_penalty` is \"1.1\", it must be a number from 0.1 to 10"),
    ] {
        let folder = checkpoint(config);
        let folder = folder.path().to_str().unwrap();
        let commands = [
            &["serve", "--listen", "127.0.0.1:0", "--store", "off", "--model", folder][..],
            &["chat", "--model", folder],
            &["inspect", folder],
        ];
        for command in commands {
            let error = stderr(command);
            assert!(error.contains(&format!("`generation_config.json`: {complaint}")), "{command:?}: {error}");
        }
    }
}
