//! Reference files, and conversion of conversations from JSON to chats.

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use chat::{Chat, Input, Message, Part, ResponseFormat, Role, Tool, ToolCall};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use text::{Encoding, EncodingName, Tokenizer};

/// The content of a file of the repository.
pub(crate) fn file(path: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The decompressed content of a gzip file of the repository.
fn unpacked(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file(path).as_slice()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// A JSON file, decompressed if its name ends with `.gz`.
pub(crate) fn json(path: &str) -> Value {
    let bytes = if path.ends_with(".gz") { unpacked(path) } else { file(path) };
    serde_json::from_slice(&bytes).unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The released `tokenizer.json` of V3.1.
static V31_JSON: LazyLock<Vec<u8>> = LazyLock::new(|| unpacked("reference/tokenizers/deepseek-v3.1.tokenizer.json.gz"));

/// The bytes of a release's `tokenizer.json`: that of V3.1 with the overrides of the release.
pub(crate) fn tokenizer_json(name: EncodingName) -> Vec<u8> {
    let name = match name {
        EncodingName::V31 | EncodingName::V32Exp => return V31_JSON.clone(),
        name => name.as_str(),
    };
    let overrides = json(&format!("reference/tokenizers/deepseek-{name}.overrides.json"));
    let mut tokenizer: Value = serde_json::from_slice(&V31_JSON).unwrap();
    for new in overrides["replace_added_tokens"].as_array().unwrap() {
        let tokens = tokenizer["added_tokens"].as_array_mut().unwrap();
        *tokens.iter_mut().find(|old| old["id"] == new["id"]).unwrap() = new.clone();
    }
    let mut bytes = Vec::new();
    let four_spaces = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, four_spaces);
    serde::Serialize::serialize(&tokenizer, &mut writer).unwrap();
    bytes.extend(overrides["final_newline"].as_bool().unwrap().then_some(b'\n'));
    bytes
}

fn load(name: EncodingName) -> Arc<Encoding> {
    let tokenizer = Tokenizer::from_json(&tokenizer_json(name)).unwrap();
    Arc::new(Encoding::new(tokenizer, name).unwrap())
}

/// The encoding of a release with its tokenizer, loaded once.
pub(crate) fn encoding(name: EncodingName) -> &'static Arc<Encoding> {
    static V3: LazyLock<Arc<Encoding>> = LazyLock::new(|| load(EncodingName::V3));
    static R1: LazyLock<Arc<Encoding>> = LazyLock::new(|| load(EncodingName::R1));
    static V31: LazyLock<Arc<Encoding>> = LazyLock::new(|| load(EncodingName::V31));
    static V32_EXP: LazyLock<Arc<Encoding>> = LazyLock::new(|| load(EncodingName::V32Exp));
    static V32: LazyLock<Arc<Encoding>> = LazyLock::new(|| load(EncodingName::V32));
    match name {
        EncodingName::V3 => &V3,
        EncodingName::R1 => &R1,
        EncodingName::V31 => &V31,
        EncodingName::V32Exp => &V32_EXP,
        EncodingName::V32 => &V32,
    }
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The chat of an API request. The vectors store tools and response formats in a message, and a
/// request beside the messages.
pub(crate) fn chat(messages: &Value, thinking: bool) -> Chat {
    let messages = messages.as_array().unwrap();
    let mut chat = Chat { model: "m".into(), thinking: Some(thinking), ..Chat::default() };
    for message in messages {
        if let Some(tools) = message["tools"].as_array() {
            chat.tools = tools.iter().map(|tool| self::tool(&tool["function"])).collect();
        }
        if let Some(schema) = message["response_format"]["json_schema"].as_object() {
            chat.response_format = ResponseFormat::JsonSchema(schema.clone());
        }
    }
    chat.input = Input::Messages(messages.iter().map(message).collect());
    chat
}

pub(crate) fn tool(function: &Value) -> Tool {
    let function: &Map<String, Value> = function.as_object().unwrap();
    Tool { name: text(&function["name"]).into(), strict: false, function: function.clone() }
}

fn message(message: &Value) -> Message {
    let role = match text(&message["role"]) {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        "developer" => Role::Developer,
        other => panic!("role {other}"),
    };
    let call = |call: &Value| ToolCall {
        id: call["id"].as_str().unwrap_or_default().into(),
        name: text(&call["function"]["name"]).into(),
        arguments: text(&call["function"]["arguments"]).into(),
    };
    Message {
        role,
        content: message["content"].as_str().map(|text| vec![Part::Text(text.into())]),
        reasoning: message["reasoning_content"].as_str().map(Into::into),
        signatures: Vec::new(),
        tool_calls: message["tool_calls"].as_array().map(|calls| calls.iter().map(call).collect()),
        tool_call_id: message["tool_call_id"].as_str().map(Into::into),
        prefix: message["prefix"].as_bool().unwrap_or(false),
        name: None,
        cache_control: None,
    }
}
