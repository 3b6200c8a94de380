//! Output of the fixture model under generated JSON Schemas, at a high temperature. Another
//! implementation validates every finished answer.
//!
//! `SCHEMAS=10000 cargo test -p cachalot --release --test app schemas -- --nocapture`
//! is the long form.

use std::sync::Arc;

use cachalot::load::{self, ArithmeticDefaults, ModelArgs};
use chat::{
    Chat, FinishReason, Input, Message, Provider, Reply, ResponseFormat, Role, Sampling, Tool, ToolChoice, fold,
};
use engine::{Engine, Options};
use futures_util::{StreamExt, stream};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

/// Number of requests at the same time.
const CONCURRENCY: usize = 48;

fn engine() -> Engine {
    let args = ModelArgs {
        model: Some("fixture".into()),
        compute: None,
        cache: None,
        index: None,
        attention: None,
        threads: None,
        allow_mmap_larger_than_memory: false,
        encoding: None,
    };
    let loaded = load::model(&args, ArithmeticDefaults::Fast).unwrap();
    let encoding = load::encoding(&loaded.checkpoint, &args).unwrap();
    Engine::start(loaded.model, encoding, Options { cache_pages: 1500, ..Options::default() }).unwrap()
}

/// Schemas of the strict subset: nested objects, arrays, strings, references, alternatives,
/// formats, bounds.
fn schema() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        4 => Just(json!({ "type": "string" })),
        1 => prop::sample::select(vec!["email", "hostname", "ipv4", "ipv6", "uuid"])
            .prop_map(|format| json!({ "type": "string", "format": format })),
        1 => prop::sample::select(vec!["^[a-z]{2,5}$", "[0-9]{3}", "^(yes|no|\"\\\\)$", "^é+x$", "^[^<]{1,4}$"])
            .prop_map(|pattern| json!({ "type": "string", "pattern": pattern })),
        2 => prop::collection::btree_set("[a-z<>/\"\\\\é ]{1,8}", 1..4)
            .prop_map(|words| json!({ "type": "string", "enum": words })),
    ];
    let number = prop_oneof![
        Just(json!({ "type": "integer" })),
        (-50i64..50, 0i64..50)
            .prop_map(|(low, more)| json!({ "type": "integer", "minimum": low, "maximum": low + more })),
        (-50i64..50, 1i64..50)
            .prop_map(|(low, more)| json!({ "type": "number", "minimum": low, "exclusiveMaximum": low + more })),
        (1i64..9).prop_map(|of| json!({ "type": "integer", "multipleOf": of })),
        Just(json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1.5 })),
    ];
    let leaf = prop_oneof![
        4 => text,
        3 => number,
        1 => Just(json!({ "type": "boolean" })),
        1 => Just(json!({ "type": "null" })),
        1 => Just(json!({ "type": ["string", "null"] })),
        1 => Just(json!({ "enum": ["a", 2, null, true, "</x>"] })),
        1 => Just(json!({ "const": "only \"this\"" })),
        1 => Just(json!({ "$ref": "#/$defs/node" })),
        1 => Just(json!({ "$ref": "#/$defs/word", "description": "a word" })),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            3 => object(inner.clone()),
            2 => inner.clone().prop_map(|items| json!({ "type": "array", "items": items, "title": "t" })),
            1 => prop::collection::vec(inner, 2..4).prop_map(|options| json!({ "anyOf": options })),
        ]
    })
}

fn object(of: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-zA-Z_][a-z0-9_ ]{0,6}", of, 0..4).prop_map(|properties| {
        let required: Vec<&String> = properties.keys().collect();
        json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
    })
}

/// A complete schema: an object, and the definitions of its references.
fn document() -> impl Strategy<Value = Value> {
    object(schema()).prop_map(|mut schema| {
        let next = json!({ "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/node" }] });
        schema["$defs"] = json!({
            "word": { "type": "string", "enum": ["one", "two"] },
            "node": {
                "type": "object", "properties": { "word": { "$ref": "#/$defs/word" }, "next": next },
                "required": ["word", "next"], "additionalProperties": false
            },
        });
        schema
    })
}

fn json_chat(seed: i64) -> Chat {
    Chat {
        model: "deepseek-chat".into(),
        input: Input::Messages(vec![Message::new(Role::User, "Answer in JSON.")]),
        thinking: Some(false),
        max_tokens: Some(160),
        sampling: Sampling { temperature: Some(1.5), seed: Some(seed), ..Sampling::default() },
        ..Chat::default()
    }
}

/// A chat whose answer must match the schema: as `response_format` for even seeds, as a tool of the
/// beta API for odd ones.
fn chat_with_schema(seed: i64, schema: &Value) -> Chat {
    if seed % 2 == 0 {
        let format = json!({ "name": "P", "strict": true, "schema": schema });
        return Chat { response_format: ResponseFormat::JsonSchema(into_object(format)), ..json_chat(seed) };
    }
    let function = into_object(json!({ "name": "f", "strict": true, "parameters": schema }));
    let tool = Tool { name: "f".into(), strict: true, function };
    Chat { tools: vec![tool], tool_choice: Some(ToolChoice::Required), beta: true, ..json_chat(seed) }
}

fn into_object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { unreachable!("the literal is an object") };
    map
}

async fn answer(engine: Engine, mut chat: Chat) -> Reply {
    engine.validate(&mut chat).unwrap_or_else(|error| panic!("{error}: {chat:?}"));
    let started = engine.chat(chat.clone()).await.unwrap_or_else(|error| panic!("{error}: {chat:?}"));
    fold(started.deltas.collect::<Vec<_>>().await).unwrap_or_else(|error| panic!("{error}: {chat:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_answers_match_their_schema() {
    let count: i64 = std::env::var("SCHEMAS").map_or(60, |count| count.parse().expect("SCHEMAS is a number"));
    let engine = engine();
    let mut runner = TestRunner::deterministic();
    let cases = (0..count).map(|seed| (seed, Arc::new(document().new_tree(&mut runner).unwrap().current())));
    let cases: Vec<(i64, Arc<Value>)> = cases.collect();
    let answers = stream::iter(cases).map(|(seed, schema)| {
        let engine = engine.clone();
        async move { (answer(engine, chat_with_schema(seed, &schema)).await, schema) }
    });
    let mut answers = answers.buffer_unordered(CONCURRENCY);
    let (mut finished, mut cut) = (0, 0);
    while let Some((reply, schema)) = answers.next().await {
        let texts: Vec<&str> = match reply.finish.unwrap() {
            FinishReason::Stop => vec![reply.text.as_str()],
            FinishReason::ToolCalls => reply.tool_calls.iter().map(|call| call.arguments.as_str()).collect(),
            _ => {
                cut += 1;
                // All calls except the last one are complete.
                let whole = reply.tool_calls.split_last().map_or(&[][..], |(_, whole)| whole);
                whole.iter().map(|call| call.arguments.as_str()).collect()
            }
        };
        finished += usize::from(matches!(reply.finish, Some(FinishReason::Stop | FinishReason::ToolCalls)));
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a valid schema");
        for text in texts {
            let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}\n{schema}"));
            if let Err(fault) = validator.validate(&value) {
                panic!("{fault}: {text}\n{schema}");
            }
        }
    }
    println!("{finished} answers finished and match, {cut} were cut by max_tokens");
    assert!(finished * 4 > count as usize, "too few answers were finished for a result: {finished} of {count}");
}
