//! Anthropic's Messages API, asked and heard (API document 3): the mirror of `anthropic::parse_request` and
//! `anthropic::Messages`.

use std::collections::HashMap;

use chat::{Chat, Delta, Error, ErrorKind, FinishReason, Format, Input, Message, Part, Role, Tool, ToolChoice, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{Image, Reader, Signatures, Signed, broken, image, unreadable};
use crate::count::{Count, Counts};
use crate::json::arguments;

/// `max_tokens` where a request has none: the API wants one (API document 3.1).
const MAX_TOKENS: i64 = 4096;
/// The least room for thinking.
const LEAST_THINKING: i64 = 1024;

/// The body of a streamed request.
pub(super) fn request(chat: &Chat, model: &str, signatures: &dyn Signatures) -> Result<String, Error> {
    let Input::Messages(messages) = &chat.input else {
        return Err(Error::invalid(format!("The model `{}` answers chats, not text completions", chat.model)));
    };
    let max_tokens = match chat.max_tokens.or(chat.max_completion_tokens) {
        // What money allows may be more than the model does.
        None => chat.paid_tokens.map_or(MAX_TOKENS, |paid| paid.min(MAX_TOKENS)),
        Some(own) => chat.answer_limit().unwrap_or(own),
    };
    // Thinking needs a budget below `max_tokens`; where there is no room for both, the answer goes before.
    let thinks = chat.thinking == Some(true) && max_tokens > LEAST_THINKING;
    let (system, messages) = turns(messages, &chat.format, thinks, signatures)?;
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
        let budget = (max_tokens - LEAST_THINKING).max(max_tokens / 2).clamp(LEAST_THINKING, max_tokens - 1);
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
    if let Format::JsonSchema(format) = &chat.format {
        let schema = format.get("schema").cloned().unwrap_or_else(|| json!({}));
        set("output_config", Some(json!({"format": {"type": "json_schema", "schema": schema}})));
    }
    Ok(Value::Object(body).to_string())
}

/// The system prompt, and messages in which the roles alternate.
fn turns(
    messages: &[Message],
    format: &Format,
    thinks: bool,
    signatures: &dyn Signatures,
) -> Result<(String, Vec<Value>), Error> {
    let first = messages.iter().position(|message| !is_system(message)).unwrap_or(messages.len());
    let mut system: Vec<String> = messages[..first].iter().map(Message::text).collect();
    if *format == Format::JsonObject {
        system.push("Respond with one JSON object.".into());
    }
    let mut turns = Vec::<(&str, Vec<Value>)>::new();
    for message in &messages[first..] {
        let role = if message.role == Role::Assistant { "assistant" } else { "user" };
        let blocks = blocks(message, thinks, signatures)?;
        match turns.last_mut() {
            None if role == "assistant" => turns.extend([("user", vec![text(".")]), (role, blocks)]),
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

fn blocks(message: &Message, thinks: bool, signatures: &dyn Signatures) -> Result<Vec<Value>, Error> {
    let mut blocks = Vec::new();
    match message.role {
        Role::System | Role::Developer => blocks.push(text(&format!("<system>{}</system>", message.text()))),
        Role::Tool => {
            let id = id(message.tool_call_id.as_deref().unwrap_or_default());
            blocks.push(json!({"type": "tool_result", "tool_use_id": id, "content": message.text()}));
        }
        Role::User | Role::Assistant => {
            // A thinking block is good only with the signature it came with.
            let reasoning = message.reasoning.as_deref().filter(|reasoning| thinks && !reasoning.is_empty());
            if let Some((reasoning, signature)) = reasoning.and_then(|text| Some((text, signatures.find(text)?))) {
                blocks.push(json!({"type": "thinking", "thinking": reasoning, "signature": signature}));
            }
            for part in message.content.iter().flatten() {
                blocks.extend(block(part)?);
            }
            for call in message.calls() {
                let input = arguments(&call.arguments);
                blocks.push(json!({"type": "tool_use", "id": id(&call.id), "name": call.name, "input": input}));
            }
        }
    }
    if blocks.is_empty() {
        // A message without content is refused.
        blocks.push(text("."));
    }
    Ok(blocks)
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// `None` for empty text, which the API refuses.
fn block(part: &Part) -> Result<Option<Value>, Error> {
    let (kind, value) = match part {
        Part::Text(words) if words.is_empty() => return Ok(None),
        Part::Text(words) => return Ok(Some(text(words))),
        Part::Other { kind, value } => (kind, value),
    };
    let source = match image(kind, value)? {
        Image::Data { kind, base64 } => json!({"type": "base64", "media_type": kind, "data": base64}),
        Image::Url(url) => json!({"type": "url", "url": url}),
    };
    Ok(Some(json!({"type": "image", "source": source})))
}

/// An id the API takes: the caller's own, or a stable stand-in (FNV-1a).
fn id(id: &str) -> String {
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
    let alone = chat.parallel_tool_calls == Some(false) && !chat.tools.is_empty();
    let mut choice = match &chat.tool_choice {
        None if alone => json!({"type": "auto"}),
        None => return None,
        Some(ToolChoice::Auto) => json!({"type": "auto"}),
        Some(ToolChoice::None) => return Some(json!({"type": "none"})),
        Some(ToolChoice::Required) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": name}),
    };
    if alone {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}

/// Reads the events of one message.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The caller's stop strings, and the first place of each.
    stops: HashMap<String, usize>,
    usage: UsageBody,
    /// The kind of each block, by its index.
    block: Block,
    /// Calls begun.
    calls: usize,
    /// All of the thinking of the block that is open.
    thinking: String,
    signed: Vec<Signed>,
    finish: Option<FinishReason>,
    stopped: bool,
}

/// The block that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    #[default]
    Other,
    Call {
        any_arguments: bool,
    },
}

/// An event, whose parts are read as its type needs them: what no type needs may be anything.
#[derive(Deserialize)]
struct Event<'a> {
    r#type: String,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageBody<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// A part that an event of its type has to have.
fn part<'a, T: Deserialize<'a>>(json: Option<&'a RawValue>) -> Result<T, Error> {
    serde_json::from_str(json.map_or("null", RawValue::get)).map_err(|error| unreadable(&error))
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentBlock {
    ToolUse {
        id: String,
        name: String,
        input: Option<Value>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockDelta {
    TextDelta {
        text: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct MessageEnd {
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    r#type: Option<String>,
    message: Option<String>,
}

/// Counts as the API gives them: those of the cache are not part of `input_tokens`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UsageBody {
    input_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    output_tokens: Count,
}

impl Counts for UsageBody {
    const UNREADABLE: Self = Self {
        input_tokens: Count::UNREADABLE,
        cache_read_input_tokens: Count::NONE,
        cache_creation_input_tokens: Count::NONE,
        output_tokens: Count::NONE,
    };
}

impl UsageBody {
    /// What a later event says counts.
    pub(crate) fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
    }
}

impl From<UsageBody> for Usage {
    fn from(body: UsageBody) -> Self {
        let (read, written) = (body.cache_read_input_tokens.tokens(), body.cache_creation_input_tokens.tokens());
        Self {
            prompt_tokens: body.input_tokens.tokens().saturating_add(read).saturating_add(written),
            cached_tokens: read,
            cache_write_tokens: written,
            completion_tokens: body.output_tokens.tokens(),
            reasoning_tokens: None,
        }
    }
}

impl Events {
    pub(super) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().enumerate().rev().map(|(place, stop)| (stop.clone(), place)).collect();
        Self { stops, ..Self::default() }
    }
}

impl Reader for Events {
    fn event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        let event: Event = serde_json::from_str(data).map_err(|error| unreadable(&error))?;
        match event.r#type.as_str() {
            "message_start" => {
                let message: MessageBody = part(event.message)?;
                self.usage.update(UsageBody::of(message.usage).unwrap_or_default());
                out.push(Delta::Start(Usage { completion_tokens: 0, ..self.usage.into() }));
            }
            "content_block_start" => self.begin(part(event.content_block)?, out),
            "content_block_delta" => self.delta(part(event.delta)?, out),
            "content_block_stop" => {
                // A call without arguments has none at all; others expect an object.
                if self.block == (Block::Call { any_arguments: false }) {
                    out.push(Delta::Arguments { index: self.calls - 1, text: "{}".into() });
                }
                self.block = Block::Other;
            }
            "message_delta" => {
                let delta: MessageEnd = part(event.delta)?;
                self.usage.update(UsageBody::of(event.usage).unwrap_or_default());
                if let Some(reason) = delta.stop_reason {
                    self.finish = Some(self.reason(&reason, delta.stop_sequence.as_deref()));
                }
            }
            "message_stop" => self.stopped = true,
            "error" => return Err(failure(part(event.error)?)),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Delta>) -> Result<(), Error> {
        let finish = self.finish.take().filter(|_| self.stopped);
        let finish = finish.ok_or_else(|| broken("The provider's answer broke off before its end"))?;
        out.push(Delta::Finish(finish));
        out.push(Delta::Usage(self.usage.into()));
        Ok(())
    }

    fn signed(&mut self) -> Vec<Signed> {
        std::mem::take(&mut self.signed)
    }
}

impl Events {
    fn begin(&mut self, block: ContentBlock, out: &mut Vec<Delta>) {
        self.thinking.clear();
        self.block = Block::Other;
        if let ContentBlock::ToolUse { id, name, input } = block {
            let index = self.calls;
            self.calls += 1;
            out.push(Delta::ToolCall { index, id, name });
            // Whole at once, as some services do.
            let whole = input.filter(|input| input.as_object().is_some_and(|input| !input.is_empty()));
            self.block = Block::Call { any_arguments: whole.is_some() };
            out.extend(whole.map(|input| Delta::Arguments { index, text: input.to_string() }));
        }
    }

    fn delta(&mut self, delta: BlockDelta, out: &mut Vec<Delta>) {
        let logprobs = Vec::new();
        match delta {
            BlockDelta::TextDelta { text } if !text.is_empty() => out.push(Delta::Text { text, logprobs }),
            BlockDelta::ThinkingDelta { thinking: text } if !text.is_empty() => {
                self.thinking.push_str(&text);
                out.push(Delta::Reasoning { text, logprobs });
            }
            // It ends the thinking of its block: a second one signs nothing.
            BlockDelta::SignatureDelta { signature } if !signature.is_empty() && !self.thinking.is_empty() => {
                self.signed.push(Signed { text: std::mem::take(&mut self.thinking), signature });
            }
            BlockDelta::InputJsonDelta { partial_json: text } if !text.is_empty() && self.calls > 0 => {
                self.block = Block::Call { any_arguments: true };
                out.push(Delta::Arguments { index: self.calls - 1, text });
            }
            _ => {}
        }
    }

    fn reason(&self, reason: &str, sequence: Option<&str>) -> FinishReason {
        let place = sequence.and_then(|text| self.stops.get(text).copied());
        place.filter(|_| reason == "stop_sequence").map_or_else(|| self::reason(reason), FinishReason::StopString)
    }
}

/// What a `stop_reason` means.
pub(crate) fn reason(reason: &str) -> FinishReason {
    match reason {
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextFull,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        // `end_turn`, `pause_turn`, a stop sequence that the caller did not name.
        _ => FinishReason::Stop,
    }
}

fn failure(error: ErrorBody) -> Error {
    let kind = match error.r#type.as_deref() {
        Some("overloaded_error") => ErrorKind::Overload,
        Some("rate_limit_error") => ErrorKind::Rate,
        Some("timeout_error") => ErrorKind::Timeout,
        _ => ErrorKind::Upstream(502),
    };
    Error::new(kind, error.message.unwrap_or_else(|| "The provider broke off".into()))
}
