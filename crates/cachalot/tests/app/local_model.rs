//! The fixture model over HTTP: forced output formats, completions, and cached prompts. The
//! numbers of the cases are those of docs/api.md, section 5.

use serde_json::{Value, json};

use crate::app::TestApp;

fn chat_request(text: &str, more: Value) -> Value {
    let mut body =
        json!({ "model": "deepseek-chat", "messages": [{ "role": "user", "content": text }], "max_tokens": 300 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn weather_tools() -> Value {
    let parameters = json!({
        "type": "object", "properties": { "unit": { "enum": ["celsius", "fahrenheit"] } }, "required": ["unit"]
    });
    json!([{ "type": "function", "function": { "name": "get_weather", "parameters": parameters } }])
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_json_mode_gives_an_object() {
    let app = TestApp::start(&[]).await;
    let mut finished = 0;
    for seed in 0..8 {
        let more = json!({ "response_format": { "type": "json_object" }, "seed": seed, "temperature": 0.3 });
        let reply = app.reply(chat_request("Reply in JSON with key a", more)).await;
        let choice = &reply["choices"][0];
        let text = choice["message"]["content"].as_str().unwrap();
        assert!(text.starts_with('{'), "{text}");
        if choice["finish_reason"] == "stop" {
            finished += 1;
            assert!(serde_json::from_str::<Value>(text).unwrap().is_object());
        }
    }
    assert!(finished > 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_24_a_required_call_is_made_in_both_modes() {
    let app = TestApp::start(&[]).await;
    for model in ["deepseek-chat", "deepseek-reasoner"] {
        let mut finished = 0;
        // A sampled answer may reach `max_tokens` while the model still reasons.
        for seed in 0..4 {
            let more = json!({
                "model": model, "tools": weather_tools(), "tool_choice": "required", "parallel_tool_calls": false,
                "max_tokens": 2000, "seed": seed
            });
            let reply = app.reply(chat_request("Weather?", more)).await;
            let choice = &reply["choices"][0];
            if choice["finish_reason"] == "length" {
                continue;
            }
            finished += 1;
            assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &json!("")));
            let call = &choice["message"]["tool_calls"][0];
            let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
            assert!(["celsius", "fahrenheit"].contains(&arguments["unit"].as_str().unwrap()), "{reply}");
        }
        assert!(finished > 0, "{model}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_37_the_middle_is_filled_in() {
    let app = TestApp::start(&[]).await;
    let body = json!({
        "model": "deepseek-chat", "prompt": "def fib(a):", "suffix": "    return fib(a-1) + fib(a-2)", "max_tokens": 16
    });
    let answer = app.client.post(app.url("/beta/completions")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let completion: Value = answer.json().await.unwrap();
    assert_eq!(completion["object"], "text_completion");
    assert!(completion["choices"][0]["text"].is_string());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_41_a_cached_prompt_is_found_only_by_its_own_user_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let switches = ["--disk-cache", folder.path().to_str().unwrap()];
    let text = (0..200).map(|i| format!("On day {i} the ship went down. ")).collect::<String>();
    let hits = async |app: &TestApp, user: &str| {
        let reply = app.reply(chat_request(&text, json!({ "max_tokens": 2, "user": user }))).await;
        (reply["usage"]["prompt_cache_hit_tokens"].as_u64().unwrap(), reply["usage"]["prompt_tokens"].as_u64().unwrap())
    };
    let app = TestApp::start(&switches).await;
    let (none, prompt) = hits(&app, "alice").await;
    let cached = (prompt - 1) / 64 * 64;
    assert_eq!((none, hits(&app, "alice").await.0, hits(&app, "bob").await.0), (0, cached, 0));
    app.stop().await;
    let app = TestApp::start(&switches).await;
    assert_eq!((hits(&app, "carol").await.0, hits(&app, "alice").await.0), (0, cached));
    assert!(app.metric("cachalot_disk_cache_pages").await > 0.0);
    app.stop().await;
}
