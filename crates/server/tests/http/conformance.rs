//! The conformance cases of docs/api.md, section 5.
//!
//! `case_NN` in the name of a test is the number of its case there; tests of other files that are
//! named so count too. The last column of that table gives the evidence of each case: D, documented
//! by the provider; O, observed in its answers; K, required by an official client; C, chosen by
//! this project; S, stated in CometAPI's guide to DeepSeek-V3.2-Exp.

use serde_json::{Value, json};

use crate::app::{TestAppBuilder, chat_request};
use crate::scripted_provider::{ScriptStep, finish_and_usage, text_delta};
use chat::{Delta, FinishReason, Usage};

const DESERIALIZE_PREFIX: &str = "Failed to deserialize the JSON body into the target type: ";

fn deserialize_message(rest: &str) -> String {
    format!("{DESERIALIZE_PREFIX}{rest}")
}

fn with_messages(messages: Value) -> Value {
    chat_request(json!({ "messages": messages }))
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
}

fn tool_call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "get_weather", "arguments": "{}"}})
}

#[tokio::test]
async fn case_1_a_plain_answer_has_the_documented_shape_on_every_prefix() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for prefix in ["", "/v1", "/beta", "/beta/v1"] {
        let path = format!("{prefix}/chat/completions");
        let answer = app.request("POST", &path).json(chat_request(json!({"max_tokens": 16}))).send().await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert!(answer.header("x-request-id").is_some_and(|id| Some(id) == answer.header("x-ds-trace-id")));
        insta::assert_snapshot!("plain", answer.redacted());
    }
}

#[tokio::test]
async fn case_2_the_request_of_cometapis_guide_to_deepseek_v3_2_exp_is_answered() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let body = json!({"model": "deepseek-v3.2-exp", "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Summarize the attached meeting transcript in 3 bullet points."}],
        "max_tokens": 512, "stream": false});
    let answer = app.request("POST", "/v1/chat/completions").json(body).send().await.json();
    assert_eq!(answer["model"], "deepseek-v3.2-exp");
    assert!(answer["choices"][0]["message"].get("reasoning_content").is_none());
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() <= 512);
}

#[tokio::test]
async fn case_3_thinking_model_ids_are_accepted_in_any_case() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for model in ["DeepSeek-V3.2-Exp-thinking", "deepseek-v3.2-EXP-THINKING"] {
        let answer = app.assert_answered(chat_request(json!({"model": model, "max_tokens": 64}))).await;
        assert_eq!(answer.json()["model"], model);
        assert_eq!(answer.json()["choices"][0]["message"]["reasoning_content"], "Compare tenths.");
        assert_eq!(answer.json()["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
    }
}

#[tokio::test]
async fn case_4_thinking_widens_max_tokens_and_sampling_has_no_effect() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let more = json!({"thinking": {"type": "enabled"}, "max_tokens": 65536, "temperature": 0.1, "top_p": 0.5,
        "presence_penalty": 1});
    let answer = app.assert_answered(chat_request(more)).await;
    assert!(answer.json()["choices"][0]["message"]["reasoning_content"].is_string());
    let received = app.provider.received.lock().unwrap();
    assert_eq!((received[0].sampling.temperature, received[0].max_tokens), (None, Some(65536)));
}

#[tokio::test]
async fn cases_5_to_8_models_and_types() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let reasoner = chat_request(json!({"model": "deepseek-reasoner", "logprobs": true}));
    app.assert_refused(reasoner, "deepseek-reasoner does not support the parameter `logprobs`").await;
    app.assert_refused(chat_request(json!({"model": "gpt-4o"})), "Model Not Exist").await;
    app.assert_refused(json!({"messages": []}), &deserialize_message("missing field `model`…")).await;
    let expected = deserialize_message("messages: invalid type: string \"hi\", expected a sequence…");
    app.assert_refused(with_messages(json!("hi")), &expected).await;
}

#[tokio::test]
async fn cases_9_to_13_the_structure_of_messages() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let user = json!({"role": "user", "content": "a"});
    let empty = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array \
                 instead.";
    app.assert_refused(with_messages(json!([])), empty).await;
    let wizard = deserialize_message("messages[0].role: unknown variant `wizard`…");
    app.assert_refused(with_messages(json!([{"role": "wizard", "content": "x"}])), &wizard).await;
    let last = "The last message of deepseek-chat must be a user message, or an assistant message with prefix mode on…";
    app.assert_refused(with_messages(json!([user, {"role": "assistant", "content": "b"}])), last).await;
    let stray = "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'";
    let answer = json!({"role": "tool", "tool_call_id": "call_00_x", "content": "24"});
    app.assert_refused(with_messages(json!([user, answer])), stray).await;
    let calls = json!({"role": "assistant", "content": null, "tool_calls": [tool_call("a"), tool_call("b")]});
    let one = json!({"role": "tool", "tool_call_id": "a", "content": "24"});
    let insufficient = "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
                        'tool_call_id'. (insufficient tool messages following tool_calls message)";
    app.assert_refused(with_messages(json!([user, calls, one, user])), insufficient).await;
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]);
    app.assert_refused(
        with_messages(image),
        &deserialize_message("messages[0]: unknown variant image_url, expected text"),
    )
    .await;
}

#[tokio::test]
async fn case_14_calls_of_the_current_turn_need_their_reasoning() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let body = |reasoning: Option<&str>, next: bool| {
        let mut calling = json!({"role": "assistant", "content": "", "tool_calls": [tool_call("call_00_x")]});
        if let Some(reasoning) = reasoning {
            calling["reasoning_content"] = reasoning.into();
        }
        let mut messages = vec![
            json!({"role": "user", "content": "a"}),
            calling,
            json!({"role": "tool", "tool_call_id": "call_00_x", "content": "24"}),
        ];
        messages.extend(next.then(|| json!({"role": "user", "content": "b"})));
        chat_request(json!({"model": "deepseek-reasoner", "tools": [tool("get_weather")], "messages": messages}))
    };
    let missing = "Missing `reasoning_content` field in the assistant message at message index 1. For more information, \
                   please refer to https://api-docs.deepseek.com/guides/thinking_mode#tool-calls";
    app.assert_refused(body(None, false), missing).await;
    app.assert_answered(body(Some(""), false)).await;
    app.assert_answered(body(None, true)).await;
}

#[tokio::test]
async fn case_15_reasoning_of_earlier_turns_costs_nothing() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let prompt_tokens = async |assistant: Value| {
        let user = json!({"role": "user", "content": "a"});
        let answer = app.assert_answered(with_messages(json!([user, assistant, user]))).await;
        answer.json()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let with = json!({"role": "assistant", "content": "b", "reasoning_content": "old"});
    let without = json!({"role": "assistant", "content": "b"});
    assert_eq!(prompt_tokens(with).await, prompt_tokens(without).await);
}

#[tokio::test]
async fn cases_16_to_18_ranges_and_types_of_numbers() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for max_tokens in [0, 8193, -1] {
        let text = "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]";
        app.assert_refused(chat_request(json!({ "max_tokens": max_tokens })), text).await;
    }
    for (more, path) in [
        (json!({"max_tokens": "512"}), "max_tokens"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"stream": "yes"}), "stream"),
    ] {
        app.assert_refused(chat_request(more), &deserialize_message(&format!("{path}: invalid type…"))).await;
    }
    for (more, text) in [
        (json!({"temperature": 2.1}), "Invalid temperature value, the valid range of temperature is [0, 2]"),
        (json!({"top_p": 0}), "Invalid top_p value, the valid range of top_p is (0, 1.0]"),
        (
            json!({"frequency_penalty": -3}),
            "Invalid frequency_penalty value, the valid range of frequency_penalty is [-2, 2]",
        ),
        (
            json!({"top_logprobs": 5}),
            "Invalid top_logprobs and logprobs value, logprobs must be set to true if top_logprobs is set",
        ),
        (
            json!({"logprobs": true, "top_logprobs": 21}),
            "Invalid top_logprobs value, the valid range of top_logprobs is [0, 20]",
        ),
    ] {
        app.assert_refused(chat_request(more), text).await;
    }
}

#[tokio::test]
async fn cases_19_and_20_n_and_stop() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    app.assert_refused(chat_request(json!({"n": 2})), "Invalid n value (currently only n = 1 is supported)").await;
    let many = "Invalid stop value, at most 16 stop sequences are supported";
    app.assert_refused(chat_request(json!({"stop": vec!["x"; 17]})), many).await;
    let long = "Invalid stop value, a stop sequence must have 1 to 256 characters";
    app.assert_refused(chat_request(json!({"stop": ""})), long).await;
    for more in [
        json!({"n": 1}),
        json!({"n": null}),
        json!({"stop": vec!["x"; 16]}),
        json!({"stop": ["\n"]}),
        json!({"stop": []}),
        json!({"stop": null}),
    ] {
        app.assert_answered(chat_request(more)).await;
    }
}

#[tokio::test]
async fn cases_21_and_22_formats_and_the_word_json() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let text = "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.";
    app.assert_refused(chat_request(json!({ "response_format": {"type": "json_object"} })), text).await;
    let messages = json!([{"role": "user", "content": "Reply in JSON with key a"}]);
    app.assert_answered(
        json!({"model": "deepseek-chat", "messages": messages, "response_format": {"type": "json_object"}}),
    )
    .await;
    let text = "This response_format type is unavailable now";
    app.assert_refused(chat_request(json!({ "response_format": {"type": "xml"} })), text).await;
    let schema =
        |schema: Value| json!({"type": "json_schema", "json_schema": {"name": "P", "strict": true, "schema": schema}});
    app.assert_refused(
        chat_request(json!({ "response_format": schema(json!({"type": "string", "minLength": 1})) })),
        "Invalid schema for response_format 'P': minLength: this keyword is not supported with strict, leave it out",
    )
    .await;
    app.assert_answered(chat_request(json!({ "response_format": schema(json!({"type": "string"})) }))).await;
    app.assert_answered(chat_request(json!({"response_format": {"type": "text"}}))).await;
}

#[tokio::test]
async fn cases_23_and_24_tools_and_their_choice() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let many: Vec<_> = (0..129).map(|i| tool(&format!("t{i}"))).collect();
    for (tools, text) in [
        (
            json!([]),
            "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        ),
        (
            json!([tool("bad name")]),
            "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that matches the \
             pattern '^[a-zA-Z0-9_-]+$'.",
        ),
        (
            json!(many),
            "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length \
             129 instead.",
        ),
        (json!([tool("a"), tool("a")]), "Tool names must be unique."),
    ] {
        app.assert_refused(chat_request(json!({ "tools": tools })), text).await;
    }
    let no_tools = "Tool choice is set but no tools are provided";
    app.assert_refused(chat_request(json!({"tool_choice": "required"})), no_tools).await;
    let required = json!({"model": "deepseek-reasoner", "tools": [tool("a")], "tool_choice": "required"});
    app.assert_refused(chat_request(required), "deepseek-reasoner does not support this tool_choice").await;
    let required = json!({"tools": [tool("a")], "tool_choice": "required"});
    app.assert_answered(chat_request(required)).await;
    app.assert_answered(chat_request(json!({"tools": [tool("a")], "tool_choice": "auto"}))).await;
}

#[tokio::test]
async fn case_25_the_refusal_of_a_long_prompt_counts_its_tokens() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let prompt_of = |bytes: usize, more: Value| {
        let mut body = chat_request(more);
        body["messages"][0]["content"] = "x".repeat(bytes).into();
        body
    };
    let text = "This model's maximum context length is 131072 tokens. However, you requested 131072 tokens (131072 in the \
                messages, 0 in the completion). Please reduce the length of the messages or completion.";
    app.assert_refused(prompt_of(131_072, json!({})), text).await;
    let text = "This model's maximum context length is 131072 tokens. However, you requested 134096 tokens (130000 in the \
                messages, 4096 in the completion)…";
    app.assert_refused(prompt_of(130_000, json!({"max_tokens": 4096})), text).await;
    app.assert_answered(prompt_of(130_000, json!({}))).await;
}

#[tokio::test]
async fn cases_27_and_28_bodies_that_are_not_json() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let parse = "Failed to parse the request body as JSON:";
    for (body, text) in [
        (&b"{\"model\":\"deepseek-chat\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}"[..], parse),
        (b"{\"model\":\"deepseek-chat\",\"messages\":[", parse),
        (b"", parse),
        (b"null", DESERIALIZE_PREFIX),
        (b"{\"model\":\"a\",\"model\":\"b\"}", parse),
    ] {
        let answer = app.request("POST", "/chat/completions").bytes(body).send().await;
        assert_eq!(answer.status, 400);
        assert!(answer.message().starts_with(text), "{}", answer.message());
    }
}

#[tokio::test]
async fn cases_33_and_34_a_stream_contains_the_whole_answer() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let whole = app.assert_answered(chat_request(json!({"seed": 1, "temperature": 0}))).await.json();
    for include_usage in [false, true] {
        let mut more = json!({"seed": 1, "temperature": 0, "stream": true});
        if include_usage {
            more["stream_options"] = json!({"include_usage": true});
        }
        let answer = app.assert_answered(chat_request(more)).await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("content-encoding"), None);
        let mut events = answer.events();
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        let chunks: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let text = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        assert_eq!(text.collect::<String>(), whole["choices"][0]["message"]["content"].as_str().unwrap());
        let (last, earlier) = chunks.split_last().unwrap();
        assert_eq!(last["usage"], whole["usage"]);
        assert_eq!(last["choices"] == json!([]), include_usage);
        let null_usage = |chunk: &Value| chunk.get("usage").map(Value::is_null);
        assert!(earlier.iter().all(|chunk| null_usage(chunk) == include_usage.then_some(true)));
    }
}

#[tokio::test]
async fn case_36_a_prefix_is_continued_on_the_beta_root() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let body = with_messages(json!([{"role": "user", "content": "Please write quick sort code"},
        {"role": "assistant", "content": "Sure:\n", "prefix": true}]));
    let beta = app.request("POST", "/beta/chat/completions").json(body.clone()).send().await;
    assert_eq!(beta.status, 200);
    app.assert_refused(body, "The prefix parameter is only available on the beta endpoint").await;
}

#[tokio::test]
async fn case_38_models_are_listed_and_found() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let list = app.request("GET", "/models").send().await.json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    for id in ["deepseek-chat", "deepseek-reasoner", "deepseek-v3.2-exp", "DeepSeek-V3.2-Exp-thinking", "org/Minnow"] {
        assert!(ids.contains(&id), "{id} in {ids:?}");
    }
    let one = async |path: &str| app.request("GET", path).send().await;
    let chat = json!({"id": "deepseek-chat", "object": "model", "created": 1_764_547_200, "owned_by": "deepseek"});
    assert_eq!(one("/v1/models/deepseek-chat").await.json(), chat);
    assert_eq!(one("/models/org/Minnow").await.json()["id"], "org/Minnow");
    assert_eq!(one("/beta/v1/models/org%2Fminnow").await.json()["id"], "org/Minnow");
    let unknown = one("/v1/models/nope").await;
    let error = json!({"error": {"message": "The model 'nope' does not exist", "type": "invalid_request_error",
        "param": "model", "code": "model_not_found"}});
    assert_eq!((unknown.status, unknown.json()), (404, error));
    assert_eq!(one("/models/%ff").await.status, 400);
}

#[tokio::test]
async fn case_42_unknown_paths_methods_and_types_return_json_errors() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let code = |answer: &crate::client::Response| answer.json()["error"]["code"].as_str().unwrap().to_owned();
    let unknown = app.request("POST", "/v1/chat/completion").send().await;
    assert_eq!((unknown.status, code(&unknown).as_str()), (404, "not_found"));
    let get = app.request("GET", "/v1/chat/completions").send().await;
    assert_eq!((get.status, get.header("allow"), code(&get).as_str()), (405, Some("POST"), "method_not_allowed"));
    assert_eq!(app.request("DELETE", "/v1/models/deepseek-chat").send().await.status, 405);
    let plain = app.post(chat_request(json!({}))).header("content-type", "text/plain").send().await;
    assert_eq!((plain.status, code(&plain).as_str()), (415, "unsupported_media_type"));
    let untyped = app.post(chat_request(json!({}))).header("content-type", "").send().await;
    assert_eq!(untyped.status, 200);
}

#[tokio::test]
async fn case_44_unknown_and_null_fields_are_ignored() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let more = json!({"foo": 1, "store": true, "metadata": {"a": "b"}, "tools": null, "stop": null, "stream": null,
        "logprobs": null});
    app.assert_answered(chat_request(more)).await;
}

#[tokio::test]
async fn case_45_the_lenient_profile_keeps_sampling_fields_in_thinking_mode() {
    let app = lenient_profile().start().await;
    let more = json!({"thinking": {"type": "enabled"}, "temperature": 0.1, "top_p": 0.5, "frequency_penalty": -1,
        "presence_penalty": 1});
    let answer = app.assert_answered(chat_request(more)).await;
    assert!(answer.json()["choices"][0]["message"]["reasoning_content"].is_string());
    assert_eq!(answer.header("x-compat-note"), None, "the service accepts them as well");
    let received = app.provider.received.lock().unwrap()[0].sampling.clone();
    assert_eq!((received.temperature, received.top_p), (Some(0.1), Some(0.5)));
    assert_eq!((received.frequency_penalty, received.presence_penalty), (Some(-1.0), Some(1.0)));
}

fn lenient_profile() -> TestAppBuilder {
    TestAppBuilder::deepseek_profile().provider(|provider| provider.limits.profile = crate::check::Profile::Lenient)
}

#[tokio::test]
async fn the_lenient_profile_notes_what_it_accepted() {
    let app = lenient_profile().start().await;
    let last = with_messages(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]));
    let answer = app.assert_answered(last).await;
    assert_eq!(answer.header("x-compat-note"), Some("a last assistant message is treated as a prefix"));
    let answer = app.assert_answered(chat_request(json!({"tools": [], "stream": true}))).await;
    assert_eq!(answer.header("x-compat-note"), Some("an empty `tools` is treated as absent"));
    assert_eq!(app.assert_answered(chat_request(json!({}))).await.header("x-compat-note"), None);
}

#[tokio::test]
async fn tool_calls_are_answered_with_empty_text_and_an_index() {
    let call = Delta::ToolCall { index: 0, id: "call_00_x".into(), name: "f".into() };
    let arguments = Delta::Arguments { index: 0, text: "{\"a\": 1}".into() };
    let steps =
        [ScriptStep::Delta(Delta::Start(Usage::default())), ScriptStep::Delta(call), ScriptStep::Delta(arguments)];
    let end =
        finish_and_usage(FinishReason::ToolCalls, Usage { prompt_tokens: 9, completion_tokens: 7, ..Usage::default() });
    let app = TestAppBuilder::deepseek_profile().script(steps.into_iter().chain(end)).start().await;
    insta::assert_snapshot!(
        "tool_calls",
        app.assert_answered(chat_request(json!({"tools": [tool("f")]}))).await.redacted()
    );
    let streamed = app.assert_answered(chat_request(json!({"tools": [tool("f")], "stream": true}))).await;
    insta::assert_snapshot!("tool_calls_streamed", streamed.redacted());
}

#[tokio::test]
async fn one_token_a_delta_keeps_its_log_probability() {
    let token = chat::TokenLogprob { token: "He".into(), logprob: -0.02, bytes: Some(b"He".to_vec()), top: vec![] };
    let steps = [ScriptStep::Delta(Delta::Text { text: "He".into(), logprobs: vec![token] }), text_delta("y")];
    let app = TestAppBuilder::deepseek_profile()
        .script(steps.into_iter().chain(finish_and_usage(FinishReason::Length, Usage::default())))
        .start()
        .await;
    let answer = app.assert_answered(chat_request(json!({"logprobs": true}))).await.json();
    let expected = json!({"content": [{"token": "He", "logprob": -0.02, "bytes": [72, 101], "top_logprobs": []}],
        "reasoning_content": null});
    assert_eq!(answer["choices"][0]["logprobs"], expected);
    assert!(app.assert_answered(chat_request(json!({}))).await.json()["choices"][0]["logprobs"].is_null());
}
