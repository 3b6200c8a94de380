//! Growth of the time of the tokenizer, of decoders, prompts and grammars with their input:
//! `cargo bench -p text --bench growth [-- part of a name]`.

use std::process::ExitCode;
use std::sync::Arc;

use chat::{Chat, FinishReason, Input, Message, ResponseFormat, Role, Tool, ToolCall};
use serde_json::{Value, json};
use testkit::growth::GrowthTable;
use text::{Encoding, EncodingName, PromptLimit, Rendered, ResponseStart, Schema, Tokenizer};

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: testkit::growth::Jemalloc = testkit::growth::Jemalloc;

const ENCODINGS: [EncodingName; 4] = [EncodingName::R1, EncodingName::V31, EncodingName::V32Exp, EncodingName::V32];

/// The name of an attack, a prefix, and the text that is repeated after it.
type Attack = (&'static str, &'static str, &'static str);

fn main() -> ExitCode {
    let mut growth = GrowthTable::from_args();
    tokenizers(&mut growth);
    answers(&mut growth);
    prompts(&mut growth);
    schemas(&mut growth);
    growth.finish()
}

fn repeated(before: &str, piece: &str, bytes: usize) -> String {
    let times = bytes.saturating_sub(before.len()) / piece.len();
    format!("{before}{}", piece.repeat(times))
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(&testkit::tokenizer_json()).expect("the test tokenizer is valid")
}

fn tokenizers(growth: &mut GrowthTable) {
    let attacks = [
        ("one letter", "a"),
        ("white space", " "),
        ("line breaks", "\r\n"),
        ("digits", "1"),
        ("beginnings of markers", "<｜tool▁calls▁begi"),
        ("markers", "<｜DSML｜"),
        ("broken words", "é\u{301}-"),
    ];
    let plain = tokenizer();
    for (attack, piece) in attacks {
        growth.measure("Tokenizer::encode", attack, |bytes| repeated("", piece, bytes), |text| plain.encode(text));
        growth.measure(
            "Tokenizer::encode_with_added_tokens",
            attack,
            |bytes| repeated("", piece, bytes),
            |text| plain.encode_with_added_tokens(text),
        );
    }
}

/// Measures the decoding of answers. Each byte is a token, which is the smallest possible piece.
fn answers(growth: &mut GrowthTable) {
    let attacks: [Attack; 15] = [
        ("text", "", "a"),
        ("broken characters", "", "é"),
        ("line breaks", "", "\n"),
        ("beginnings of tags", "", "\n\n<"),
        ("markers", "", "<｜DSML｜"),
        ("thinking over and over", "", "</think>"),
        ("a block without a call", "<｜DSML｜function_calls>", " "),
        ("a tag without end", "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"", "a"),
        ("attributes", "<｜DSML｜function_calls>\n<｜DSML｜invoke ", "a=\"b\" "),
        (
            "a parameter without end",
            "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\">",
            "{\"",
        ),
        (
            "parameters",
            "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n",
            "<｜DSML｜parameter name=\"a\" string=\"true\">b</｜DSML｜parameter>\n",
        ),
        ("calls in DSML", "<｜DSML｜function_calls>\n", "<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>\n"),
        ("calls", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>"),
        ("a name without end", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>", "a"),
        ("a fence", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n", "\n`"),
    ];
    let chats = [("", vec![]), (", with stops", vec!["aaaaaaaab".to_owned(), "\n\n\n\nx".into()])];
    for name in ENCODINGS {
        let encoding = Arc::new(Encoding::new(tokenizer(), name).expect("the tokenizer has all control tokens"));
        for (attack, before, piece) in attacks {
            for (with, stop) in &chats {
                let chat = Chat {
                    input: Input::Messages(vec![Message::new(Role::User, "x")]),
                    stop: stop.clone(),
                    tools: vec![tool("f")],
                    ..Chat::default()
                };
                let rendered = Rendered { text: String::new(), tokens: vec![], start: ResponseStart::Content };
                growth.measure(
                    &format!("Decoder, {name}"),
                    &format!("{attack}{with}"),
                    |bytes| encoding.tokenizer().encode_with_added_tokens(&repeated(before, piece, bytes)),
                    |tokens| {
                        let (mut decoder, mut out) = (encoding.decoder_with_seed(&chat, &rendered, 1), Vec::new());
                        for token in tokens {
                            decoder.push(*token, None, &mut out);
                        }
                        decoder.finish(FinishReason::Stop, &mut out);
                        out.len()
                    },
                );
            }
        }
    }
}

fn tool(name: &str) -> Tool {
    let parameters = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    let function = json!({ "name": name, "parameters": parameters });
    Tool { name: name.into(), strict: false, function: function.as_object().expect("an object").clone() }
}

fn prompts(growth: &mut GrowthTable) {
    let turns = |bytes: usize| {
        let turn = |turn: usize| {
            let id = format!("call_{turn}");
            let call = ToolCall { id: id.clone(), name: "f".into(), arguments: "{\"a\":\"x\"}".into() };
            [
                Message::new(Role::User, "x"),
                Message { tool_calls: Some(vec![call]), ..Message::new(Role::Assistant, "y") },
                Message { tool_call_id: Some(id), ..Message::new(Role::Tool, "z") },
            ]
        };
        let messages = (0..bytes / 256).flat_map(turn).collect();
        Chat { input: Input::Messages(messages), tools: vec![tool("f")], ..Chat::default() }
    };
    let one = |bytes: usize| Chat {
        input: Input::Messages(vec![Message::new(Role::User, "x".repeat(bytes))]),
        ..Chat::default()
    };
    let arguments = |bytes: usize| {
        let arguments =
            format!("{{{}}}", (0..bytes / 16).map(|n| format!("\"k{n}\":[0]")).collect::<Vec<_>>().join(","));
        let call = ToolCall { id: "c".into(), name: "f".into(), arguments };
        let messages = vec![
            Message::new(Role::User, "x"),
            Message { tool_calls: Some(vec![call]), ..Message::new(Role::Assistant, "y") },
        ];
        Chat { input: Input::Messages(messages), ..Chat::default() }
    };
    for name in ENCODINGS {
        let encoding = Encoding::new(tokenizer(), name).expect("the tokenizer has all control tokens");
        let limit = PromptLimit::new(1 << 24);
        let parser = format!("Encoding::render_within, {name}");
        growth.measure(&parser, "turns with calls", turns, |chat| encoding.render_within(chat, &limit));
        growth.measure(&parser, "one message", one, |chat| encoding.render_within(chat, &limit));
        growth.measure(&parser, "arguments of a call", arguments, |chat| encoding.render_within(chat, &limit));
        let small = PromptLimit::new(4096);
        growth.measure(&format!("too long, {name}"), "one message", one, |chat| encoding.render_within(chat, &small));
    }
}

fn schemas(growth: &mut GrowthTable) {
    type Make = fn(usize) -> Value;
    let attacks: [(&str, Make); 6] = [
        ("properties", |bytes| {
            let properties = (0..bytes / 32).map(|n| (format!("p{n}"), json!({ "type": "string" })));
            json!({ "type": "object", "properties": properties.collect::<serde_json::Map<_, _>>() })
        }),
        ("required names", |bytes| {
            let names: Vec<_> = (0..bytes / 8).map(|n| format!("p{n}")).collect();
            json!({ "type": "object", "properties": {}, "required": names })
        }),
        ("values of an enum", |bytes| json!({ "enum": (0..bytes / 8).collect::<Vec<_>>() })),
        ("alternatives", |bytes| json!({ "anyOf": vec![json!({ "type": "null" }); bytes / 16] })),
        ("definitions", |bytes| {
            let definition = |n| (format!("d{n}"), json!({ "$ref": format!("#/$defs/d{}", n + 1) }));
            let definitions: serde_json::Map<_, _> = (0..bytes / 32).map(definition).collect();
            json!({ "$ref": "#/$defs/d0", "$defs": definitions })
        }),
        ("references to one definition", |bytes| {
            let properties = (0..bytes / 32).map(|n| (format!("p{n}"), json!({ "$ref": "#/$defs/d" })));
            json!({ "type": "object", "properties": properties.collect::<serde_json::Map<_, _>>(),
                "$defs": { "d": { "type": "string" } } })
        }),
    ];
    let encoding = Encoding::new(tokenizer(), EncodingName::V32).expect("the tokenizer has all control tokens");
    for (attack, make) in attacks {
        growth.measure("Schema::strict", attack, make, Schema::strict);
        growth.measure("Schema::lenient", attack, make, Schema::lenient);
        let chat = |bytes| {
            let function = json!({ "name": "f", "parameters": make(bytes) });
            let function = function.as_object().expect("an object").clone();
            let tools = vec![Tool { name: "f".into(), strict: false, function }];
            Chat { input: Input::Messages(vec![Message::new(Role::User, "x")]), tools, ..Chat::default() }
        };
        growth.measure("Encoding::grammar", &format!("{attack} of a tool"), chat, |chat| encoding.grammar(chat));
        let format = |bytes| {
            let format = json!({ "name": "f", "schema": make(bytes) });
            let format = ResponseFormat::JsonSchema(format.as_object().expect("an object").clone());
            Chat {
                input: Input::Messages(vec![Message::new(Role::User, "x")]),
                response_format: format,
                ..Chat::default()
            }
        };
        growth.measure("Encoding::grammar", &format!("{attack} of a format"), format, |chat| encoding.grammar(chat));
    }
    let tools = |bytes: usize| {
        let tools = (0..bytes / 128).map(|n| tool(&format!("f{n}"))).collect();
        Chat { input: Input::Messages(vec![Message::new(Role::User, "x")]), tools, ..Chat::default() }
    };
    growth.measure("Encoding::grammar", "tools", tools, |chat| encoding.grammar(chat));
}
