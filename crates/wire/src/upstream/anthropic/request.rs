//! Requests to Anthropic's Messages API.

use chat::{Chat, Error, Input, Message, Part, ResponseFormat, Role, Tool, ToolChoice};
use serde_json::{Map, Value, json};

use crate::tool_arguments::parse_tool_arguments;
use crate::upstream::event_reader::SignatureStore;
use crate::upstream::image::{Image, image_of};

/// The `max_tokens` of a request without one, which the API requires (API document 3.1).
const DEFAULT_MAX_TOKENS: i64 = 4096;
/// The minimum number of tokens for thinking.
const MIN_THINKING_TOKENS: i64 = 1024;

/// The body of a streamed request to `model`.
pub(in crate::upstream) fn request_body(
    chat: &Chat,
    model: &str,
    signatures: &dyn SignatureStore,
) -> Result<String, Error> {
    let Input::Messages(messages) = &chat.input else {
        return Err(Error::invalid(format!("The model `{}` answers chats, not text completions", chat.model)));
    };
    let max_tokens = match chat.max_tokens.or(chat.max_completion_tokens) {
        // The tokens that the budget pays for may be more than the model allows.
        None => chat.affordable_tokens.map_or(DEFAULT_MAX_TOKENS, |paid| paid.min(DEFAULT_MAX_TOKENS)),
        Some(own) => chat.max_output_tokens().unwrap_or(own),
    };
    // Thinking needs a budget below `max_tokens`. Without enough tokens for both, thinking is off.
    let thinks = chat.thinking == Some(true) && max_tokens > MIN_THINKING_TOKENS;
    let (system, messages) = alternating_messages(messages, &chat.response_format, thinks, signatures)?;
    let mut body = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.into(), value);
        }
    };
    set("model", Some(model.into()));
    set("max_tokens", Some(max_tokens.into()));
    set("system", (!system.is_empty()).then(|| system.into()));
    set("messages", Some(messages.into()));
    set("stream", Some(true.into()));
    if thinks {
        let budget = (max_tokens - MIN_THINKING_TOKENS).max(max_tokens / 2).clamp(MIN_THINKING_TOKENS, max_tokens - 1);
        set("thinking", Some(json!({"type": "enabled", "budget_tokens": budget})));
    } else {
        // Thinking and temperature exclude each other.
        set("temperature", chat.sampling.temperature.map(|value| value.min(1.0).into()));
        set("top_p", chat.sampling.top_p.map(Value::from));
    }
    let stops: Vec<&str> = chat.stop.iter().map(String::as_str).filter(|stop| !stop.trim().is_empty()).collect();
    set("stop_sequences", (!stops.is_empty()).then(|| json!(stops)));
    set("metadata", chat.user.as_ref().map(|user| json!({"user_id": user})));
    set("tools", (!chat.tools.is_empty()).then(|| chat.tools.iter().map(tool).collect()));
    set("tool_choice", tool_choice(chat));
    if let ResponseFormat::JsonSchema(format) = &chat.response_format {
        let schema = format.get("schema").cloned().unwrap_or_else(|| json!({}));
        set("output_config", Some(json!({"format": {"type": "json_schema", "schema": schema}})));
    }
    Ok(Value::Object(body).to_string())
}

/// The system prompt, and messages in which the roles alternate.
fn alternating_messages(
    messages: &[Message],
    format: &ResponseFormat,
    thinks: bool,
    signatures: &dyn SignatureStore,
) -> Result<(String, Vec<Value>), Error> {
    let first = messages.iter().position(|message| !is_system(message)).unwrap_or(messages.len());
    let mut system: Vec<String> = messages[..first].iter().map(Message::text).collect();
    if *format == ResponseFormat::JsonObject {
        system.push("Respond with one JSON object.".into());
    }
    let mut turns = Vec::<(&str, Vec<Value>)>::new();
    for message in &messages[first..] {
        let role = if message.role == Role::Assistant { "assistant" } else { "user" };
        let blocks = message_blocks(message, thinks, signatures)?;
        match turns.last_mut() {
            None if role == "assistant" => turns.extend([("user", vec![text_block(".")]), (role, blocks)]),
            Some((last, earlier)) if *last == role => earlier.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    let turns = turns.into_iter().map(|(role, blocks)| json!({"role": role, "content": blocks}));
    Ok((system.join("\n\n"), turns.collect()))
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

fn message_blocks(message: &Message, thinks: bool, signatures: &dyn SignatureStore) -> Result<Vec<Value>, Error> {
    let mut blocks = Vec::new();
    match message.role {
        Role::System | Role::Developer => blocks.push(text_block(&format!("<system>{}</system>", message.text()))),
        Role::Tool => {
            let id = tool_use_id(message.tool_call_id.as_deref().unwrap_or_default());
            blocks.push(json!({"type": "tool_result", "tool_use_id": id, "content": message.text()}));
        }
        Role::User | Role::Assistant => {
            // A thinking block is valid only with its signature.
            let reasoning = message.reasoning.as_deref().filter(|reasoning| thinks && !reasoning.is_empty());
            if let Some((reasoning, signature)) = reasoning.and_then(|text| Some((text, signatures.find(text)?))) {
                blocks.push(json!({"type": "thinking", "thinking": reasoning, "signature": signature}));
            }
            for part in message.content.iter().flatten() {
                blocks.extend(content_block(part)?);
            }
            for call in message.calls() {
                let input = parse_tool_arguments(&call.arguments);
                blocks
                    .push(json!({"type": "tool_use", "id": tool_use_id(&call.id), "name": call.name, "input": input}));
            }
        }
    }
    if blocks.is_empty() {
        // The API refuses a message without content.
        blocks.push(text_block("."));
    }
    Ok(blocks)
}

fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// `None` for empty text, which the API refuses.
fn content_block(part: &Part) -> Result<Option<Value>, Error> {
    let (kind, value) = match part {
        Part::Text(text) if text.is_empty() => return Ok(None),
        Part::Text(text) => return Ok(Some(text_block(text))),
        Part::Other { kind, value } => (kind, value),
    };
    let source = match image_of(kind, value)? {
        Image::Data { media_type, base64 } => {
            json!({"type": "base64", "media_type": media_type, "data": base64})
        }
        Image::Url(url) => json!({"type": "url", "url": url}),
    };
    Ok(Some(json!({"type": "image", "source": source})))
}

/// An id that the API accepts: the caller's, or a hash of it (FNV-1a).
fn tool_use_id(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
        return id.into();
    }
    let hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("call_{hash:016x}")
}

fn tool(tool: &Tool) -> Value {
    let schema = tool.function.get("parameters").cloned();
    let schema = schema.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    let mut body = json!({"name": tool.name, "input_schema": schema});
    if let Some(description) = tool.function.get("description") {
        body["description"] = description.clone();
    }
    if tool.strict {
        body["strict"] = true.into();
    }
    body
}

fn tool_choice(chat: &Chat) -> Option<Value> {
    let disable_parallel = chat.parallel_tool_calls == Some(false) && !chat.tools.is_empty();
    let mut choice = match &chat.tool_choice {
        None if disable_parallel => json!({"type": "auto"}),
        None => return None,
        Some(ToolChoice::Auto) => json!({"type": "auto"}),
        Some(ToolChoice::None) => return Some(json!({"type": "none"})),
        Some(ToolChoice::Required) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": name}),
    };
    if disable_parallel {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}
