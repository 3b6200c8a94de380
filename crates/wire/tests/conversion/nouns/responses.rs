//! The nouns of requests of `/responses`.

use serde_json::{Value, json};
use wire::upstream::Dialect;

use crate::Noun;
use crate::nouns::{Nouns, PDF, PNG, merged, schema};

pub(crate) fn nouns() -> Vec<Noun> {
    let mut nouns = Nouns::new(json!({"input": [{"role": "user", "content": "hi"}]}));
    let user = json!({"role": "user", "content": "hi"});
    let said = |parts: Value| json!({"input": [{"role": "user", "content": parts}]});
    let text = json!({"type": "input_text", "text": "look"});
    let call = json!({"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{\"city\":\"Rome\"}"});
    let output = |output: Value| json!({"type": "function_call_output", "call_id": "call_1", "output": output});
    let tool = json!({"type": "function", "name": "f", "description": "d", "parameters": schema()});
    let tools = json!({"tools": [tool]});

    nouns.add("`instructions`", json!({"instructions": "s"}));
    nouns.add("`developer` message", json!({"input": [{"role": "developer", "content": "s"}, user]}));
    nouns.add("`input_image` as data", said(json!([text, {"type": "input_image", "image_url": PNG}])));
    nouns.add_beside(
        "`detail` of an image",
        said(json!([text, {"type": "input_image", "image_url": PNG}])),
        said(json!([text, {"type": "input_image", "image_url": PNG, "detail": "low"}])),
    );
    nouns.add("`input_image` by its id", said(json!([text, {"type": "input_image", "file_id": "file-1"}])));
    nouns.add("`input_file` as data", said(json!([{"type": "input_file", "filename": "a.pdf", "file_data": PDF}])));
    nouns
        .add("`input_file` by address", said(json!([{"type": "input_file", "file_url": "https://example.com/a.pdf"}])));
    nouns.add("`input_file` by its id", said(json!([{"type": "input_file", "file_id": "file-1"}])));
    nouns.add("`function_call` and its output", json!({"input": [user, call, output(json!("sunny"))]}));
    nouns.add_beside(
        "image in an output",
        json!({"input": [user, call, output(json!([text]))]}),
        json!({"input": [user, call, output(json!([text, {"type": "input_image", "image_url": PNG}]))]}),
    );
    let custom = json!({"type": "custom_tool_call", "call_id": "call_1", "name": "f", "input": "a"});
    let custom_output = json!({"type": "custom_tool_call_output", "call_id": "call_1", "output": "b"});
    nouns.add("`custom_tool_call` and its output", json!({"input": [user, custom, custom_output]}));
    let answer = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]});
    let with_reasoning = |item: Value| json!({"input": [user, item, answer, user], "reasoning": {"effort": "low"}, "max_output_tokens": 8000});
    let plain = json!({"input": [user, answer, user], "reasoning": {"effort": "low"}, "max_output_tokens": 8000});
    let content = json!([{"type": "reasoning_text", "text": "a signed thought"}]);
    nouns.add_beside(
        "`reasoning` item with its text",
        plain.clone(),
        with_reasoning(json!({"type": "reasoning", "summary": [], "content": content})),
    );
    nouns.add_beside(
        "`summary` of a reasoning item",
        plain.clone(),
        with_reasoning(json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "a signed thought"}]})),
    );
    nouns.add_beside(
        "`encrypted_content` of a reasoning item",
        plain,
        with_reasoning(json!({"type": "reasoning", "summary": [], "encrypted_content": "e"})),
    );
    nouns.add("`item_reference`", json!({"input": [user, {"type": "item_reference", "id": "msg_1"}]}));
    nouns.add(
        "`web_search_call` item",
        json!({"input": [user, {"type": "web_search_call", "id": "ws_1", "status": "completed"}]}),
    );
    nouns.add("`tools` of type `function`", tools.clone());
    nouns.add_beside("`strict` of a tool", tools.clone(), json!({"tools": [merged(&tool, &json!({"strict": true}))]}));
    nouns.add("`tools` of type `custom`", json!({"tools": [{"type": "custom", "name": "f", "description": "d"}]}));
    nouns.add("`tools` of type `namespace`", json!({"tools": [{"type": "namespace", "name": "n", "tools": [tool]}]}));
    nouns.add("`tools` that OpenAI runs", json!({"tools": [{"type": "web_search"}]}));
    for (name, choice) in [
        ("`tool_choice: none`", json!("none")),
        ("`tool_choice: auto`", json!("auto")),
        ("`tool_choice: required`", json!("required")),
        ("`tool_choice` of a function", json!({"type": "function", "name": "f"})),
        (
            "`tool_choice: allowed_tools`",
            json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}),
        ),
        ("`tool_choice` of a tool that OpenAI runs", json!({"type": "web_search"})),
    ] {
        nouns.add_beside(name, tools.clone(), json!({"tool_choice": choice}));
    }
    nouns.add_beside("`parallel_tool_calls: false`", tools, json!({"parallel_tool_calls": false}));
    nouns.add("`text.format: json_object`", json!({"text": {"format": {"type": "json_object"}}}));
    nouns.add(
        "`text.format: json_schema`",
        json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": schema(), "strict": true}}}),
    );
    nouns.add("`text.verbosity`", json!({"text": {"verbosity": "low"}}));
    let room = json!({"max_output_tokens": 8000});
    nouns.add_beside("`reasoning.effort`", room.clone(), json!({"reasoning": {"effort": "low"}}));
    nouns.add_beside("`reasoning.effort: none`", room, json!({"reasoning": {"effort": "none"}}));
    nouns.is_default_of(&[Dialect::Anthropic, Dialect::Bedrock]);
    nouns.add("`reasoning.summary`", json!({"reasoning": {"summary": "detailed"}}));
    for (name, fields) in [
        ("`max_output_tokens`", json!({"max_output_tokens": 50})),
        ("`temperature`", json!({"temperature": 0.5})),
        ("`top_p`", json!({"top_p": 0.5})),
        ("`frequency_penalty`", json!({"frequency_penalty": 0.5})),
        ("`presence_penalty`", json!({"presence_penalty": 0.5})),
        ("`top_logprobs`", json!({"top_logprobs": 2})),
        ("`include` of log-probabilities", json!({"include": ["message.output_text.logprobs"]})),
        ("`include` of encrypted reasoning", json!({"include": ["reasoning.encrypted_content"]})),
        ("`user`", json!({"user": "u"})),
        ("`metadata`", json!({"metadata": {"k": "v"}})),
        ("`store: true`", json!({"store": true})),
        ("`service_tier`", json!({"service_tier": "flex"})),
        ("`safety_identifier`", json!({"safety_identifier": "u"})),
        ("`prompt_cache_key`", json!({"prompt_cache_key": "k"})),
        ("`prompt_cache_retention`", json!({"prompt_cache_retention": "24h"})),
        ("`truncation: auto`", json!({"truncation": "auto"})),
        ("`max_tool_calls`", json!({"max_tool_calls": 3})),
        ("`prompt`", json!({"prompt": {"id": "pmpt_1"}})),
        ("`context_management`", json!({"context_management": [{"type": "compaction"}]})),
        ("`previous_response_id`", json!({"previous_response_id": "resp_1"})),
        ("`conversation`", json!({"conversation": "conv_1"})),
        ("`background: true`", json!({"background": true})),
    ] {
        nouns.add(name, fields);
    }
    nouns.list
}
