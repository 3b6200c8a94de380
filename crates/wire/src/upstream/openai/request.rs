//! Requests to chat completions APIs.

use chat::{Chat, Error, Input, Message, Part, ResponseFormat, Role, Tool, ToolCall, ToolChoice};
use serde_json::{Map, Value, json};

use crate::upstream::attachment::attachments;
use crate::upstream::chat_part::is_image_of_answer;
use crate::upstream::dropped_parts::DroppedParts;
use crate::upstream::short_id::short_id;

/// Maximum number of stop sequences that OpenAI's own service accepts.
const MAX_STOP_SEQUENCES: usize = 4;
/// Maximum length of `user`.
const MAX_USER_BYTES: usize = 64;

/// The body of a request to `model`. `with_deepseek_fields` adds the fields that OpenAI's
/// own service refuses.
pub(in crate::upstream) fn request_body(
    chat: &Chat,
    model: &str,
    with_deepseek_fields: bool,
    dropped: &mut DroppedParts,
) -> Result<String, Error> {
    let Input::Messages(messages) = &chat.input else {
        return Err(Error::invalid(format!("The model `{}` answers chats, not text completions", chat.model)));
    };
    let mut body = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.into(), value);
        }
    };
    set("model", Some(model.into()));
    set("messages", Some(message_bodies(messages, with_deepseek_fields)?.into()));
    if chat.wants_stream() {
        set("stream", Some(true.into()));
        set("stream_options", Some(json!({"include_usage": true})));
    }
    if with_deepseek_fields {
        set("max_tokens", chat.max_output_tokens().map(Value::from));
        set("top_k", chat.sampling.top_k.map(Value::from));
        set("min_p", chat.sampling.min_p.map(Value::from));
        set("repetition_penalty", chat.sampling.repetition_penalty.map(Value::from));
        set("stop_token_ids", non_empty(&chat.end_tokens, |tokens| tokens.is_empty()).map(|tokens| json!(tokens)));
        set("thinking", chat.thinking.map(|on| json!({"type": if on { "enabled" } else { "disabled" }})));
    } else {
        set("max_completion_tokens", chat.max_output_tokens().map(Value::from));
    }
    set("reasoning_effort", chat.reasoning_effort.as_deref().map(Value::from));
    let sampling = &chat.sampling;
    set("temperature", sampling.temperature.map(Value::from));
    set("top_p", sampling.top_p.map(Value::from));
    set("frequency_penalty", sampling.frequency_penalty.map(Value::from));
    set("presence_penalty", sampling.presence_penalty.map(Value::from));
    set("seed", sampling.seed.map(Value::from));
    let bias = |(token, bias): &(u32, f64)| (token.to_string(), Value::from(*bias));
    set(
        "logit_bias",
        non_empty(sampling.logit_bias.iter().map(bias).collect::<Map<_, _>>(), Map::is_empty).map(Value::Object),
    );
    // Services with other fields have other limits, which are rows of data.
    let max_stops = if with_deepseek_fields { usize::MAX } else { MAX_STOP_SEQUENCES };
    dropped.add_if(chat.stop.len() > max_stops, "stop");
    let stops: Vec<&String> = chat.stop.iter().take(max_stops).collect();
    set("stop", non_empty(stops, Vec::is_empty).map(|stops| json!(stops)));
    set("tools", non_empty(chat.tools.iter().map(tool_body).collect(), Vec::is_empty).map(Value::Array));
    // OpenAI's service refuses both in a request without tools.
    let has_meaning =
        |choice: &&ToolChoice| !chat.tools.is_empty() || !matches!(choice, ToolChoice::None | ToolChoice::Auto);
    set("tool_choice", chat.tool_choice.as_ref().filter(has_meaning).map(tool_choice_body));
    set("parallel_tool_calls", chat.parallel_tool_calls.filter(|_| !chat.tools.is_empty()).map(Value::from));
    set("response_format", response_format_body(&chat.response_format));
    set("logprobs", chat.logprobs.map(Value::from));
    set("top_logprobs", chat.top_logprobs.map(Value::from));
    // A converted answer has one choice.
    set("n", chat.n.filter(|n| *n <= 1).map(Value::from));
    if with_deepseek_fields {
        set("user", chat.user.as_deref().map(|user| end_user(user).into()));
        set("user_id", chat.user_id.as_deref().map(Value::from));
    } else {
        set("user", chat.user_id.as_deref().or(chat.user.as_deref()).map(|user| end_user(user).into()));
    }
    Ok(Value::Object(body).to_string())
}

/// The end user by a name that OpenAI's service accepts: the caller's, or a hash of it.
/// Agents send longer ones.
pub(in crate::upstream) fn end_user(name: &str) -> String {
    if name.len() <= MAX_USER_BYTES {
        return name.to_owned();
    }
    short_id("user", name)
}

fn non_empty<T>(value: T, is_empty: impl Fn(&T) -> bool) -> Option<T> {
    (!is_empty(&value)).then_some(value)
}

/// The messages. The result of a tool is text in this API: what else a run of results has follows
/// it as a message of the user.
fn message_bodies(messages: &[Message], with_deepseek_fields: bool) -> Result<Vec<Value>, Error> {
    let mut bodies = Vec::with_capacity(messages.len());
    for run in messages.chunk_by(|left, right| left.role == Role::Tool && right.role == Role::Tool) {
        let mut of_results = Vec::new();
        for message in run {
            let mut body = message_body(message, with_deepseek_fields);
            let parts = message.content.as_deref().unwrap_or_default();
            for part in attachments(parts) {
                check_file(part)?;
            }
            if message.role == Role::Tool && attachments(parts).next().is_some() {
                let text = message.text();
                body["content"] = if text.is_empty() { "The result follows.".into() } else { text.into() };
                let id = message.tool_call_id.as_deref().unwrap_or_default();
                of_results.push(Part::Text(format!("The result of the call {id}:")));
                of_results.extend(attachments(parts).cloned());
            }
            bodies.push(body);
        }
        if !of_results.is_empty() {
            bodies.push(json!({"role": "user", "content": content_body(&of_results)}));
        }
    }
    Ok(bodies)
}

/// Refuses a file that is only an address, which this API does not have.
fn check_file(part: &Part) -> Result<(), Error> {
    match part {
        Part::Other { kind, value } if kind == "file" && value["file"]["file_url"].is_string() => {
            Err(Error::invalid("This model's provider takes files as data, not by their address"))
        }
        _ => Ok(()),
    }
}

fn message_body(message: &Message, with_deepseek_fields: bool) -> Value {
    let role = match message.role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut body = Map::from_iter([("role".to_owned(), Value::from(role))]);
    let content = message.content.as_deref().map_or(Value::Null, |parts| {
        if parts.iter().any(|part| is_image_of_answer(message, part)) {
            let others = parts.iter().filter(|part| !is_image_of_answer(message, part));
            return content_body(&others.cloned().collect::<Vec<_>>());
        }
        content_body(parts)
    });
    body.insert("content".into(), content);
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.into(), value);
        }
    };
    set("name", message.name.as_deref().map(Value::from));
    if with_deepseek_fields {
        set("reasoning_content", message.reasoning.as_deref().map(Value::from));
        set("prefix", message.prefix.then_some(Value::Bool(true)));
    }
    set("tool_calls", non_empty(message.calls().iter().map(tool_call_body).collect(), Vec::is_empty).map(Value::Array));
    set("tool_call_id", message.tool_call_id.as_deref().map(Value::from));
    Value::Object(body)
}

/// The content as a string if it is a single text, or else as a list of parts.
fn content_body(parts: &[Part]) -> Value {
    match parts {
        [] => "".into(),
        [Part::Text(text)] => text.as_str().into(),
        parts => parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => json!({"type": "text", "text": text}),
                Part::Other { value, .. } => value.clone(),
            })
            .collect(),
    }
}

fn tool_call_body(call: &ToolCall) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

fn tool_body(tool: &Tool) -> Value {
    let mut function = tool.function.clone();
    if tool.strict {
        function.insert("strict".into(), true.into());
    }
    json!({"type": "function", "function": function})
}

fn tool_choice_body(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::None => "none".into(),
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn response_format_body(format: &ResponseFormat) -> Option<Value> {
    match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(json!({"type": "json_object"})),
        ResponseFormat::JsonSchema(schema) => Some(json!({"type": "json_schema", "json_schema": schema})),
        ResponseFormat::Unknown(kind) => Some(json!({"type": kind})),
    }
}
