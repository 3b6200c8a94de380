//! Requests to Gemini's `generateContent`.

use std::collections::HashMap;

use chat::{Chat, Error, Input, Message, Part, ResponseFormat, Role, SignatureFormat, ToolChoice};
use serde_json::{Map, Value, json};

use crate::tool_arguments::parse_tool_arguments;
use crate::upstream::attachment::{Attachment, Source, attachment_of, attachments};
use crate::upstream::chat_part::{ATTACHMENT_OF_SYSTEM, SIGNATURES, has_attachment};
use crate::upstream::dropped_parts::DroppedParts;
use crate::upstream::signatures::{MessageSignatures, SignatureStore};

/// Maximum number of stop sequences that the API accepts.
const MAX_STOP_SEQUENCES: usize = 5;

/// The body of a request. The model is part of the path.
pub(in crate::upstream) fn request_body(
    chat: &Chat,
    signatures: &dyn SignatureStore,
    dropped: &mut DroppedParts,
) -> Result<String, Error> {
    let Input::Messages(messages) = &chat.input else {
        return Err(Error::invalid(format!("The model `{}` answers chats, not text completions", chat.model)));
    };
    let first = messages.iter().position(|message| !is_system(message)).unwrap_or(messages.len());
    let (system, rest) = messages.split_at(first);
    let is_system_with_attachment = |message: &Message| is_system(message) && has_attachment(message);
    dropped.add_if(messages.iter().any(is_system_with_attachment), ATTACHMENT_OF_SYSTEM);
    let has_foreign = |message| MessageSignatures::new(message, SignatureFormat::Gemini, signatures).has_foreign;
    dropped.add_if(messages.iter().any(has_foreign), SIGNATURES);
    dropped.add_if(chat.stop.len() > MAX_STOP_SEQUENCES, "stop");
    let mut body = Map::from_iter([("contents".to_owned(), Value::from(alternating_contents(rest, signatures)?))]);
    if !system.is_empty() {
        let text = system.iter().map(Message::text).collect::<Vec<_>>().join("\n\n");
        body.insert("systemInstruction".into(), json!({"parts": [{"text": text}]}));
    }
    let config = generation_config(chat);
    if !config.is_empty() {
        body.insert("generationConfig".into(), config.into());
    }
    if !chat.tools.is_empty() {
        let functions: Vec<_> = chat.tools.iter().map(function_declaration).collect();
        body.insert("tools".into(), json!([{"functionDeclarations": functions}]));
    }
    if let Some(choice) = &chat.tool_choice {
        let config = match choice {
            ToolChoice::Auto => json!({"mode": "AUTO"}),
            ToolChoice::None => json!({"mode": "NONE"}),
            ToolChoice::Required => json!({"mode": "ANY"}),
            ToolChoice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
        };
        body.insert("toolConfig".into(), json!({"functionCallingConfig": config}));
    }
    Ok(Value::Object(body).to_string())
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// Contents in which the roles alternate.
fn alternating_contents(messages: &[Message], signatures: &dyn SignatureStore) -> Result<Vec<Value>, Error> {
    let mut turns = Vec::<(&str, Vec<Value>)>::new();
    // The names of the calls so far by id. If an id repeats, the latest message counts, and the
    // first call in it.
    let mut call_names = HashMap::<&str, &str>::new();
    for message in messages {
        let role = if message.role == Role::Assistant { "model" } else { "user" };
        let parts = message_parts(message, &call_names, signatures)?;
        call_names.extend(message.calls().iter().rev().map(|call| (call.id.as_str(), call.name.as_str())));
        match turns.last_mut() {
            None if role == "model" => turns.extend([("user", vec![json!({"text": "."})]), (role, parts)]),
            Some((last, earlier)) if *last == role => earlier.extend(parts),
            _ => turns.push((role, parts)),
        }
    }
    Ok(turns.into_iter().map(|(role, parts)| json!({"role": role, "parts": parts})).collect())
}

fn message_parts(
    message: &Message,
    call_names: &HashMap<&str, &str>,
    signatures: &dyn SignatureStore,
) -> Result<Vec<Value>, Error> {
    let mut parts = Vec::new();
    match message.role {
        Role::System | Role::Developer => {
            parts.push(json!({"text": format!("<system>{}</system>", message.text())}));
        }
        Role::Tool => {
            let id = message.tool_call_id.as_deref().unwrap_or_default();
            let name = call_names.get(id).copied().or(message.name.as_deref()).unwrap_or("function");
            let text = message.text();
            let response = match serde_json::from_str(&text) {
                Ok(object @ Value::Object(_)) => object,
                _ => json!({ "result": text }),
            };
            parts.push(json!({"functionResponse": {"id": id, "name": name, "response": response}}));
            for part in attachments(message.content.as_deref().unwrap_or_default()) {
                parts.push(part_body(part)?);
            }
        }
        Role::User | Role::Assistant => {
            // The API refuses empty text beside other parts.
            let non_empty_parts =
                message.content.iter().flatten().filter(|part| !matches!(part, Part::Text(text) if text.is_empty()));
            for part in non_empty_parts {
                parts.push(part_body(part)?);
            }
            let signatures = MessageSignatures::new(message, SignatureFormat::Gemini, signatures);
            for call in message.calls() {
                let mut part = json!({"functionCall": {"id": call.id, "name": call.name, "args": parse_tool_arguments(&call.arguments)}});
                if let Some(signature) = signatures.call_signature(&call.id) {
                    part["thoughtSignature"] = signature.into();
                }
                parts.push(part);
            }
        }
    }
    if parts.is_empty() {
        parts.push(json!({"text": ""}));
    }
    Ok(parts)
}

fn part_body(part: &Part) -> Result<Value, Error> {
    let (kind, value) = match part {
        Part::Text(text) => return Ok(json!({ "text": text })),
        Part::Other { kind, value } => (kind, value),
    };
    let inline_data = |mime_type: &str, data: &str| json!({"inlineData": {"mimeType": mime_type, "data": data}});
    let file_data = |mime_type: &str, url: &str| json!({"fileData": {"fileUri": url, "mimeType": mime_type}});
    Ok(match attachment_of(kind, value)? {
        Attachment::Image(Source::Data { media_type, base64 })
        | Attachment::File { source: Source::Data { media_type, base64 }, .. } => inline_data(media_type, base64),
        Attachment::Image(Source::Url(url)) => file_data(image_mime_type(url), url),
        Attachment::File { media_type, source: Source::Url(url), .. } => {
            file_data(media_type.unwrap_or("application/pdf"), url)
        }
        Attachment::Audio { format, base64 } => inline_data(&format!("audio/{format}"), base64),
    })
}

/// The media type of an image by the extension of its path.
fn image_mime_type(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let kinds = [(".png", "image/png"), (".webp", "image/webp"), (".gif", "image/gif"), (".heic", "image/heic")];
    kinds.iter().find(|(end, _)| path.ends_with(end)).map_or("image/jpeg", |(_, kind)| kind)
}

fn generation_config(chat: &Chat) -> Map<String, Value> {
    let mut config = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(key.into(), value);
        }
    };
    let sampling = &chat.sampling;
    set("maxOutputTokens", chat.max_output_tokens().map(Value::from));
    set("temperature", sampling.temperature.map(Value::from));
    set("topP", sampling.top_p.map(Value::from));
    set("topK", sampling.top_k.filter(|top_k| *top_k > 0).map(Value::from));
    set("seed", sampling.seed.map(Value::from));
    set("presencePenalty", sampling.presence_penalty.map(Value::from));
    set("frequencyPenalty", sampling.frequency_penalty.map(Value::from));
    // A converted answer has one choice.
    set("candidateCount", chat.n.filter(|n| *n <= 1).map(Value::from));
    set("responseLogprobs", chat.logprobs.map(Value::from));
    set("logprobs", chat.top_logprobs.map(Value::from));
    let stops: Vec<&String> = chat.stop.iter().take(MAX_STOP_SEQUENCES).collect();
    set("stopSequences", (!stops.is_empty()).then(|| json!(stops)));
    match &chat.response_format {
        ResponseFormat::Text | ResponseFormat::Unknown(_) => {}
        ResponseFormat::JsonObject => set("responseMimeType", Some("application/json".into())),
        ResponseFormat::JsonSchema(format) => {
            set("responseMimeType", Some("application/json".into()));
            set("responseJsonSchema", format.get("schema").cloned());
        }
    }
    set(
        "thinkingConfig",
        match (chat.thinking, thinking_budget(chat.reasoning_effort.as_deref())) {
            (Some(false), _) => Some(json!({"thinkingBudget": 0})),
            (_, Some(0)) => Some(json!({"thinkingBudget": 0})),
            (_, Some(budget)) => Some(json!({"includeThoughts": true, "thinkingBudget": budget})),
            (Some(true), None) => Some(json!({"includeThoughts": true})),
            (None, None) => None,
        },
    );
    config
}

/// The tokens of the thinking, by effort, as Google's own translation of `reasoning_effort` has
/// them.
pub(crate) fn thinking_budget(effort: Option<&str>) -> Option<u32> {
    match effort? {
        "none" => Some(0),
        "minimal" | "low" => Some(1024),
        "medium" => Some(8192),
        _ => Some(24576),
    }
}

fn function_declaration(tool: &chat::Tool) -> Value {
    let mut function = json!({"name": tool.name});
    if let Some(description) = tool.function.get("description") {
        function["description"] = description.clone();
    }
    if let Some(schema) = tool.function.get("parameters") {
        function["parametersJsonSchema"] = schema.clone();
    }
    function
}
