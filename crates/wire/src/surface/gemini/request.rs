//! The request body of `generateContent`, `streamGenerateContent` and `countTokens`.

use std::collections::{HashMap, HashSet};

use chat::{
    Chat, EngineFields, Error, Input, Message, Part, ResponseFormat, Role, SignatureFormat, SignedReasoning, ToolCall,
};
use serde_json::{Value, json};

use crate::field_reader::{Field, Object};
use crate::json;
use crate::surface::gemini::field_names::camel_or_snake;
use crate::surface::gemini::tools::{openapi_to_json_schema, parse_tools};
use crate::surface::uncarried::take_uncarried;

/// The fields that have no place in a chat.
const UNCARRIED: [&str; 8] = [
    "cachedContent",
    "cached_content",
    "labels",
    "modelArmorConfig",
    "safetySettings",
    "safety_settings",
    "serviceTier",
    "service_tier",
];
/// As [`UNCARRIED`], of a part.
const UNCARRIED_OF_PART: [&str; 4] = ["mediaResolution", "media_resolution", "videoMetadata", "video_metadata"];
/// As [`UNCARRIED`], of the response of a function.
const UNCARRIED_OF_RESPONSE: [&str; 3] = ["scheduling", "willContinue", "will_continue"];
/// The least length of a signature of Google's. This server's own are shorter.
const MIN_SIGNATURE_BYTES: usize = 100;
/// As [`UNCARRIED`], in the generation config.
const UNCARRIED_IN_CONFIG: [&str; 10] = [
    "audioTimestamp",
    "audio_timestamp",
    "imageConfig",
    "image_config",
    "mediaResolution",
    "media_resolution",
    "responseModalities",
    "response_modalities",
    "speechConfig",
    "speech_config",
];

/// A parsed request.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateContentRequest {
    pub chat: Chat,
    /// Whether the answer includes reasoning.
    pub include_thoughts: bool,
}

/// Parses a body. `model` is the model of the path. Field names may be in camel case or snake case,
/// a list of one element may be this element, and numbers may be text, as Google's service takes
/// them. Unknown fields are ignored.
///
/// # Errors
/// `InvalidRequest`: bytes that are not JSON, a field of the wrong type, or an unsupported
/// part, with its path.
pub fn parse_request(body: &[u8], model: &str) -> Result<GenerateContentRequest, Error> {
    request_from_json(json::parse(body)?, model)
}

/// Converts a parsed body.
///
/// # Errors
/// As [`parse_request`].
pub fn request_from_json(body: Value, model: &str) -> Result<GenerateContentRequest, Error> {
    let mut object = Field::root(body).object()?;
    // The body of a token count may wrap the request.
    if let Some(inner) = camel_or_snake(&mut object, "generateContentRequest") {
        object = inner.object()?;
    }
    let mut chat = Chat { model: model.into(), clamp_max_tokens: true, ..Chat::default() };
    let mut conversation = Conversation::default();
    if let Some(system) = camel_or_snake(&mut object, "systemInstruction") {
        conversation.push(Message::new(Role::System, system_text(system)?));
    }
    for content in object.required("contents")?.array_or_one()? {
        parse_content(content, &mut conversation)?;
    }
    let Conversation { mut messages, uncarried, .. } = conversation;
    chat.uncarried = uncarried;
    if let Some(last) = messages.last_mut().filter(|last| last.role == Role::Assistant && last.tool_calls.is_none()) {
        last.prefix = true;
        // Prefilled answers are part of this surface and do not need the beta root.
        chat.beta = true;
    }
    chat.input = Input::Messages(messages);
    let mut include_thoughts = false;
    if let Some(config) = camel_or_snake(&mut object, "generationConfig") {
        include_thoughts = parse_options(&mut chat, config.object()?)?;
    }
    parse_tools(&mut chat, &mut object)?;
    chat.uncarried.extend(take_uncarried(&mut object, &UNCARRIED));
    Ok(GenerateContentRequest { chat, include_thoughts })
}

fn system_text(field: Field) -> Result<String, Error> {
    if field.value().is_string() {
        return field.string();
    }
    let parts = field.object()?.required("parts")?.array_or_one()?;
    let texts: Result<Vec<_>, _> = parts.map(|part| part.object()?.required("text")?.string()).collect();
    Ok(texts?.join("\n\n"))
}

/// The messages so far, and the calls that a response without an id may answer. They are indexed by
/// name, because searching a list of all calls for each response takes quadratic time.
#[derive(Default)]
struct Conversation {
    messages: Vec<Message>,
    /// The ids of the calls by name. The last id is the next to be answered: the first call of the
    /// latest message.
    calls: HashMap<String, Vec<String>>,
    answered: HashSet<String>,
    /// The names of what has no place in a chat.
    uncarried: Vec<&'static str>,
}

impl Conversation {
    fn push(&mut self, message: Message) {
        for call in message.calls().iter().rev() {
            self.calls.entry(call.name.clone()).or_default().push(call.id.clone());
        }
        self.answered.extend(message.tool_call_id.clone());
        self.messages.push(message);
    }

    /// Takes the id of the call of this name that a response without an id answers.
    fn next_unanswered_call(&mut self, name: &str) -> Option<String> {
        let calls = self.calls.get_mut(name)?;
        while calls.last().is_some_and(|id| self.answered.contains(id)) {
            calls.pop();
        }
        calls.pop()
    }
}

/// Parses a content into one message, or into a tool message for each response and one for the text
/// around them.
fn parse_content(field: Field, to: &mut Conversation) -> Result<(), Error> {
    let mut object = field.object()?;
    let roles = [("user", Role::User), ("model", Role::Assistant), ("function", Role::User)];
    let role = object.optional("role").map(|role| role.variant(&roles)).transpose()?.unwrap_or(Role::User);
    let mut message = Message { content: None, ..Message::new(role, "") };
    let mut calls = Vec::new();
    let mut answers = false;
    for part in object.required("parts")?.array_or_one()? {
        let unsupported_part = part.error_at("a part of a kind that is not supported");
        let mut part = part.object()?;
        to.uncarried.extend(take_uncarried(&mut part, &UNCARRIED_OF_PART));
        if let Some(call) = camel_or_snake(&mut part, "functionCall") {
            let call = parse_function_call(call, calls.len())?;
            message.signatures.extend(parse_signature(&mut part, &call.id)?);
            calls.push(call);
        } else if let Some(response) = camel_or_snake(&mut part, "functionResponse") {
            answers = true;
            let response = parse_function_response(response, to)?;
            to.push(response);
        } else if let Some(data) = camel_or_snake(&mut part, "inlineData") {
            message.content.get_or_insert_default().push(parse_inline_data(data)?);
        } else if let Some(data) = camel_or_snake(&mut part, "fileData") {
            let mut data = data.object()?;
            let mime_type = camel_or_snake(&mut data, "mimeType").map(Field::string).transpose()?;
            let url = camel_or_snake(&mut data, "fileUri").ok_or(unsupported_part)?.string()?;
            let part = match mime_type {
                Some(kind) if !kind.starts_with("image/") => Part::file_of_type(&kind, &url),
                _ => Part::image(&url),
            };
            message.content.get_or_insert_default().push(part);
        } else if let Some(text) = part.optional("text") {
            let thought = part.optional("thought").map(Field::bool).transpose()?.unwrap_or(false);
            let text = text.string()?;
            match (thought, role) {
                (true, Role::Assistant) => message.reasoning.get_or_insert_default().push_str(&text),
                _ => message.content.get_or_insert_default().push(Part::Text(text)),
            }
        } else {
            return Err(unsupported_part);
        }
    }
    if !calls.is_empty() {
        message.tool_calls = Some(calls);
    }
    if message.content.is_none() && message.tool_calls.is_none() {
        if answers {
            return Ok(());
        }
        message.content = Some(vec![Part::Text(String::new())]);
    }
    to.push(message);
    Ok(())
}

/// Parses the signature of a call. Only a provider of Gemini can verify it, and only its own.
fn parse_signature(part: &mut Object, call: &str) -> Result<Option<SignedReasoning>, Error> {
    let signature = camel_or_snake(part, "thoughtSignature").map(Field::string).transpose()?;
    let signed = |signature| SignedReasoning {
        format: SignatureFormat::Gemini,
        provider: String::new(),
        text: String::new(),
        call: Some(call.to_owned()),
        signature,
    };
    Ok(signature.filter(|signature| signature.len() >= MIN_SIGNATURE_BYTES).map(signed))
}

fn parse_function_call(field: Field, index: usize) -> Result<ToolCall, Error> {
    let mut object = field.object()?;
    let name = object.required("name")?.string()?;
    let id = object.optional("id").map(Field::string).transpose()?;
    let arguments = object.optional("args").map_or_else(|| "{}".to_owned(), |args| args.into_value().to_string());
    Ok(ToolCall { id: id.unwrap_or_else(|| format!("call_00_{name}_{index}")), name, arguments })
}

/// Parses a function response. Without an id it answers the first unanswered call of its name (API
/// document 3.2).
fn parse_function_response(field: Field, before: &mut Conversation) -> Result<Message, Error> {
    let mut object = field.object()?;
    let name = object.required("name")?.string()?;
    let id = object.optional("id").map(Field::string).transpose()?;
    before.uncarried.extend(take_uncarried(&mut object, &UNCARRIED_OF_RESPONSE));
    let value = object.optional("response").map_or_else(|| json!({}), Field::into_value);
    let id = id.or_else(|| before.next_unanswered_call(&name)).unwrap_or_else(|| format!("call_00_{name}_0"));
    let mut message =
        Message { tool_call_id: Some(id), name: Some(name), ..Message::new(Role::Tool, response_text(&value)) };
    if let Some(parts) = object.optional("parts") {
        for part in parts.array_or_one()? {
            let unsupported_part = part.error_at("a part of a kind that is not supported");
            let data = camel_or_snake(&mut part.object()?, "inlineData").ok_or(unsupported_part)?;
            message.content.get_or_insert_default().push(parse_inline_data(data)?);
        }
    }
    Ok(message)
}

fn response_text(value: &Value) -> String {
    let only = value.as_object().filter(|object| object.len() == 1).and_then(|object| object.iter().next());
    match only {
        Some((key, Value::String(text))) if key == "result" || key == "output" => text.clone(),
        Some((key, Value::String(text))) if key == "error" => format!("Error: {text}"),
        _ => value.to_string(),
    }
}

fn parse_inline_data(field: Field) -> Result<Part, Error> {
    let missing_mime_type = field.error_at("missing field `mimeType`");
    let mut object = field.object()?;
    let kind = camel_or_snake(&mut object, "mimeType").ok_or(missing_mime_type)?.string()?;
    let data = object.required("data")?.string()?;
    Ok(Part::of_data(&kind, &data))
}

/// Parses the generation config. Returns whether the answer includes reasoning.
fn parse_options(chat: &mut Chat, mut object: Object) -> Result<bool, Error> {
    let mut number = |name| camel_or_snake(&mut object, name).map(Field::number_or_text).transpose();
    chat.sampling.temperature = number("temperature")?;
    chat.sampling.top_p = number("topP")?;
    chat.sampling.presence_penalty = number("presencePenalty")?;
    chat.sampling.frequency_penalty = number("frequencyPenalty")?;
    let mut integer = |name| camel_or_snake(&mut object, name).map(Field::integer_or_text).transpose();
    if let Some(top_k) = integer("topK")? {
        chat.engine_fields = EngineFields { top_k: Some(top_k), names: vec!["topK"], ..EngineFields::default() };
    }
    chat.sampling.seed = integer("seed")?;
    chat.max_tokens = integer("maxOutputTokens")?;
    chat.n = integer("candidateCount")?;
    chat.top_logprobs = integer("logprobs")?;
    chat.logprobs = camel_or_snake(&mut object, "responseLogprobs").map(Field::bool).transpose()?;
    if let Some(stops) = camel_or_snake(&mut object, "stopSequences") {
        chat.stop = stops.array_or_one()?.map(Field::string).collect::<Result<_, _>>()?;
    }
    chat.response_format = parse_format(&mut object)?;
    chat.uncarried.extend(take_uncarried(&mut object, &UNCARRIED_IN_CONFIG));
    let Some(thinking) = camel_or_snake(&mut object, "thinkingConfig") else { return Ok(false) };
    let mut thinking = thinking.object()?;
    let include = camel_or_snake(&mut thinking, "includeThoughts").map(Field::bool).transpose()?;
    let budget = camel_or_snake(&mut thinking, "thinkingBudget").map(Field::integer_or_text).transpose()?;
    let level = camel_or_snake(&mut thinking, "thinkingLevel").map(Field::string).transpose()?;
    let minimal = level.as_ref().is_some_and(|level| level.eq_ignore_ascii_case("minimal"));
    chat.reasoning_effort = match (level, budget) {
        (Some(level), _) => Some(level.to_ascii_lowercase()).filter(|level| level != "thinking_level_unspecified"),
        (None, Some(1..=1024)) => Some("low".into()),
        (None, Some(1025..=8192)) => Some("medium".into()),
        (None, Some(8193..)) => Some("high".into()),
        _ => None,
    };
    chat.thinking = match (budget, include) {
        (Some(0), _) => Some(false),
        _ if minimal => Some(false),
        (Some(_), _) | (_, Some(true)) => Some(true),
        _ => None,
    };
    Ok(include == Some(true))
}

fn parse_format(object: &mut Object) -> Result<ResponseFormat, Error> {
    let kind = camel_or_snake(object, "responseMimeType").map(Field::string).transpose()?;
    let schema = match camel_or_snake(object, "responseJsonSchema") {
        Some(schema) => Some(schema.into_value()),
        None => camel_or_snake(object, "responseSchema").map(|schema| openapi_to_json_schema(schema.into_value())),
    };
    Ok(match (kind.as_deref(), schema) {
        (_, Some(schema)) => ResponseFormat::of_schema(schema),
        (None | Some("text/plain"), None) => ResponseFormat::Text,
        (Some("application/json"), None) => ResponseFormat::JsonObject,
        (Some(other), None) => ResponseFormat::Unknown(other.into()),
    })
}
