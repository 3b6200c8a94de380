//! Text completions, fill-in-the-middle, and the balance. `case_NN`: see conformance.rs.

use chat::{Delta, FinishReason, Input, TokenLogprob, TopLogprob, Usage};
use serde_json::{Value, json};

use crate::app::{TestApp, TestAppBuilder};
use crate::check::Profile;
use crate::client::Response;
use crate::scripted_provider::{ScriptStep, finish_and_usage, text_delta};

async fn post(app: &TestApp, path: &str, body: Value) -> Response {
    app.request("POST", path).json(body).send().await
}

fn fim_request() -> Value {
    json!({"model": "deepseek-chat", "prompt": "def fib(a):", "suffix": "    return fib(a-1) + fib(a-2)", "max_tokens": 128})
}

#[tokio::test]
async fn case_37_the_middle_is_filled_in() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for path in ["/beta/completions", "/beta/v1/completions"] {
        let answer = post(&app, path, fim_request()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let completion = answer.json();
        assert_eq!(completion["object"], "text_completion");
        assert!(completion["choices"][0]["text"].is_string());
    }
    let received = app.provider.received.lock().unwrap()[0].clone();
    let suffix = Some("    return fib(a-1) + fib(a-2)".to_owned());
    assert_eq!(received.input, Input::Text { prefix: "def fib(a):".into(), suffix });
    let mut body = fim_request();
    body["max_tokens"] = 4097.into();
    let refused = post(&app, "/beta/completions", body).await;
    let text = "Invalid max_tokens value, the valid range of max_tokens is [1, 4096]";
    assert_eq!((refused.status, refused.message().as_str()), (400, text));
    let mut body = fim_request();
    body["model"] = "deepseek-reasoner".into();
    let refused = post(&app, "/beta/completions", body).await;
    assert_eq!((refused.status, refused.message().as_str()), (400, "deepseek-reasoner does not support FIM"));
}

#[tokio::test]
async fn a_suffix_outside_the_beta_root_is_noted_by_the_lenient_profile() {
    let app = TestAppBuilder::deepseek_profile()
        .provider(|provider| provider.limits.profile = Profile::Lenient)
        .start()
        .await;
    let answer = post(&app, "/v1/completions", fim_request()).await;
    assert_eq!((answer.status, answer.header("x-compat-note")), (200, Some("`suffix` is accepted outside /beta")));
    let plain = post(&app, "/v1/completions", json!({"model": "deepseek-chat", "prompt": "a"})).await;
    assert_eq!((plain.status, plain.header("x-compat-note")), (200, None));
}

/// An answer of two tokens with log probabilities, behind the prompt if it is repeated.
fn logprobs_script(repeats_prompt: bool) -> Vec<ScriptStep> {
    let token = |token: &str| TokenLogprob {
        token: token.into(),
        logprob: -0.5,
        bytes: Some(token.into()),
        top: vec![TopLogprob { token: "x".into(), logprob: -1.5, bytes: Some(b"x".to_vec()) }],
    };
    let token_delta = |text: &str| ScriptStep::Delta(Delta::Text { text: text.into(), logprobs: vec![token(text)] });
    let usage = Usage { prompt_tokens: 3, completion_tokens: 2, ..Usage::default() };
    let nothing_precedes = TokenLogprob { logprob: f32::NAN, top: Vec::new(), ..token("s") };
    let prompt = Delta::Prompt { text: "say".into(), logprobs: vec![nothing_precedes, token("ay")] };
    let prompt = Some(ScriptStep::Delta(prompt)).filter(|_| repeats_prompt);
    let steps = [ScriptStep::Delta(Delta::Start(usage))].into_iter().chain(prompt);
    let steps = steps.chain([token_delta("é"), token_delta("b")]);
    steps.chain(finish_and_usage(FinishReason::Length, usage)).collect()
}

#[tokio::test]
async fn whole_completions_and_streams_have_the_documented_shape() {
    let app = TestAppBuilder::deepseek_profile().script(logprobs_script(true)).start().await;
    let body = json!({"model": "deepseek-chat", "prompt": "say", "echo": true, "logprobs": 1});
    let whole = post(&app, "/completions", body.clone()).await;
    insta::assert_snapshot!("completion_whole", whole.redacted());
    for include_usage in [false, true] {
        let mut body = body.clone();
        body["stream"] = true.into();
        body["stream_options"] = json!({ "include_usage": include_usage });
        let streamed = post(&app, "/completions", body).await;
        insta::assert_snapshot!(format!("completion_stream_{include_usage}"), streamed.redacted());
    }
}

#[tokio::test]
async fn each_prompt_of_a_list_gets_a_choice_and_the_usage_is_summed() {
    let app = TestAppBuilder::deepseek_profile().script(logprobs_script(false)).start().await;
    let body = json!({"model": "deepseek-chat", "prompt": ["one", "two"], "echo": true});
    let whole = post(&app, "/completions", body.clone()).await;
    insta::assert_snapshot!("completion_whole_of_two", whole.redacted());
    let mut body = body.clone();
    body["stream"] = true.into();
    let streamed = post(&app, "/completions", body).await;
    let mut texts = [String::new(), String::new()];
    let mut finishes = 0;
    let mut usages = Vec::new();
    for event in streamed.events().iter().filter(|event| *event != "[DONE]") {
        let event: Value = serde_json::from_str(event).unwrap();
        let choice = &event["choices"][0];
        texts[choice["index"].as_u64().unwrap() as usize].push_str(choice["text"].as_str().unwrap());
        finishes += usize::from(choice["finish_reason"] == "length");
        usages.extend(event.get("usage").cloned());
    }
    assert_eq!((texts, finishes), (["oneéb".to_owned(), "twoéb".to_owned()], 2));
    assert_eq!((usages.len(), &usages[0]["total_tokens"]), (1, &json!(10)));
    let received = app.provider.received.lock().unwrap();
    let mut prompts: Vec<&Input> = received.iter().map(|chat| &chat.input).collect();
    prompts.dedup();
    assert_eq!(prompts.len(), 4, "{prompts:?}");
}

#[tokio::test]
async fn a_failure_in_the_middle_ends_the_stream() {
    let steps = [
        ScriptStep::Delta(Delta::Start(Usage::default())),
        text_delta("a"),
        ScriptStep::Fail(chat::Error::internal("broken")),
    ];
    let app = TestAppBuilder::deepseek_profile().script(steps).start().await;
    let answer = post(&app, "/completions", json!({"model": "deepseek-chat", "stream": true})).await;
    let events = answer.events();
    assert!(events[events.len() - 2].contains("broken") && events.last().unwrap() == "[DONE]", "{events:?}");
}

#[tokio::test]
async fn without_a_store_the_balance_is_available() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for path in ["/user/balance", "/v1/user/balance", "/beta/user/balance"] {
        let answer = app.request("GET", path).send().await;
        assert_eq!(answer.json(), json!({"is_available": true, "balance_infos": []}));
    }
    let without_key = crate::client::Request::new(app.addr, "GET", "/user/balance").send().await;
    assert_eq!(without_key.status, 401);
}
