//! The request body of `POST /responses`.

use chat::{Chat, Error, Input, Message, ResponseFormat, Role, ToolChoice};
use serde_json::Value;

use crate::field_reader::{Field, Object};
use crate::json;
use crate::surface::chat_completions::{parse_reasoning_effort, parse_sampling};
use crate::surface::responses::echo::RequestEcho;
use crate::surface::responses::items::parse_input;
use crate::surface::responses::tools::{parse_tool_choice, parse_tools};
use crate::surface::uncarried::take_uncarried;

/// The fields that have no place in a chat.
const UNCARRIED: [&str; 10] = [
    "context_management",
    "max_tool_calls",
    "metadata",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "truncation",
];

/// A parsed request.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponsesRequest {
    pub chat: Chat,
    pub stream: bool,
    /// The fields of the request that the response repeats.
    pub echo: RequestEcho,
}

impl ResponsesRequest {
    /// The approximate number of bytes that the request takes.
    pub fn memory_bytes(&self) -> usize {
        self.chat.memory_bytes() + self.echo.memory_bytes()
    }
}

/// Parses a body. Unknown fields are ignored; null means absent.
///
/// # Errors
/// `InvalidRequest`: bytes that are not JSON, a field that is missing or of the wrong type or
/// value, or a feature that needs state on the server (`previous_response_id`,
/// `conversation`, `background`).
pub fn parse_request(body: &[u8]) -> Result<ResponsesRequest, Error> {
    request_from_json(json::parse(body)?)
}

/// Converts a parsed body.
///
/// # Errors
/// As [`parse_request`].
pub fn request_from_json(body: Value) -> Result<ResponsesRequest, Error> {
    let mut echo = RequestEcho::of(&body);
    let mut object = Field::root(body).object()?;
    let mut chat = Chat { model: object.required("model")?.string()?, ..Chat::default() };
    for key in ["previous_response_id", "conversation"] {
        if object.optional(key).is_some() {
            return Err(Error::invalid(format!("{key} is not supported")));
        }
    }
    if object.optional("background").map(Field::bool).transpose()? == Some(true) {
        return Err(Error::invalid("background is not supported"));
    }
    let mut messages = Vec::new();
    if let Some(instructions) = object.optional("instructions") {
        messages.push(Message::new(Role::System, instructions.string()?));
    }
    match object.optional("input") {
        None if messages.is_empty() => return Err(Error::invalid("input or instructions must be set")),
        None => {}
        Some(input) => parse_input(input, &mut messages, &mut chat.notes)?,
    }
    chat.input = Input::Messages(messages);
    parse_options(&mut chat, &mut object)?;
    let mut has_tools = false;
    if let Some(tools) = object.optional("tools") {
        has_tools = tools.value().as_array().is_some_and(|tools| !tools.is_empty());
        echo.tool_names = parse_tools(tools, &mut chat)?;
    }
    if let Some(choice) = object.optional("tool_choice") {
        chat.tool_choice = parse_tool_choice(choice, &mut chat)?;
    }
    if has_tools && chat.tools.is_empty() {
        // The tools that it demands were dropped.
        chat.tool_choice = chat.tool_choice.filter(|choice| matches!(choice, ToolChoice::None | ToolChoice::Auto));
    }
    chat.parallel_tool_calls = object.optional("parallel_tool_calls").map(Field::bool).transpose()?;
    if let Some(text) = object.optional("text") {
        let mut text = text.object()?;
        chat.response_format = text.optional("format").map(parse_format).transpose()?.unwrap_or_default();
        chat.uncarried.extend(take_uncarried(&mut text, &["verbosity"]));
    }
    chat.uncarried.extend(take_uncarried(&mut object, &UNCARRIED));
    chat.user = object.optional("user").map(Field::string).transpose()?;
    let stream = object.optional("stream").map(Field::bool).transpose()?.unwrap_or(false);
    Ok(ResponsesRequest { chat, stream, echo })
}

fn parse_options(chat: &mut Chat, object: &mut Object) -> Result<(), Error> {
    chat.max_tokens = object.optional("max_output_tokens").map(Field::integer).transpose()?;
    chat.sampling = parse_sampling(object)?;
    let top = object.optional("top_logprobs").map(Field::integer).transpose()?;
    let includes_logprobs = match object.optional("include") {
        None => false,
        Some(include) => {
            let names: Vec<String> = include.array()?.map(Field::string).collect::<Result<_, _>>()?;
            if names.iter().any(|name| name != "message.output_text.logprobs") {
                chat.uncarried.push("include");
            }
            names.iter().any(|name| name == "message.output_text.logprobs")
        }
    };
    // 0 is the default that clients send.
    if includes_logprobs || top.is_some_and(|top| top != 0) {
        (chat.logprobs, chat.top_logprobs) = (Some(true), top);
    }
    if let Some(reasoning) = object.optional("reasoning") {
        let mut reasoning = reasoning.object()?;
        if let Some(effort) = reasoning.optional("effort") {
            let effort = parse_reasoning_effort(effort)?;
            chat.thinking = Some(effort != "none");
            chat.reasoning_effort = Some(effort);
        }
        chat.uncarried.extend(take_uncarried(&mut reasoning, &["summary"]));
    }
    Ok(())
}

/// Parses a response format. In this API, the `name` and `schema` of a `json_schema` are fields of
/// the same object as `type`.
fn parse_format(field: Field) -> Result<ResponseFormat, Error> {
    let flat = field.value().clone();
    let mut object = field.object()?;
    Ok(match object.required("type")?.string()?.as_str() {
        "text" => ResponseFormat::Text,
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => match flat {
            Value::Object(mut flat) => {
                flat.shift_remove("type");
                ResponseFormat::JsonSchema(flat)
            }
            _ => unreachable!("it was read as an object"),
        },
        other => ResponseFormat::Unknown(other.into()),
    })
}
