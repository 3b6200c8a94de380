//! The nouns of requests of Anthropic's Messages API.

use serde_json::{Value, json};
use wire::upstream::Dialect;

use crate::Noun;
use crate::nouns::{Nouns, merged, schema};

pub(crate) fn nouns() -> Vec<Noun> {
    let user = json!({"role": "user", "content": "hi"});
    let mut nouns = Nouns::new(json!({"messages": [user]}));
    let said = |blocks: Value| json!({"messages": [{"role": "user", "content": blocks}]});
    let text = json!({"type": "text", "text": "look"});
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let marked = |block: &Value| merged(block, &json!({"cache_control": mark}));
    let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {"city": "Rome"}}]});
    let result = |more: Value| {
        let block = merged(&json!({"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}), &more);
        json!({"messages": [user, call, {"role": "user", "content": [block]}]})
    };
    let tool = json!({"name": "f", "description": "d", "input_schema": schema()});
    let tools = json!({"tools": [tool]});

    nouns.add("`system` text", json!({"system": "s"}));
    nouns.add("`system` blocks", json!({"system": [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}]}));
    nouns.add("`system` message", json!({"messages": [user, {"role": "system", "content": "s"}]}));
    nouns.add_beside(
        "`cache_control` of `system`",
        json!({"system": [{"type": "text", "text": "s"}]}),
        json!({"system": [marked(&json!({"type": "text", "text": "s"}))]}),
    );
    nouns.add("`cache_control` of the request", json!({"cache_control": mark}));
    nouns.add_beside("`cache_control` of a block", said(json!([text])), said(json!([marked(&text)])));
    nouns.add_beside("`cache_control` of a tool", tools.clone(), json!({"tools": [marked(&tool)]}));
    nouns.add_beside("`cache_control` of a result", result(json!({})), result(json!({"cache_control": mark})));
    let source = |kind: &str, source: Value| said(json!([text, {"type": kind, "source": source}]));
    nouns
        .add("`image` as data", source("image", json!({"type": "base64", "media_type": "image/png", "data": "iVBOR"})));
    nouns.add("`image` by address", source("image", json!({"type": "url", "url": "https://example.com/a.png"})));
    nouns.add("`image` by its id", source("image", json!({"type": "file", "file_id": "file_1"})));
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="});
    nouns.add("`document` as data", source("document", pdf.clone()));
    nouns.add("`document` by address", source("document", json!({"type": "url", "url": "https://example.com/a.pdf"})));
    nouns.add(
        "`document` of text",
        source("document", json!({"type": "text", "media_type": "text/plain", "data": "t"})),
    );
    nouns.add("`document` by its id", source("document", json!({"type": "file", "file_id": "file_1"})));
    for (name, more) in [
        ("`title` of a document", json!({"title": "a.pdf"})),
        ("`citations` of a document", json!({"citations": {"enabled": true}})),
        ("`context` of a document", json!({"context": "c"})),
    ] {
        let document = json!({"type": "document", "source": pdf});
        nouns.add_beside(name, said(json!([document])), said(json!([merged(&document, &more)])));
    }
    nouns.add("`tool_use` and its result", result(json!({})));
    nouns.add_beside("`is_error` of a result", result(json!({})), result(json!({"is_error": true})));
    nouns.add_beside(
        "image in a result",
        result(json!({"content": [text]})),
        result(json!({"content": [text,
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBOR"}}]})),
    );
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 2000}});
    let answered = |block: Value| json!({"messages": [user, {"role": "assistant", "content": [block, {"type": "text", "text": "a"}]}, user]});
    let plain = merged(
        &thinking,
        &json!({"messages": [user, {"role": "assistant", "content": [{"type": "text", "text": "a"}]}, user]}),
    );
    nouns.add_beside(
        "`thinking` block of an earlier answer",
        plain.clone(),
        answered(json!({"type": "thinking", "thinking": "a signed thought", "signature": "s"})),
    );
    let unknown = json!({"type": "thinking", "thinking": "another thought"});
    nouns.add_beside(
        "`signature` of a thinking block that another server has relayed",
        merged(&thinking, &answered(unknown.clone())),
        merged(&thinking, &answered(merged(&unknown, &json!({"signature": "c2ln".repeat(40)})))),
    );
    nouns.add_beside("`redacted_thinking` block", plain, answered(json!({"type": "redacted_thinking", "data": "d"})));
    nouns.add("beginning of the answer", json!({"messages": [user, {"role": "assistant", "content": "a"}]}));
    nouns.add("`tools`", tools.clone());
    nouns.add_beside("`strict` of a tool", tools.clone(), json!({"tools": [merged(&tool, &json!({"strict": true}))]}));
    for (name, more) in [
        ("`input_examples` of a tool", json!({"input_examples": [{"city": "Rome"}]})),
        ("`defer_loading` of a tool", json!({"defer_loading": true})),
        ("`allowed_callers` of a tool", json!({"allowed_callers": ["code_execution_20250825"]})),
        ("`eager_input_streaming` of a tool", json!({"eager_input_streaming": true})),
    ] {
        nouns.add_beside(name, tools.clone(), json!({"tools": [merged(&tool, &more)]}));
    }
    nouns.add("`tools` that Anthropic runs", json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}));
    nouns.add("`mcp_servers`", json!({"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "n"}]}));
    for (name, choice) in [
        ("`tool_choice: none`", json!({"type": "none"})),
        ("`tool_choice: auto`", json!({"type": "auto"})),
        ("`tool_choice: any`", json!({"type": "any"})),
        ("`tool_choice: tool`", json!({"type": "tool", "name": "f"})),
        ("`disable_parallel_tool_use`", json!({"type": "auto", "disable_parallel_tool_use": true})),
    ] {
        nouns.add_beside(name, tools.clone(), json!({"tool_choice": choice}));
    }
    nouns.add("`thinking: enabled`", thinking.clone());
    nouns.add_beside("`thinking.display`", thinking, json!({"thinking": {"display": "omitted"}}));
    nouns.add("`thinking: disabled`", json!({"thinking": {"type": "disabled"}}));
    nouns.is_default_of(&[Dialect::Anthropic, Dialect::Bedrock]);
    nouns.add("`output_config.effort`", json!({"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}}));
    nouns.add(
        "`output_config.format`",
        json!({"output_config": {"format": {"type": "json_schema", "schema": schema()}}}),
    );
    nouns.add("`output_format` of the beta", json!({"output_format": {"type": "json_schema", "schema": schema()}}));
    nouns.add("`output_config.task_budget`", json!({"output_config": {"task_budget": {"type": "tokens", "total": 9}}}));
    for (name, fields) in [
        ("`speed`", json!({"speed": "fast"})),
        ("`max_tokens`", json!({"max_tokens": 50})),
        ("`temperature`", json!({"temperature": 0.5})),
        ("`top_p`", json!({"top_p": 0.5})),
        ("`top_k`", json!({"top_k": 20})),
        ("`stop_sequences`", json!({"stop_sequences": ["END"]})),
        ("`metadata.user_id`", json!({"metadata": {"user_id": "u"}})),
        ("`service_tier`", json!({"service_tier": "standard_only"})),
        ("`container`", json!({"container": "c"})),
        ("`context_management`", json!({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}})),
        ("`inference_geo`", json!({"inference_geo": "us"})),
    ] {
        nouns.add(name, fields);
    }
    nouns.list
}
