//! The nouns of requests of chat completions.

use serde_json::{Value, json};
use wire::upstream::Dialect;

use crate::Noun;
use crate::nouns::{Nouns, PDF, PNG, merged, schema};

pub(crate) fn nouns() -> Vec<Noun> {
    let user = json!({"role": "user", "content": "hi"});
    let mut nouns = Nouns::new(json!({"messages": [user]}));
    let said = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let text = json!({"type": "text", "text": "look"});
    let call =
        json!({"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"city\":\"Rome\"}"}});
    let called = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let result = |content: Value| json!({"role": "tool", "tool_call_id": "call_1", "content": content});
    let tool = |more: Value| {
        merged(
            &json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": schema()}}),
            &more,
        )
    };
    let tools = json!({"tools": [tool(json!({}))]});
    let mark = json!({"type": "ephemeral", "ttl": "1h"});

    nouns.add("system message", json!({"messages": [{"role": "system", "content": "s"}, user]}));
    nouns.add("developer message", json!({"messages": [{"role": "developer", "content": "s"}, user]}));
    nouns.add("system message after others", json!({"messages": [user, {"role": "system", "content": "s"}]}));
    nouns.add("`name` of a message", json!({"messages": [{"role": "user", "content": "hi", "name": "ann"}]}));
    nouns.add("several text parts", said(json!([text, {"type": "text", "text": "here"}])));
    let image = |image: Value| said(json!([text, {"type": "image_url", "image_url": image}]));
    nouns.add("image as data", image(json!({"url": PNG})));
    nouns.add("image by address", image(json!({"url": "https://example.com/a.png"})));
    nouns.add_beside("`detail` of an image", image(json!({"url": PNG})), image(json!({"url": PNG, "detail": "low"})));
    nouns.add("audio", said(json!([{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}])));
    let system = |parts: Value| json!({"messages": [{"role": "system", "content": parts}, user]});
    nouns.add_beside(
        "image in a system message",
        system(json!([text])),
        system(json!([text, {"type": "image_url", "image_url": {"url": PNG}}])),
    );
    let file = |file: Value| said(json!([{"type": "file", "file": file}]));
    nouns.add("PDF as data", file(json!({"filename": "a.pdf", "file_data": PDF})));
    nouns.add("file by its id", file(json!({"file_id": "file-1"})));
    nouns.add("calls and their results", json!({"messages": [user, called, result(json!("sunny"))]}));
    nouns.add_beside(
        "image in the result of a tool",
        json!({"messages": [user, called, result(json!([text]))]}),
        json!({"messages": [user, called, result(json!([text, {"type": "image_url", "image_url": {"url": PNG}}]))]}),
    );
    nouns.add("`reasoning_content` of an earlier answer", json!({"messages": [user,
        {"role": "assistant", "content": "a", "reasoning_content": "a signed thought"}, user], "thinking": {"type": "enabled"}}));
    let thinking = json!({"thinking": {"type": "enabled"}, "max_tokens": 8000});
    let answered = |answer: Value| json!({"messages": [user, answer, user]});
    let thought = |more: Value| {
        let answer = merged(&json!({"role": "assistant", "content": "a"}), &more);
        merged(&thinking, &json!({"messages": [user, answer, user]}))
    };
    nouns.add_beside(
        "`reasoning_content` without a known signature",
        thought(json!({})),
        thought(json!({"reasoning_content": "another thought"})),
    );
    let mut unsigned = called.clone();
    unsigned["reasoning_content"] = "another thought".into();
    nouns.add_beside(
        "`thinking` in a turn with such reasoning",
        json!({"messages": [user, unsigned, result(json!("sunny"))], "max_tokens": 8000}),
        json!({"thinking": {"type": "enabled"}}),
    );
    let details =
        |details: Value| thought(json!({"reasoning_content": "another thought", "reasoning_details": [details]}));
    let plain = json!({"type": "reasoning.text", "text": "another thought", "format": "anthropic-claude-v1"});
    nouns.add_beside(
        "signature in `reasoning_details`",
        details(plain.clone()),
        details(merged(&plain, &json!({"signature": "s"}))),
    );
    nouns.add_beside(
        "redacted reasoning in `reasoning_details`",
        thought(json!({})),
        thought(json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1"}]})),
    );
    for (name, format) in [
        ("encrypted reasoning of Gemini in `reasoning_details`", "google-gemini-v1"),
        ("encrypted reasoning of Responses in `reasoning_details`", "openai-responses-v1"),
        ("encrypted reasoning of others in `reasoning_details`", "xai-responses-v1"),
    ] {
        let detail = json!({"type": "reasoning.encrypted", "data": "0a1b2c3d.ZW5j", "id": "call_1", "format": format});
        let mut with = called.clone();
        with["reasoning_details"] = json!([detail]);
        nouns.add_beside(
            name,
            json!({"messages": [user, called, result(json!("sunny"))]}),
            json!({"messages": [user, with, result(json!("sunny"))]}),
        );
    }
    nouns.add_beside(
        "`images` of an earlier answer",
        answered(json!({"role": "assistant", "content": "a"})),
        answered(
            json!({"role": "assistant", "content": "a", "images": [{"type": "image_url", "image_url": {"url": PNG}}]}),
        ),
    );
    nouns.add(
        "`refusal` of an earlier answer",
        json!({"messages": [user, {"role": "assistant", "refusal": "no"}, user]}),
    );
    for (name, more) in [
        ("`audio` of an earlier answer", json!({"audio": {"id": "audio_1"}})),
        ("`function_call` of an earlier answer", json!({"function_call": {"name": "f", "arguments": "{}"}})),
    ] {
        let plain = json!({"role": "assistant", "content": "a"});
        nouns.add_beside(name, answered(plain.clone()), answered(merged(&plain, &more)));
    }
    nouns.add(
        "beginning of the answer (`prefix`)",
        json!({"messages": [user, {"role": "assistant", "content": "a", "prefix": true}]}),
    );
    nouns.add_beside(
        "`cache_control` of a part",
        said(json!([text])),
        said(json!([{"type": "text", "text": "look", "cache_control": mark}])),
    );
    nouns.add_beside(
        "`cache_control` of a message",
        said(json!("hi")),
        json!({"messages": [{"role": "user", "content": "hi", "cache_control": mark}]}),
    );
    nouns.add("`cache_control` of the request", json!({"cache_control": mark}));
    nouns.add_beside(
        "`cache_control` of a function",
        tools.clone(),
        json!({"tools": [tool(json!({"function": {"cache_control": mark}}))]}),
    );
    nouns.add_beside(
        "`cache_control` of a tool",
        tools.clone(),
        json!({"tools": [tool(json!({"cache_control": mark}))]}),
    );
    nouns.add("`tools`", tools.clone());
    nouns.add_beside(
        "`strict` of a tool",
        tools.clone(),
        json!({"tools": [tool(json!({"function": {"strict": true}}))]}),
    );
    for (name, choice) in [
        ("`tool_choice: none`", json!("none")),
        ("`tool_choice: auto`", json!("auto")),
        ("`tool_choice: required`", json!("required")),
        ("`tool_choice` of a function", json!({"type": "function", "function": {"name": "f"}})),
    ] {
        nouns.add_beside(name, tools.clone(), json!({"tool_choice": choice}));
    }
    nouns.add_beside("`parallel_tool_calls: false`", tools, json!({"parallel_tool_calls": false}));
    nouns.add("`response_format: json_object`", json!({"response_format": {"type": "json_object"}}));
    nouns.add(
        "`response_format: json_schema`",
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema(), "strict": true}}}),
    );
    nouns.add("`response_format` of another type", json!({"response_format": {"type": "grammar"}}));
    let room = json!({"max_tokens": 8000});
    nouns.add_beside(
        "`thinking.budget_tokens`",
        merged(&room, &json!({"thinking": {"type": "enabled"}})),
        json!({"thinking": {"budget_tokens": 2000}}),
    );
    for (name, reasoning) in [
        ("`reasoning.effort`", json!({"effort": "low"})),
        ("`reasoning.max_tokens`", json!({"max_tokens": 2000})),
        ("`reasoning.enabled`", json!({"enabled": true})),
    ] {
        nouns.add_beside(name, room.clone(), json!({ "reasoning": reasoning }));
    }
    nouns.add_beside("`reasoning_effort`", room.clone(), json!({"reasoning_effort": "low"}));
    nouns.add_beside("`reasoning_effort: none`", room.clone(), json!({"reasoning_effort": "none"}));
    nouns.is_default_of(&[Dialect::Anthropic, Dialect::Bedrock]);
    nouns.add_beside("`thinking: enabled`", room.clone(), json!({"thinking": {"type": "enabled"}}));
    nouns.add_beside("`thinking: disabled`", room, json!({"thinking": {"type": "disabled"}}));
    nouns.is_default_of(&[Dialect::Anthropic, Dialect::Bedrock]);
    for (name, fields) in [
        ("`max_tokens`", json!({"max_tokens": 50})),
        ("`max_completion_tokens`", json!({"max_completion_tokens": 50})),
        ("`temperature`", json!({"temperature": 0.5})),
        ("`temperature` above 1", json!({"temperature": 1.5})),
        ("`top_p`", json!({"top_p": 0.5})),
        ("`frequency_penalty`", json!({"frequency_penalty": 0.5})),
        ("`presence_penalty`", json!({"presence_penalty": 0.5})),
        ("`seed`", json!({"seed": 7})),
        ("`stop`", json!({"stop": ["END"]})),
        ("`stop` of white space", json!({"stop": [" "]})),
        ("more than four `stop`", json!({"stop": ["a", "b", "c", "d", "e"]})),
        ("more than five `stop`", json!({"stop": ["a", "b", "c", "d", "e", "f"]})),
        ("`logit_bias`", json!({"logit_bias": {"17": 5}})),
        ("`logprobs`, `top_logprobs`", json!({"logprobs": true, "top_logprobs": 2})),
        ("`n`", json!({"n": 2})),
        ("`n` above 8", json!({"n": 9})),
        ("`top_k`", json!({"top_k": 20})),
        ("`min_p`", json!({"min_p": 0.1})),
        ("`repetition_penalty`", json!({"repetition_penalty": 1.1})),
        ("`stop_token_ids`", json!({"stop_token_ids": [3]})),
        ("`user`", json!({"user": "u"})),
        ("`user_id`", json!({"user_id": "u"})),
        ("`metadata`", json!({"metadata": {"k": "v"}})),
        ("`store: true`", json!({"store": true})),
        ("`service_tier`", json!({"service_tier": "flex"})),
        ("`safety_identifier`", json!({"safety_identifier": "u"})),
        ("`prompt_cache_key`", json!({"prompt_cache_key": "k"})),
        ("`prompt_cache_retention`", json!({"prompt_cache_retention": "24h"})),
        ("`verbosity`", json!({"verbosity": "low"})),
        ("`prediction`", json!({"prediction": {"type": "content", "content": "a"}})),
        (
            "`modalities`, `audio`",
            json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
        ),
        ("`web_search_options`", json!({"web_search_options": {"search_context_size": "low"}})),
        ("`functions`, `function_call`", json!({"functions": [{"name": "f"}], "function_call": "none"})),
    ] {
        nouns.add(name, fields);
    }
    nouns.list
}
