//! Requests to OpenAI's Responses API.

use chat::{Chat, Error, Input, Message, Part, ResponseFormat, Role, SignatureFormat, Tool, ToolChoice};
use serde_json::{Map, Value, json};

use crate::upstream::attachment::{Attachment, Source, attachment_of, attachments, unsupported_content};
use crate::upstream::chat_part::{ATTACHMENT_OF_SYSTEM, SIGNATURES, has_attachment, is_image_of_answer};
use crate::upstream::dropped_parts::DroppedParts;
use crate::upstream::openai::end_user;
use crate::upstream::short_id::short_id;
use crate::upstream::signatures::{MessageSignatures, SignatureStore};

/// The fewest output tokens that the API accepts as a limit.
const MIN_OUTPUT_TOKENS: i64 = 16;
/// Maximum length of the id of a call.
const MAX_CALL_ID_BYTES: usize = 64;
/// Beginnings of the names of OpenAI's models that do not reason, and so refuse to return encrypted
/// reasoning.
const NOT_REASONING: [&str; 4] = ["gpt-3", "gpt-4", "chatgpt", "gpt-5-chat"];
/// The fields of a request by which the API counts tokens.
const COUNTED: [&str; 8] =
    ["model", "instructions", "input", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text"];

/// The body of a request to `model`. Nothing is stored at the provider: the reasoning of a response
/// is returned encrypted, for later requests.
pub(in crate::upstream) fn request_body(
    chat: &Chat,
    model: &str,
    signatures: &dyn SignatureStore,
    dropped: &mut DroppedParts,
) -> Result<String, Error> {
    let Input::Messages(messages) = &chat.input else {
        return Err(Error::invalid(format!("The model `{}` answers chats, not text completions", chat.model)));
    };
    // A request has an input beside its instructions.
    let (instructions, rest) = match messages.split_first() {
        Some((first, rest)) if is_system(first) && !rest.is_empty() => (Some(first.text()), rest),
        _ => (None, messages.as_slice()),
    };
    let is_system_with_attachment = |message: &Message| is_system(message) && has_attachment(message);
    dropped.add_if(messages.iter().any(is_system_with_attachment), ATTACHMENT_OF_SYSTEM);
    let mut input = Vec::with_capacity(rest.len());
    for message in rest {
        push_items(message, signatures, dropped, &mut input)?;
    }
    let mut body = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.into(), value);
        }
    };
    let has_tools = !chat.tools.is_empty();
    set("model", Some(model.into()));
    set("instructions", instructions.map(Value::from));
    set("input", Some(input.into()));
    set("tools", has_tools.then(|| chat.tools.iter().map(tool_body).collect()));
    set("tool_choice", chat.tool_choice.as_ref().map(tool_choice_body));
    set("parallel_tool_calls", chat.parallel_tool_calls.filter(|_| has_tools).map(Value::from));
    set("reasoning", reasoning_body(chat));
    set("text", format_body(&chat.response_format).map(|format| json!({ "format": format })));
    let include = included(chat, model);
    set("include", (!include.is_empty()).then(|| json!(include)));
    set("store", Some(false.into()));
    set("max_output_tokens", output_limit(chat).map(Value::from));
    set("temperature", chat.sampling.temperature.map(Value::from));
    set("top_p", chat.sampling.top_p.map(Value::from));
    set("top_logprobs", chat.top_logprobs.filter(|_| chat.logprobs == Some(true)).map(Value::from));
    set("user", chat.user_id.as_deref().or(chat.user.as_deref()).map(|user| end_user(user).into()));
    set("stream", chat.wants_stream().then(|| true.into()));
    Ok(Value::Object(body).to_string())
}

/// Keeps only the fields of a request by which its tokens are counted.
pub(in crate::upstream) fn counted_fields(fields: &mut Map<String, Value>) {
    fields.retain(|name, _| COUNTED.contains(&name.as_str()));
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// The names of the parts that the response has beside its default content.
fn included(chat: &Chat, model: &str) -> Vec<&'static str> {
    let name = model.rsplit('/').next().unwrap_or(model);
    let reasons = !NOT_REASONING.iter().any(|start| name.starts_with(start));
    let logprobs = chat.logprobs == Some(true);
    let fields = [("reasoning.encrypted_content", reasons), ("message.output_text.logprobs", logprobs)];
    fields.into_iter().filter(|(_, is_included)| *is_included).map(|(name, _)| name).collect()
}

/// The limit of the answer, at least the smallest that the API accepts, unless the budget pays for
/// fewer tokens.
fn output_limit(chat: &Chat) -> Option<i64> {
    let limit = chat.max_output_tokens()?;
    let raised = limit.max(MIN_OUTPUT_TOKENS);
    let is_paid = chat.affordable_tokens.is_none_or(|paid| raised <= paid);
    Some(if limit > 0 && is_paid { raised } else { limit })
}

/// The effort of the reasoning, and the summary, which is the reasoning that callers can read.
fn reasoning_body(chat: &Chat) -> Option<Value> {
    let effort = chat.reasoning_effort.as_deref().map(|effort| if effort == "max" { "xhigh" } else { effort });
    let shows_reasoning = chat.thinking.unwrap_or(effort.is_some_and(|effort| effort != "none"));
    let mut body = Map::new();
    if let Some(effort) = effort {
        body.insert("effort".into(), effort.into());
    }
    if shows_reasoning {
        body.insert("summary".into(), "auto".into());
    }
    (!body.is_empty()).then_some(Value::Object(body))
}

/// Adds the items of a message.
fn push_items(
    message: &Message,
    signatures: &dyn SignatureStore,
    dropped: &mut DroppedParts,
    to: &mut Vec<Value>,
) -> Result<(), Error> {
    let parts = message.content.as_deref().unwrap_or_default();
    match message.role {
        Role::System | Role::Developer => {
            to.push(json!({ "type": "message", "role": "developer", "content": message.text() }));
        }
        Role::User => {
            to.push(json!({ "type": "message", "role": "user", "content": content_body(parts)? }));
        }
        Role::Tool => {
            let id = call_id(message.tool_call_id.as_deref().unwrap_or_default());
            to.push(json!({ "type": "function_call_output", "call_id": id, "output": content_body(parts)? }));
        }
        Role::Assistant => push_assistant_items(message, signatures, dropped, to)?,
    }
    Ok(())
}

/// Adds an answer of the model: its reasoning where the service can decrypt it, its text, its
/// calls.
fn push_assistant_items(
    message: &Message,
    signatures: &dyn SignatureStore,
    dropped: &mut DroppedParts,
    to: &mut Vec<Value>,
) -> Result<(), Error> {
    let mut attached = attachments(message.content.as_deref().unwrap_or_default());
    if let Some(Part::Other { kind, .. }) = attached.find(|part| !is_image_of_answer(message, part)) {
        return Err(unsupported_content(kind));
    }
    let reasoning = message.reasoning.as_deref().filter(|reasoning| !reasoning.is_empty());
    let signatures = MessageSignatures::new(message, SignatureFormat::Responses, signatures);
    let of_call = |id: &str| signatures.call_signature(id);
    let of_text = || signatures.text_signature(reasoning?);
    let first = of_text().or_else(|| of_call(&message.calls().first()?.id));
    dropped.add_if(reasoning.is_some() && first.is_none(), "reasoning_content");
    dropped.add_if(signatures.has_foreign, SIGNATURES);
    if let Some(encrypted) = &first {
        let summary = reasoning.map(|text| json!({ "type": "summary_text", "text": text }));
        to.push(reasoning_item(summary.into_iter().collect(), encrypted));
    }
    let text = message.text();
    if !text.is_empty() {
        let content = json!([{ "type": "output_text", "text": text }]);
        to.push(json!({ "type": "message", "role": "assistant", "content": content }));
    }
    for (index, call) in message.calls().iter().enumerate() {
        if let Some(encrypted) = of_call(&call.id).filter(|_| index > 0) {
            to.push(reasoning_item(Vec::new(), &encrypted));
        }
        to.push(json!({
            "type": "function_call", "call_id": call_id(&call.id), "name": call.name, "arguments": call.arguments,
        }));
    }
    Ok(())
}

fn reasoning_item(summary: Vec<Value>, encrypted: &str) -> Value {
    json!({ "type": "reasoning", "summary": summary, "encrypted_content": encrypted })
}

/// An id that the API accepts: the caller's, or a hash of it.
fn call_id(id: &str) -> String {
    if id.len() <= MAX_CALL_ID_BYTES {
        return id.into();
    }
    short_id("call", id)
}

/// The content as a string if it is text alone, or else as a list of parts.
fn content_body(parts: &[Part]) -> Result<Value, Error> {
    Ok(match parts {
        [] => "".into(),
        [Part::Text(text)] => text.as_str().into(),
        parts => parts.iter().map(part_body).collect::<Result<_, _>>()?,
    })
}

fn part_body(part: &Part) -> Result<Value, Error> {
    let (kind, value) = match part {
        Part::Text(text) => return Ok(json!({ "type": "input_text", "text": text })),
        Part::Other { kind, value } => (kind, value),
    };
    Ok(match attachment_of(kind, value)? {
        Attachment::Image(source) => {
            let mut body = json!({ "type": "input_image", "image_url": url(&source) });
            if let Some(detail) = value["image_url"]["detail"].as_str() {
                body["detail"] = detail.into();
            }
            body
        }
        Attachment::File { media_type: Some(media_type), source: Source::Url(_), .. } => {
            return Err(unsupported_content(media_type));
        }
        Attachment::File { source: Source::Url(url), .. } => json!({ "type": "input_file", "file_url": url }),
        // The API requires a name beside data.
        Attachment::File { name, source, .. } => {
            json!({ "type": "input_file", "filename": name.unwrap_or("document.pdf"), "file_data": url(&source) })
        }
        Attachment::Audio { .. } => return Err(unsupported_content(kind)),
    })
}

fn url(source: &Source<'_>) -> String {
    match source {
        Source::Url(url) => (*url).to_owned(),
        Source::Data { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
    }
}

fn tool_body(tool: &Tool) -> Value {
    let parameters = tool.function.get("parameters").cloned();
    let mut body = json!({ "type": "function", "name": tool.name });
    if let Some(description) = tool.function.get("description") {
        body["description"] = description.clone();
    }
    body["parameters"] = parameters.unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    // The API's default is true, which refuses many schemas.
    body["strict"] = tool.strict.into();
    body
}

fn tool_choice_body(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::None => "none".into(),
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({ "type": "function", "name": name }),
    }
}

/// The format of the text. The name and the schema are fields of the same object as the type.
fn format_body(format: &ResponseFormat) -> Option<Value> {
    match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(json!({ "type": "json_object" })),
        ResponseFormat::JsonSchema(schema) => {
            let mut body = Map::from_iter([("type".to_owned(), Value::from("json_schema"))]);
            body.extend(schema.clone());
            Some(Value::Object(body))
        }
        ResponseFormat::Unknown(kind) => Some(json!({ "type": kind })),
    }
}
