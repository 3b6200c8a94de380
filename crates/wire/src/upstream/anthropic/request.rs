//! Requests to Anthropic's Messages API.

use chat::{Chat, Error, Input, Message, Part, ResponseFormat, Role, Tool, ToolChoice};
use serde_json::{Map, Value, json};

use crate::tool_arguments::parse_tool_arguments;
use crate::upstream::attachment::{Attachment, Source, attachment_of, attachments, unsupported_content};
use crate::upstream::chat_part::is_image_of_answer;
use crate::upstream::event_reader::SignatureStore;
use crate::upstream::short_id::short_id;

/// The `max_tokens` of a request without one, which the API requires (API document 3.1).
const DEFAULT_MAX_TOKENS: i64 = 4096;
/// The minimum number of tokens for thinking.
pub(crate) const MIN_THINKING_TOKENS: i64 = 1024;
/// The least `top_p` that the API takes beside thinking.
const MIN_THINKING_TOP_P: f64 = 0.95;

/// The body of a request to `model`.
pub(in crate::upstream) fn request_body(
    chat: &Chat,
    model: &str,
    signatures: &dyn SignatureStore,
) -> Result<String, Error> {
    let Input::Messages(messages) = &chat.input else {
        return Err(Error::invalid(format!("The model `{}` answers chats, not text completions", chat.model)));
    };
    let max_tokens = max_tokens(chat);
    // Thinking needs a budget below `max_tokens`, excludes a forced call, and within a turn must be
    // in every message with calls. Otherwise it is off.
    let thinks = wants_thinking(chat)
        && max_tokens > MIN_THINKING_TOKENS
        && !forces_call(chat)
        && calls_without_thinking(messages, signatures).next().is_none();
    let (system, messages) = alternating_messages(messages, &chat.response_format, thinks, signatures)?;
    let mut body = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.into(), value);
        }
    };
    set("model", Some(model.into()));
    set("max_tokens", Some(max_tokens.into()));
    set("system", system);
    set("messages", Some(messages.into()));
    set("stream", chat.wants_stream().then(|| true.into()));
    if thinks {
        let budget = thinking_budget(chat.reasoning_effort.as_deref(), max_tokens);
        set("thinking", Some(json!({"type": "enabled", "budget_tokens": budget})));
    }
    // The rows of models drop what a model does not take beside thinking, with a note.
    set("temperature", chat.sampling.temperature.map(|value| value.min(1.0).into()));
    let top_p = chat.sampling.top_p.filter(|top_p| !thinks || *top_p >= MIN_THINKING_TOP_P);
    set("top_p", top_p.map(Value::from));
    set("top_k", chat.sampling.top_k.filter(|top_k| *top_k > 0).map(Value::from));
    let stops: Vec<&str> = chat.stop.iter().map(String::as_str).filter(|stop| !stop.trim().is_empty()).collect();
    set("stop_sequences", (!stops.is_empty()).then(|| json!(stops)));
    set("metadata", chat.user_id.as_ref().or(chat.user.as_ref()).map(|user| json!({"user_id": user})));
    set("tools", (!chat.tools.is_empty()).then(|| tools(chat).into()));
    set("tool_choice", tool_choice(chat));
    if let ResponseFormat::JsonSchema(format) = &chat.response_format {
        let schema = format.get("schema").cloned().unwrap_or_else(|| json!({}));
        set("output_config", Some(json!({"format": {"type": "json_schema", "schema": schema}})));
    }
    Ok(Value::Object(body).to_string())
}

fn max_tokens(chat: &Chat) -> i64 {
    match chat.max_tokens.or(chat.max_completion_tokens) {
        // The tokens that the budget pays for may be more than the model allows.
        None => chat.affordable_tokens.map_or(DEFAULT_MAX_TOKENS, |paid| paid.min(DEFAULT_MAX_TOKENS)),
        Some(own) => chat.max_output_tokens().unwrap_or(own),
    }
}

/// Whether the request has a `top_p` that the API refuses beside the thinking that it asks for.
pub(in crate::upstream) fn drops_top_p(chat: &Chat) -> bool {
    let is_low = chat.sampling.top_p.is_some_and(|top_p| top_p < MIN_THINKING_TOP_P);
    is_low && wants_thinking(chat) && max_tokens(chat) > MIN_THINKING_TOKENS && !drops_thinking(chat)
}

/// Whether the request asks for thinking, by itself or by its effort.
fn wants_thinking(chat: &Chat) -> bool {
    chat.thinking.unwrap_or_else(|| chat.reasoning_effort.as_deref().is_some_and(|effort| effort != "none"))
}

/// Whether the request asks for thinking that the API refuses beside its other parts, as far as the
/// request alone tells.
pub(in crate::upstream) fn drops_thinking(chat: &Chat) -> bool {
    let Input::Messages(messages) = &chat.input else { return false };
    let lacks_reasoning = |message: &&Message| message.reasoning.as_deref().unwrap_or_default().is_empty();
    let mut unsigned = calls_without_thinking(messages, &()).filter(lacks_reasoning);
    wants_thinking(chat) && (forces_call(chat) || unsigned.next().is_some())
}

/// Whether the answer must be a call.
fn forces_call(chat: &Chat) -> bool {
    matches!(chat.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)))
}

/// The messages with calls in the current turn whose thinking cannot be sent back, because the
/// caller does not return it or its signature is unknown.
fn calls_without_thinking<'a>(
    messages: &'a [Message],
    signatures: &dyn SignatureStore,
) -> impl Iterator<Item = &'a Message> {
    let turn = messages.iter().rposition(|message| message.role == Role::User).map_or(0, |user| user + 1);
    let has_thinking = |message: &Message| signed_thinking(message, signatures).is_some();
    messages[turn..].iter().filter(move |message| !message.calls().is_empty() && !has_thinking(message))
}

/// The reasoning of a message and its signature.
fn signed_thinking<'a>(message: &'a Message, signatures: &dyn SignatureStore) -> Option<(&'a str, String)> {
    let reasoning = message.reasoning.as_deref().filter(|reasoning| !reasoning.is_empty())?;
    Some((reasoning, signatures.find(reasoning)?))
}

/// The tokens of the thinking: a share of `max_tokens` that follows the effort.
pub(crate) fn thinking_budget(effort: Option<&str>, max_tokens: i64) -> i64 {
    let share = |percent: i64| max_tokens.saturating_mul(percent) / 100;
    let budget = match effort {
        Some("minimal") => share(10),
        Some("low") => share(20),
        Some("medium") => share(50),
        Some("high") => share(80),
        Some("xhigh" | "max") => share(95),
        _ => (max_tokens - MIN_THINKING_TOKENS).max(max_tokens / 2),
    };
    budget.clamp(MIN_THINKING_TOKENS, max_tokens - 1)
}

/// The system prompt, and messages in which the roles alternate.
fn alternating_messages(
    messages: &[Message],
    format: &ResponseFormat,
    thinks: bool,
    signatures: &dyn SignatureStore,
) -> Result<(Option<Value>, Vec<Value>), Error> {
    let first = messages.iter().position(|message| !is_system(message)).unwrap_or(messages.len());
    let mut system: Vec<Value> = messages[..first].iter().map(system_block).collect();
    if *format == ResponseFormat::JsonObject {
        system.push(text_block("Respond with one JSON object."));
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
    Ok((system_body(system), turns.collect()))
}

fn system_block(message: &Message) -> Value {
    let mut block = text_block(&message.text());
    set_cache_control(&mut block, message.cache_control.as_ref());
    block
}

/// One text, or where a block has a mark a list of blocks.
fn system_body(blocks: Vec<Value>) -> Option<Value> {
    if blocks.iter().any(|block| block.get("cache_control").is_some()) {
        return Some(blocks.into());
    }
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
    Some(texts.join("\n\n")).filter(|text| !text.is_empty()).map(Value::from)
}

fn set_cache_control(block: &mut Value, mark: Option<&Value>) {
    if let Some(mark) = mark {
        block["cache_control"] = mark.clone();
    }
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
            let content = tool_result_content(message)?;
            blocks.push(json!({"type": "tool_result", "tool_use_id": id, "content": content}));
        }
        Role::User | Role::Assistant => {
            // A thinking block is valid only with its signature.
            if let Some((reasoning, signature)) = signed_thinking(message, signatures).filter(|_| thinks) {
                blocks.push(json!({"type": "thinking", "thinking": reasoning, "signature": signature}));
            }
            for part in message.content.iter().flatten().filter(|part| !is_image_of_answer(message, part)) {
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
    // A thinking block takes no mark.
    if let Some(last) = blocks.last_mut().filter(|last| last["type"] != "thinking") {
        set_cache_control(last, message.cache_control.as_ref());
    }
    Ok(blocks)
}

/// The content of a result: text, or blocks if there is more than text.
fn tool_result_content(message: &Message) -> Result<Value, Error> {
    let parts = message.content.as_deref().unwrap_or_default();
    if attachments(parts).next().is_none() {
        return Ok(message.text().into());
    }
    let blocks = parts.iter().map(content_block).collect::<Result<Vec<_>, _>>()?;
    Ok(blocks.into_iter().flatten().collect())
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
    let source_body = |source| match source {
        Source::Data { media_type, base64 } => json!({"type": "base64", "media_type": media_type, "data": base64}),
        Source::Url(url) => json!({"type": "url", "url": url}),
    };
    Ok(Some(match attachment_of(kind, value)? {
        Attachment::Image(source) => json!({"type": "image", "source": source_body(source)}),
        Attachment::File { name, source } => {
            let mut block = json!({"type": "document", "source": source_body(source)});
            if let Some(name) = name {
                block["title"] = name.into();
            }
            block
        }
        Attachment::Audio { .. } => return Err(unsupported_content(kind)),
    }))
}

/// An id that the API accepts: the caller's, or a hash of it.
fn tool_use_id(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
        return id.into();
    }
    short_id("call", id)
}

/// The tools; the last one has the mark that caches them.
fn tools(chat: &Chat) -> Vec<Value> {
    let mut tools: Vec<Value> = chat.tools.iter().map(tool).collect();
    if let Some(last) = tools.last_mut() {
        set_cache_control(last, chat.tools_cache_control.as_ref());
    }
    tools
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
        // The API refuses a choice without tools.
        Some(ToolChoice::Auto | ToolChoice::None) if chat.tools.is_empty() => return None,
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
