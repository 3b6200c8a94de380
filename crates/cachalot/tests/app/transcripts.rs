//! Every API surface with every provider dialect, streamed and not: the request to the provider and
//! the answer to the client, as snapshots. Unusual framing of a stream must not change the answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};
use testkit::transcripts::{self, Scenario};

use crate::app::TestApp;

const DIALECTS: [&str; 5] = ["openai", "deepseek", "responses", "anthropic", "gemini"];
const SURFACES: [Surface; 4] = [Surface::Chat, Surface::Responses, Surface::Messages, Surface::Gemini];

/// An API for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Surface {
    Chat,
    Responses,
    Messages,
    Gemini,
}

/// The next answer of the fake provider, and its framing.
#[derive(Clone, Copy)]
struct FakeReply {
    scenario: Scenario,
    odd_framing: bool,
}

/// A server with a fake provider of each dialect.
struct TranscriptSetup {
    app: TestApp,
    fake: FakeUpstream,
    reply: Arc<Mutex<FakeReply>>,
}

impl TranscriptSetup {
    async fn start() -> Self {
        let reply = Arc::new(Mutex::new(FakeReply { scenario: Scenario::Text, odd_framing: false }));
        let current_reply = reply.clone();
        let fake = FakeUpstream::start(move |request| {
            let FakeReply { scenario, odd_framing: is_odd } = *current_reply.lock().unwrap();
            let dialect = request.path.split('/').nth(1).unwrap_or_default();
            let streamed = request.json()["stream"] == true || request.path.contains("streamGenerateContent");
            match (streamed, is_odd) {
                (false, _) => FakeResponse::json(200, transcripts::json_body(dialect, scenario)),
                (true, false) => transcripts::stream_response(dialect, scenario),
                (true, true) => odd_framing(transcripts::stream_response(dialect, scenario)),
            }
        })
        .await;
        let block = |dialect: &str| {
            let url = format!("http://{}/{dialect}/v1", fake.address);
            format!(
                "[[providers]]\nname='fake-{dialect}'\nbase_url='{url}'\ndialect='{dialect}'\nprivate=true\nmodels=['to-{dialect}']\n"
            )
        };
        let providers: String = DIALECTS.iter().map(|dialect| block(dialect)).collect();
        let providers = toml::from_str::<cachalot::config::Config>(&providers).unwrap().providers;
        let app = TestApp::start_with_config(&["--model", "none"], |config| {
            config.providers = providers;
            config.aliases.clear();
        })
        .await;
        Self { app, fake, reply }
    }

    /// Status and body of an answer, with its volatile parts redacted.
    async fn transcript(&self, surface: Surface, dialect: &str, reply: FakeReply, stream: bool) -> String {
        *self.reply.lock().unwrap() = reply;
        let model = format!("to-{dialect}");
        let (path, body) = surface.request(&model, reply.scenario == Scenario::ToolCalls, stream);
        let response = self.app.client.post(self.app.url(&path)).json(&body).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        format!("{status}\n{}\n", redact_volatile(text.trim_end()))
    }
}

/// The answer with CRLF line ends, comments, arbitrary chunk borders and pauses.
fn odd_framing(answer: FakeResponse) -> FakeResponse {
    let bytes = answer
        .steps
        .iter()
        .filter_map(|piece| if let BodyStep::Send(bytes) = piece { Some(bytes.clone()) } else { None });
    let text = String::from_utf8(bytes.collect::<Vec<_>>().concat()).unwrap();
    let text = format!(": OPENROUTER PROCESSING\r\n\r\n{}", text.replace('\n', "\r\n"));
    let breaks = answer.steps.iter().any(|piece| matches!(piece, BodyStep::Disconnect));
    let mut pieces = Vec::new();
    for (number, bytes) in text.as_bytes().chunks(61).enumerate() {
        pieces.push(BodyStep::Send(bytes.to_vec()));
        if number % 8 == 0 {
            pieces.push(BodyStep::Wait(Duration::from_millis(2)));
        }
    }
    if breaks {
        pieces.extend([BodyStep::Wait(Duration::from_millis(50)), BodyStep::Disconnect]);
    }
    FakeResponse::stream(pieces)
}

impl Surface {
    /// Path and body of a request with text, an image and settings, or of one with tool results.
    fn request(self, model: &str, tools: bool, stream: bool) -> (String, Value) {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        let png = "https://example.org/whale.png";
        match self {
            Self::Chat => {
                let call = |id: &str, city: &str| json!({"id": id, "type": "function", "function": {"name": "get_weather", "arguments": json!({"city": city}).to_string()}});
                let messages = match tools {
                    false => json!([
                        {"role": "system", "content": "Be brief."},
                        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": png}}]},
                    ]),
                    true => json!([
                        {"role": "user", "content": "Weather?"},
                        {"role": "assistant", "content": "", "reasoning_content": "Ask.", "tool_calls": [call("call_a", "Oslo"), call("call_b", "Bern")]},
                        {"role": "tool", "tool_call_id": "call_a", "content": "rain"},
                        {"role": "tool", "tool_call_id": "call_b", "content": "snow"},
                    ]),
                };
                let mut body = json!({"model": model, "messages": messages, "stream": stream, "max_tokens": 50, "temperature": 0.5, "stop": ["END"]});
                if tools {
                    body["tools"] = json!([{"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": schema}}]);
                    body["thinking"] = json!({"type": "enabled"});
                }
                ("/v1/chat/completions".into(), body)
            }
            Self::Responses => {
                let call = |id: &str, city: &str| json!({"type": "function_call", "call_id": id, "name": "get_weather", "arguments": json!({"city": city}).to_string()});
                let result =
                    |id: &str, text: &str| json!({"type": "function_call_output", "call_id": id, "output": text});
                let input = match tools {
                    false => {
                        json!([{"role": "user", "content": [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": png}]}])
                    }
                    true => {
                        json!([{"role": "user", "content": "Weather?"}, call("call_a", "Oslo"), call("call_b", "Bern"), result("call_a", "rain"), result("call_b", "snow")])
                    }
                };
                let mut body = json!({"model": model, "instructions": "Be brief.", "input": input, "stream": stream, "max_output_tokens": 50, "temperature": 0.5});
                if tools {
                    body["tools"] =
                        json!([{"type": "function", "name": "get_weather", "description": "d", "parameters": schema}]);
                    body["reasoning"] = json!({"effort": "high"});
                }
                ("/v1/responses".into(), body)
            }
            Self::Messages => {
                let call = |id: &str, city: &str| json!({"type": "tool_use", "id": id, "name": "get_weather", "input": {"city": city}});
                let result = |id: &str, text: &str| json!({"type": "tool_result", "tool_use_id": id, "content": text});
                let messages = match tools {
                    false => {
                        json!([{"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image", "source": {"type": "url", "url": png}}]}])
                    }
                    true => json!([
                        {"role": "user", "content": "Weather?"},
                        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Ask.", "signature": "eA"}, call("call_a", "Oslo"), call("call_b", "Bern")]},
                        {"role": "user", "content": [result("call_a", "rain"), result("call_b", "snow")]},
                    ]),
                };
                let mut body = json!({"model": model, "system": "Be brief.", "messages": messages, "stream": stream, "max_tokens": 2000, "temperature": 0.5, "stop_sequences": ["END"]});
                if tools {
                    body["tools"] = json!([{"name": "get_weather", "description": "d", "input_schema": schema}]);
                    body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
                    body.as_object_mut().unwrap().remove("temperature");
                }
                ("/v1/messages".into(), body)
            }
            Self::Gemini => {
                let call = |city: &str| json!({"functionCall": {"name": "get_weather", "args": {"city": city}}});
                let result =
                    |text: &str| json!({"functionResponse": {"name": "get_weather", "response": {"result": text}}});
                let contents = match tools {
                    false => {
                        json!([{"role": "user", "parts": [{"text": "What is this?"}, {"fileData": {"mimeType": "image/png", "fileUri": png}}]}])
                    }
                    true => json!([
                        {"role": "user", "parts": [{"text": "Weather?"}]},
                        {"role": "model", "parts": [{"text": "Ask.", "thought": true}, call("Oslo"), call("Bern")]},
                        {"role": "user", "parts": [result("rain"), result("snow")]},
                    ]),
                };
                let mut body = json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": contents,
                    "generationConfig": {"maxOutputTokens": 50, "temperature": 0.5, "stopSequences": ["END"]}});
                if tools {
                    body["tools"] = json!([{"functionDeclarations": [{"name": "get_weather", "description": "d", "parametersJsonSchema": schema}]}]);
                    body["generationConfig"]["thinkingConfig"] = json!({"includeThoughts": true});
                }
                let call = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                (format!("/v1beta/models/{model}:{call}"), body)
            }
        }
    }
}

/// The text without its volatile parts: generated ids, times, signatures of this process.
fn redact_volatile(text: &str) -> String {
    let mut text = text.to_owned();
    for key in [
        "\"id\":\"",
        "\"item_id\":\"",
        "\"response_id\":\"",
        "\"responseId\":\"",
        "\"request_id\":\"",
        "\"created\":",
        "\"created_at\":",
        "\"completed_at\":",
        "\"signature\":\"",
        "\"thoughtSignature\":\"",
        "(request id: ",
    ] {
        let (mut out, mut rest) = (String::new(), text.as_str());
        while let Some(at) = rest.find(key) {
            let (before, after) = rest.split_at(at + key.len());
            let end = after.find(['"', ',', '}', ')']).unwrap_or(after.len());
            out.push_str(before);
            // Values of the fake provider stay.
            let from_provider =
                ["up_1", "msg_1", "call_0", "call_1", "c2lnbmVk", "r1", "1", ""].contains(&&after[..end]);
            out.push_str(if from_provider { &after[..end] } else { "~" });
            rest = &after[end..];
        }
        out.push_str(rest);
        text = out;
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn every_surface_with_every_dialect_matches_its_snapshot() {
    let setup = TranscriptSetup::start().await;
    for surface in SURFACES {
        for dialect in DIALECTS {
            let mut transcript = String::new();
            for scenario in Scenario::ALL {
                let reply = FakeReply { scenario, odd_framing: false };
                let streamed = setup.transcript(surface, dialect, reply, true).await;
                let received = setup.fake.requests().pop().unwrap();
                if matches!(scenario, Scenario::Text | Scenario::ToolCalls) {
                    transcript += &format!(
                        "## {scenario:?}: request to the provider\n{} {}\n",
                        received.path,
                        redact_volatile(&received.json().to_string())
                    );
                    transcript += &format!(
                        "## {scenario:?}: JSON answer\n{}",
                        setup.transcript(surface, dialect, reply, false).await
                    );
                }
                transcript += &format!("## {scenario:?}: streamed answer\n{streamed}");
                // Framing does not matter where the stream is converted; a passthrough keeps it.
                let is_passthrough = matches!(
                    (surface, dialect),
                    (Surface::Chat, "openai" | "deepseek")
                        | (Surface::Responses, "responses")
                        | (Surface::Messages, "anthropic")
                        | (Surface::Gemini, "gemini")
                );
                if !is_passthrough {
                    let odd = setup.transcript(surface, dialect, FakeReply { scenario, odd_framing: true }, true).await;
                    assert_eq!(odd, streamed, "{surface:?} to {dialect}, {scenario:?}");
                }
            }
            insta::with_settings!({omit_expression => true}, {
                insta::assert_snapshot!(format!("{surface:?}-to-{dialect}").to_lowercase(), transcript);
            });
        }
    }
    setup.app.stop().await;
}
