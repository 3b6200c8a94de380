//! Growth of the time of parsers of requests and responses with their input:
//! `cargo bench -p wire --bench growth [-- part of a name]`. The table in docs/performance.md is an
//! excerpt. The benchmark fails if a parser takes more than twelve times as long for eight
//! times the bytes.

use std::process::ExitCode;

use chat::{Chat, Delta, Input, Message, Reply, Role, ToolCall};
use serde_json::{Value, json};
use testkit::growth::GrowthTable;
use wire::passthrough::ApiEndpoint;
use wire::passthrough::json_fields::JsonFields;
use wire::passthrough::multipart_fields::MultipartFields;
use wire::passthrough::usage_scanner::{self, SseScanner};
use wire::sse::{SseFrame, SseParser};
use wire::surface::Renderer;
use wire::surface::chat_completions::Envelope;
use wire::tasks::TaskKind;
use wire::tasks::id_rewriting::{self, IdPair};
use wire::upstream::Dialect;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: testkit::growth::Jemalloc = testkit::growth::Jemalloc;

/// Builds the input of an attack with a length in bytes.
type MakeInput = fn(usize) -> Vec<u8>;
/// Builds the event with an index.
type MakeEvent = fn(usize) -> Value;
type Attack<T> = (&'static str, T);

fn main() -> ExitCode {
    let mut growth = GrowthTable::from_args();
    passthrough_request_bodies(&mut growth);
    request_bodies(&mut growth);
    passthrough_responses(&mut growth);
    upstream_responses(&mut growth);
    upstream_requests(&mut growth);
    renderers(&mut growth);
    task_ids(&mut growth);
    growth.finish()
}

/// `before`, then `piece(0)`, `piece(1)` and so on joined by `between`, then `after`; at
/// most `bytes` long.
fn repeated(before: &str, piece: impl Fn(usize) -> String, between: &str, after: &str, bytes: usize) -> Vec<u8> {
    let mut text = String::from(before);
    for number in 0.. {
        let piece = piece(number);
        if text.len() + piece.len() + between.len() + after.len() > bytes {
            break;
        }
        if number > 0 {
            text.push_str(between);
        }
        text.push_str(&piece);
    }
    text.push_str(after);
    text.into_bytes()
}

/// Attacks on all parsers of JSON.
fn json_attacks() -> Vec<Attack<MakeInput>> {
    vec![
        ("distinct keys", |bytes| repeated("{", |n| format!("\"k{n}\":0"), ",", "}", bytes)),
        ("escaped keys", |bytes| repeated("{", |n| format!("\"\\u006b{n}\":0"), ",", "}", bytes)),
        ("distinct keys inside", |bytes| {
            repeated("{\"model\":\"m\",\"x\":{", |n| format!("\"k{n}\":0"), ",", "}}", bytes)
        }),
        ("small values", |bytes| repeated("{\"model\":\"m\",\"x\":[", |_| "0".into(), ",", "]}", bytes)),
        ("nesting", |bytes| repeated("{\"x\":", |_| "[".into(), "", "", bytes)),
        ("nested lists", |bytes| {
            let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
            repeated("{\"model\":\"m\",\"x\":[", |_| deep.clone(), ",", "]}", bytes)
        }),
        ("one string", |bytes| repeated("{\"model\":\"", |_| "m".into(), "", "\"}", bytes)),
        ("escapes", |bytes| repeated("{\"model\":\"", |_| "\\u00e9\\n".into(), "", "\"}", bytes)),
        ("backslashes without end", |bytes| repeated("{\"model\":\"", |_| "\\\\".into(), "", "", bytes)),
        ("one number", |bytes| repeated("{\"max_tokens\":", |_| "1".into(), "", "}", bytes)),
        ("one fraction", |bytes| repeated("{\"temperature\":0.", |_| "1".into(), "", "}", bytes)),
        ("white space", |bytes| repeated("{\"model\":\"m\"", |_| " \n".into(), "", "}", bytes)),
    ]
}

fn passthrough_request_bodies(growth: &mut GrowthTable) {
    for (attack, make) in json_attacks() {
        growth.measure("JsonFields", attack, make, |body| {
            let fields = JsonFields::scan(body).ok()?;
            let values = (fields.text("model"), fields.value("stream"), fields.value("max_tokens"));
            Some((fields.with_changes(&[("model", "\"other\"".into()), ("stream_options", "{}".into())]), values))
        });
    }
    const TYPE: &str = "multipart/form-data; boundary=b";
    let part = |name: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nx");
    let forms: [Attack<&dyn Fn(usize) -> Vec<u8>>; 7] = [
        ("parts", &|bytes| repeated("", |n| part(&format!("k{n}")), "\r\n", "\r\n--b--", bytes)),
        ("files", &|bytes| repeated("", |n| part(&format!("k{n}\"; filename=\"f")), "\r\n", "\r\n--b--", bytes)),
        ("almost boundaries", &|bytes| repeated(&part("a"), |_| "\r\n--".into(), "", "\r\n--b--", bytes)),
        ("headers of a part", &|bytes| {
            repeated("--b\r\n", |_| "content-dispositio:\r\n".into(), "", "\r\n\r\nx\r\n--b--", bytes)
        }),
        ("parameters", &|bytes| {
            repeated("--b\r\nContent-Disposition: form-data", |_| ";a=".into(), "", "\r\n\r\nx\r\n--b--", bytes)
        }),
        ("a quoted name", &|bytes| {
            repeated(
                "--b\r\nContent-Disposition: form-data; name=\"",
                |_| "\\\"".into(),
                "",
                "\r\n\r\nx\r\n--b--",
                bytes,
            )
        }),
        ("a preamble", &|bytes| repeated("", |_| "\r\n--".into(), "", "\r\n--b--", bytes)),
    ];
    for (attack, make) in forms {
        growth.measure("MultipartFields", attack, make, |body| {
            let form = MultipartFields::scan(TYPE, body).ok()?;
            Some((form.text("model"), form.with_value("model", "other")))
        });
    }
}

/// A chat completions body with many pieces in one field.
fn chat_body(field: &str, piece: impl Fn(usize) -> String, bytes: usize) -> Vec<u8> {
    let before = match field {
        "messages" => r#"{"model":"m","messages":["#.to_owned(),
        field => format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"{field}":["#),
    };
    repeated(&before, piece, ",", "]}", bytes)
}

fn request_bodies(growth: &mut GrowthTable) {
    for (attack, make) in json_attacks() {
        growth.measure("json::parse", attack, make, |body| wire::json::parse(body));
    }
    let chats: [Attack<MakeInput>; 8] = [
        ("messages", |bytes| chat_body("messages", |_| r#"{"role":"user","content":"x"}"#.into(), bytes)),
        ("parts", |bytes| {
            let before = r#"{"model":"m","messages":[{"role":"user","content":["#;
            repeated(before, |_| r#"{"type":"text","text":"x"}"#.into(), ",", "]}]}", bytes)
        }),
        ("calls", |bytes| {
            let call = |n| format!(r#"{{"id":"c{n}","type":"function","function":{{"name":"f","arguments":""}}}}"#);
            repeated(r#"{"model":"m","messages":[{"role":"assistant","tool_calls":["#, call, ",", "]}]}", bytes)
        }),
        ("results", |bytes| {
            chat_body("messages", |n| format!(r#"{{"role":"tool","content":"","tool_call_id":"c{n}"}}"#), bytes)
        }),
        ("tools", |bytes| {
            let tool =
                |n| format!(r#"{{"type":"function","function":{{"name":"f{n}","strict":null,"parameters":null}}}}"#);
            chat_body("tools", tool, bytes)
        }),
        ("stops", |bytes| chat_body("stop", |n| format!("\"{n}\""), bytes)),
        ("logit biases", |bytes| {
            let before = r#"{"model":"m","messages":[],"logit_bias":{"#;
            repeated(before, |n| format!("\"{n}\":1"), ",", "}}", bytes)
        }),
        ("an unknown string", |bytes| {
            repeated(r#"{"model":"m","messages":[{"role":""#, |_| "x".into(), "", "\"}]}", bytes)
        }),
    ];
    for (attack, make) in chats {
        growth.measure("chat_completions::parse_request", attack, make, |body| {
            wire::surface::chat_completions::parse_request(body)
        });
    }
    let completions: [Attack<MakeInput>; 2] = [
        ("token ids", |bytes| repeated(r#"{"model":"m","prompt":["#, |_| "1".into(), ",", "]}", bytes)),
        ("sixteen prompts with a suffix", |bytes| {
            let prompts = vec!["\"a\""; 16].join(",");
            let before = format!(r#"{{"model":"m","prompt":[{prompts}],"suffix":""#);
            repeated(&before, |_| "x".into(), "", "\"}", bytes)
        }),
    ];
    for (attack, make) in completions {
        growth.measure("completions::parse_request", attack, make, |body| {
            wire::surface::completions::parse_request(body)
        });
    }
    let responses: [Attack<MakeInput>; 3] = [
        ("items", |bytes| {
            repeated(r#"{"model":"m","input":["#, |_| r#"{"role":"assistant","content":"x"}"#.into(), ",", "]}", bytes)
        }),
        ("reasoning", |bytes| {
            let item = |_| r#"{"type":"reasoning","content":[{"type":"text","text":"x"}]}"#.into();
            repeated(r#"{"model":"m","input":["#, item, ",", "]}", bytes)
        }),
        ("calls", |bytes| {
            let item = |n| format!(r#"{{"type":"function_call","call_id":"{n}","name":"f","arguments":""}}"#);
            repeated(r#"{"model":"m","input":["#, item, ",", "]}", bytes)
        }),
    ];
    for (attack, make) in responses {
        growth.measure("responses::parse_request", attack, make, |body| wire::surface::responses::parse_request(body));
    }
    let messages: [Attack<MakeInput>; 4] = [
        ("messages", |bytes| {
            let before = r#"{"model":"m","max_tokens":1,"messages":["#;
            repeated(before, |_| r#"{"role":"user","content":"x"}"#.into(), ",", "]}", bytes)
        }),
        ("thinking blocks", |bytes| {
            let before = r#"{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":["#;
            repeated(before, |_| r#"{"type":"thinking","thinking":"x"}"#.into(), ",", "]}]}", bytes)
        }),
        ("results", |bytes| {
            let before = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":["#;
            let result = |n| format!(r#"{{"type":"tool_result","tool_use_id":"{n}","is_error":true}}"#);
            repeated(before, result, ",", "]}]}", bytes)
        }),
        ("images", |bytes| {
            let before = r#"{"model":"m","max_tokens":1,"messages":["#;
            let image = r#"{"role":"user","content":[{"type":"image","source":{"type":"url","url":"x"}}]}"#;
            repeated(before, |_| image.into(), ",", "]}", bytes)
        }),
    ];
    for (attack, make) in messages {
        growth.measure("anthropic::parse_request", attack, make, |body| {
            wire::surface::anthropic::parse_request(body, false)
        });
    }
    let gemini: [Attack<MakeInput>; 6] = [
        ("contents", |bytes| repeated(r#"{"contents":["#, |_| r#"{"parts":[{"text":"x"}]}"#.into(), ",", "]}", bytes)),
        ("calls and responses", |bytes| {
            let turn = |n| {
                let call = format!(r#"{{"role":"model","parts":[{{"functionCall":{{"name":"f","id":"{n}"}}}}]}}"#);
                format!(r#"{call},{{"parts":[{{"functionResponse":{{"name":"f"}}}}]}}"#)
            };
            repeated(r#"{"contents":["#, turn, ",", "]}", bytes)
        }),
        ("calls, then responses", |bytes| {
            let call = |n| format!(r#"{{"functionCall":{{"name":"f","id":"{n}"}}}}"#);
            let calls = repeated(r#"{"contents":[{"role":"model","parts":["#, call, ",", "]},", bytes / 2);
            let response = |_| r#"{"functionResponse":{"name":"f"}}"#.into();
            let responses = repeated(r#"{"parts":["#, response, ",", "]}]}", bytes / 2);
            [calls, responses].concat()
        }),
        ("responses without calls", |bytes| {
            let response = |n| format!(r#"{{"functionResponse":{{"name":"f{n}"}}}}"#);
            repeated(r#"{"contents":[{"parts":["#, response, ",", "]}]}", bytes)
        }),
        ("allowed functions", |bytes| {
            let function = |n| format!(r#"{{"name":"f{n}"}}"#);
            let functions =
                repeated(r#"{"contents":[],"tools":[{"functionDeclarations":["#, function, ",", "]}],", bytes / 2);
            let before = r#""toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["#;
            let names = repeated(before, |n| format!("\"g{n}\""), ",", "]}}}", bytes / 2);
            [functions, names].concat()
        }),
        ("a schema", |bytes| {
            let before = r#"{"contents":[],"tools":[{"functionDeclarations":[{"name":"f","parameters":{"properties":{"#;
            repeated(before, |n| format!(r#""p{n}":{{"type":"STRING","nullable":true}}"#), ",", "}}}]}]}", bytes)
        }),
    ];
    for (attack, make) in gemini {
        growth.measure("gemini::parse_request", attack, make, |body| wire::surface::gemini::parse_request(body, "m"));
    }
}

/// Measures the parsers of responses of providers.
fn stream_attacks() -> Vec<Attack<MakeInput>> {
    vec![
        ("small events", |bytes| repeated("", |_| "data: {}\n\n".into(), "", "", bytes)),
        ("one line", |bytes| repeated("data: {\"x\":\"", |_| "x".into(), "", "\"}\n\n", bytes)),
        ("a line without end", |bytes| repeated("data: ", |_| "x".into(), "", "", bytes)),
        ("an event without end", |bytes| repeated("", |_| "data: x\n".into(), "", "", bytes)),
        ("an event without end, and comments", |bytes| repeated("", |_| "data: x\n: c\n".into(), "", "", bytes)),
        ("comments", |bytes| repeated("", |_| ": c\n".into(), "", "", bytes)),
        ("blank lines", |bytes| repeated("", |_| "\n".into(), "", "", bytes)),
        ("returns", |bytes| repeated("", |_| "\r".into(), "", "", bytes)),
        ("names", |bytes| repeated("", |_| "event: x\n".into(), "", "", bytes)),
        ("broken characters", |bytes| vec![0xff; bytes]),
        ("usage in every event", |bytes| {
            repeated("", |n| format!("data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{n}}}}}\n\n"), "", "", bytes)
        }),
    ]
}

const CHUNK_SIZES: [usize; 3] = [1, 1000, usize::MAX];

fn passthrough_responses(growth: &mut GrowthTable) {
    for (attack, make) in stream_attacks() {
        for size in CHUNK_SIZES {
            let attack = format!(
                "{attack}, in {}",
                if size == usize::MAX { "one piece".into() } else { format!("pieces of {size}") }
            );
            growth.measure("SseParser", &attack, make, |bytes| {
                let (mut parser, mut frames) = (SseParser::default(), Vec::new());
                for piece in bytes.chunks(size) {
                    if parser.feed(piece, &mut frames).is_err() {
                        break;
                    }
                }
                frames
            });
            growth.measure("SseScanner", &attack, make, |bytes| {
                let mut stats = Vec::new();
                for passage in [
                    ApiEndpoint::ChatCompletions,
                    ApiEndpoint::Messages,
                    ApiEndpoint::GenerateContent,
                    ApiEndpoint::ImageEdits,
                ] {
                    let mut events = SseScanner::new(passage, passage == ApiEndpoint::ChatCompletions);
                    for piece in bytes.chunks(size) {
                        events.feed(piece);
                    }
                    let _ = events.finish();
                    stats.push(events.progress().clone());
                }
                stats
            });
        }
    }
    for (attack, make) in json_attacks() {
        for endpoint in
            [ApiEndpoint::ChatCompletions, ApiEndpoint::Messages, ApiEndpoint::GenerateContent, ApiEndpoint::ImageEdits]
        {
            growth.measure("usage_scanner::scan_body", &format!("{attack}, {endpoint:?}"), make, |body| {
                usage_scanner::scan_body(endpoint, body)
            });
        }
    }
    let reasons = |bytes| repeated("{\"choices\":[", |_| r#"{"finish_reason":1}"#.into(), ",", "]}", bytes);
    growth.measure("usage_scanner::scan_body", "invalid finish reasons", reasons, |body| {
        usage_scanner::scan_body(ApiEndpoint::ChatCompletions, body)
    });
}

fn upstream_responses(growth: &mut GrowthTable) {
    let events = |event: MakeEvent, bytes| repeated("", |n| format!("data: {}\n\n", event(n)), "", "", bytes);
    let openai: [Attack<MakeEvent>; 4] = [
        ("words", |_| json!({"choices": [{"delta": {"content": "x"}}]})),
        (
            "calls",
            |n| json!({"choices": [{"delta": {"tool_calls": [{"index": n, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}}]}),
        ),
        (
            "calls without an index",
            |_| json!({"choices": [{"delta": {"tool_calls": [{"id": "c", "function": {"name": "f"}}]}}]}),
        ),
        (
            "arguments",
            |n| json!({"choices": [{"delta": {"tool_calls": [{"index": n % 2, "function": {"arguments": "x"}}]}}]}),
        ),
    ];
    let anthropic: [Attack<MakeEvent>; 4] = [
        ("thinking", |_| json!({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "x"}})),
        ("signatures", |n| match n % 2 {
            0 => json!({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "x"}}),
            _ => json!({"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "s"}}),
        }),
        (
            "blocks",
            |n| json!({"type": "content_block_start", "content_block": {"type": "tool_use", "id": n.to_string(), "name": "f"}}),
        ),
        (
            "stops",
            |_| json!({"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "none"}}),
        ),
    ];
    let gemini: [Attack<MakeEvent>; 2] = [
        ("words", |_| json!({"candidates": [{"content": {"parts": [{"text": "x"}]}}]})),
        (
            "calls",
            |_| json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}, "thoughtSignature": "s"}]}}]}),
        ),
    ];
    // As many stop strings as a request may have.
    let chat = Chat { stop: (0..10_000).map(|n| n.to_string()).collect(), ..Chat::default() };
    let dialects: [(&str, Dialect, &[Attack<MakeEvent>]); 3] = [
        ("openai", Dialect::OpenAi, &openai),
        ("anthropic", Dialect::Anthropic, &anthropic),
        ("gemini", Dialect::Gemini, &gemini),
    ];
    for (name, dialect, attacks) in dialects {
        for &(attack, event) in attacks {
            growth.measure(
                &format!("upstream::{name}"),
                attack,
                |bytes| events(event, bytes),
                |bytes| read_response(dialect, &chat, bytes),
            );
        }
        let large = |bytes| repeated("data: {\"choices\":[", |_| "{}".into(), ",", "]}\n\n", bytes);
        growth.measure(&format!("upstream::{name}"), "one large event", large, |bytes| {
            read_response(dialect, &chat, bytes)
        });
        let wrong = |bytes| repeated("data: {\"choices\":\"", |_| "x".into(), "", "\"}\n\n", bytes);
        growth.measure(&format!("upstream::{name}"), "text for a list", wrong, |bytes| {
            read_response(dialect, &chat, bytes)
        });
    }
    let page = |bytes| repeated("", |_| "é<".into(), "", "", bytes);
    growth.measure("upstream::map_error", "a page", page, |body| wire::upstream::map_error("p", 500, None, body));
}

fn read_response(dialect: Dialect, chat: &Chat, bytes: &[u8]) -> (Reply, bool) {
    let (mut parser, mut frames) = (SseParser::default(), Vec::new());
    parser.feed(bytes, &mut frames).expect("it stays within its bounds");
    let (mut reader, mut deltas) = (dialect.event_reader(chat), Vec::new());
    let mut whole = true;
    for frame in frames {
        if let SseFrame::Event { data, .. } = frame {
            whole &= reader.read_event(&data, &mut deltas).is_ok();
        }
    }
    let _ = reader.finish(&mut deltas);
    let mut reply = Reply::default();
    deltas.into_iter().for_each(|delta| whole &= reply.push(delta).is_ok());
    (reply, whole)
}

/// A chat of turns with one call and one result each.
fn conversation(bytes: usize) -> Chat {
    let mut messages = Vec::new();
    for turn in 0..bytes / 128 {
        let id = format!("call_{turn}");
        let call = ToolCall { id: id.clone(), name: "f".into(), arguments: "{\"a\":1}".into() };
        messages.push(Message { tool_calls: Some(vec![call]), ..Message::new(Role::Assistant, "x") });
        messages.push(Message { tool_call_id: Some(id), ..Message::new(Role::Tool, "y") });
    }
    Chat { model: "m".into(), input: Input::Messages(messages), thinking: Some(true), ..Chat::default() }
}

fn upstream_requests(growth: &mut GrowthTable) {
    for (name, dialect) in [("openai", Dialect::OpenAi), ("anthropic", Dialect::Anthropic), ("gemini", Dialect::Gemini)]
    {
        growth.measure(&format!("upstream::{name} request"), "calls and results", conversation, |chat| {
            dialect.write_request(chat, "m", &()).map(|request| request.body.len())
        });
    }
}

/// Measures the translation of task ids in requests and responses.
fn task_ids(growth: &mut GrowthTable) {
    let public_ids: Vec<String> = (0..9).map(|n| TaskKind::Video.new_public_id([n; 16])).collect();
    let provider_ids: Vec<String> = (0..9).map(|n| format!("provider-task-{n}")).collect();
    let pairs: Vec<IdPair<'_>> = provider_ids
        .iter()
        .zip(&public_ids)
        .map(|(provider_id, public_id)| IdPair { provider_id, public_id })
        .collect();
    let public_ids_in_json = |bytes| repeated("{\"x\":[", |n| format!("\"{}\"", public_ids[n % 9]), ",", "]}", bytes);
    let provider_ids_in_json =
        |bytes| repeated("{\"x\":[", |n| format!("{{\"id\":\"{}\"}}", provider_ids[n % 9]), ",", "]}", bytes);
    let in_text = |bytes| repeated("{\"x\":\"", |n| provider_ids[n % 9].clone(), " ", "\"}", bytes);
    growth.measure("tasks::id_rewriting", "public ids, to provider ids", public_ids_in_json, |body| {
        id_rewriting::to_provider_ids(body, &pairs)
    });
    growth.measure("tasks::id_rewriting", "public ids, found", public_ids_in_json, |body| {
        id_rewriting::find_public_ids(TaskKind::Video, body, 8)
    });
    growth.measure("tasks::id_rewriting", "provider ids, to public ids", provider_ids_in_json, |body| {
        id_rewriting::to_public_ids(TaskKind::Video, body, &pairs)
    });
    growth.measure("tasks::id_rewriting", "one text of ids", in_text, |body| {
        id_rewriting::to_public_ids(TaskKind::Video, body, &pairs)
    });
    for (attack, make) in json_attacks() {
        growth.measure("tasks::id_rewriting", attack, make, |body| {
            (
                id_rewriting::to_provider_ids(body, &pairs),
                id_rewriting::to_public_ids(TaskKind::Video, body, &pairs),
                id_rewriting::find_public_ids(TaskKind::Video, body, 8),
            )
        });
    }
}

fn renderers(growth: &mut GrowthTable) {
    let envelope = || Envelope {
        id: "00000000-0000-4000-8000-000000000000".into(),
        created: 1,
        model: "m".into(),
        system_fingerprint: "fp".into(),
        thinking: true,
        logprobs: false,
    };
    let sign: wire::surface::Signer = std::sync::Arc::new(|text| text.len().to_string());
    let deltas = |bytes: usize| {
        let mut deltas = Vec::new();
        for index in 0..bytes / 256 {
            deltas.push(Delta::Reasoning { text: "x".into(), logprobs: vec![] });
            deltas.push(Delta::Text { text: "y".into(), logprobs: vec![] });
            deltas.push(Delta::ToolCall { index, id: "c".into(), name: "f".into() });
            deltas.push(Delta::Arguments { index, text: "{}".into() });
        }
        deltas
    };
    let render = |mut render: Box<dyn Renderer>, deltas: &[Delta]| {
        let mut sent = 0;
        for delta in deltas {
            let mut out = String::new();
            render.push(delta, &mut out);
            sent += out.len();
        }
        sent
    };
    growth.measure("ChatChunkRenderer", "pieces of all kinds", deltas, |deltas| {
        render(Box::new(wire::surface::chat_completions::ChatChunkRenderer::new(envelope(), true)), deltas)
    });
    growth.measure("anthropic::MessageRenderer", "pieces of all kinds", deltas, |deltas| {
        render(
            Box::new(wire::surface::anthropic::MessageRenderer::new("id".into(), "m".into(), vec![], sign.clone())),
            deltas,
        )
    });
    growth.measure("gemini::GenerateContentRenderer", "pieces of all kinds", deltas, |deltas| {
        let form = wire::surface::gemini::StreamFormat::Sse;
        render(
            Box::new(wire::surface::gemini::GenerateContentRenderer::new(
                "id".into(),
                "m".into(),
                true,
                form,
                sign.clone(),
            )),
            deltas,
        )
    });
    growth.measure("responses::ResponseRenderer", "pieces of all kinds", deltas, |deltas| {
        let echo = wire::surface::responses::parse_request(br#"{"model":"m","input":"x"}"#).expect("a request").echo;
        render(Box::new(wire::surface::responses::ResponseRenderer::new(envelope(), echo, || 1)), deltas)
    });
}
