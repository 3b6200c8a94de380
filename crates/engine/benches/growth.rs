//! Growth of the time and memory of chat validation: `cargo bench -p engine --bench growth`. The
//! table is in docs/performance.md.

use std::process::ExitCode;

use chat::{Chat, Input, Message, ResponseFormat, Role, Tool, ToolCall, ToolChoice};
use engine::{Profile, ReasoningRules, ValidationRules, check};
use serde_json::json;
use testkit::growth::GrowthTable;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: testkit::growth::Jemalloc = testkit::growth::Jemalloc;

fn main() -> ExitCode {
    let mut growth = GrowthTable::from_args();
    let rules = ValidationRules {
        context: 1 << 24,
        supports_thinking: true,
        supports_non_thinking: true,
        profile: Profile::Lenient,
        reasoning_rules: ReasoningRules::V32,
        has_sparse_attention: true,
        vocab_size: 1 << 17,
    };
    let user = || Message::new(Role::User, "x");
    let of = |messages| Chat { model: "m".into(), input: Input::Messages(messages), ..Chat::default() };
    let calls = |bytes: usize| -> Vec<ToolCall> {
        let call = |n| ToolCall { id: format!("c{n}"), name: "f".into(), arguments: "{}".into() };
        (0..bytes / 64).map(call).collect()
    };
    let call = |bytes| Message { tool_calls: Some(calls(bytes)), ..Message::new(Role::Assistant, "y") };
    let function = |n: usize| {
        let function = json!({ "name": format!("f{n}"), "parameters": { "type": "object" } });
        Tool { name: format!("f{n}"), strict: false, function: function.as_object().expect("an object").clone() }
    };
    type Make<'a> = &'a dyn Fn(usize) -> Chat;
    let attacks: [(&str, Make<'_>); 8] = [
        ("messages", &|bytes| of((0..bytes / 32).map(|_| user()).collect())),
        ("calls of one message", &|bytes| of(vec![user(), call(bytes), user()])),
        ("calls and results", &|bytes| {
            let results = calls(bytes / 2).into_iter().rev();
            let results = results.map(|call| Message { tool_call_id: Some(call.id), ..Message::new(Role::Tool, "z") });
            of([user(), call(bytes / 2)].into_iter().chain(results.take(4000)).collect())
        }),
        ("calls with one id", &|bytes| {
            let mut message = call(bytes);
            message.tool_calls.iter_mut().flatten().for_each(|call| call.id = "c".into());
            of(vec![user(), message])
        }),
        ("tools", &|bytes| Chat { tools: (0..bytes / 64).map(function).collect(), ..of(vec![user()]) }),
        ("128 large tools, one named", &|bytes| {
            let mut tools: Vec<_> = (0..128).map(function).collect();
            for tool in &mut tools {
                let properties: serde_json::Map<_, _> =
                    (0..bytes / 128 / 32).map(|n| (format!("p{n}"), json!({ "type": "string" }))).collect();
                tool.function.insert("parameters".into(), json!({ "type": "object", "properties": properties }));
            }
            Chat { tools, tool_choice: Some(ToolChoice::Named("f127".into())), ..of(vec![user()]) }
        }),
        ("stops", &|bytes| Chat { stop: (0..bytes / 8).map(|n| n.to_string()).collect(), ..of(vec![user()]) }),
        ("a schema", &|bytes| {
            let format = json!({ "name": "p", "schema": { "enum": (0..bytes / 8).collect::<Vec<_>>() } });
            Chat {
                response_format: ResponseFormat::JsonSchema(format.as_object().expect("an object").clone()),
                ..of(vec![user()])
            }
        }),
    ];
    for (attack, make) in attacks {
        growth.measure_mut("engine::check", attack, make, |chat| check(chat, &rules));
    }
    growth.finish()
}
