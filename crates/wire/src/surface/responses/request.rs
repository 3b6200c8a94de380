//! The request body of `POST /responses`.

use chat::{Chat, Error, Input, Message, Part, ResponseFormat, Role, Sampling, Tool, ToolCall, ToolChoice};
use serde_json::{Map, Value, json};

use crate::field_reader::{Field, Object};
use crate::json;
use crate::surface::responses::response::RequestEcho;

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
        let RequestEcho { instructions, tools, tool_choice, format, user, .. } = &self.echo;
        let texts = [instructions, user].into_iter().flatten().map(String::len).sum::<usize>();
        let values = [tools, tool_choice, format].into_iter().map(chat::json_bytes).sum::<usize>();
        self.chat.memory_bytes() + texts + values
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

/// The number of bytes of a body that [`request_from_json`] copies because the
/// response repeats them.
pub fn echoed_bytes(body: &Value) -> usize {
    ["instructions", "tools", "tool_choice", "text", "user"].iter().map(|key| chat::json_bytes(&body[*key])).sum()
}

/// Converts a parsed body.
///
/// # Errors
/// As [`parse_request`].
pub fn request_from_json(body: Value) -> Result<ResponsesRequest, Error> {
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
    let mut echo = RequestEcho::default();
    let mut messages = Vec::new();
    if let Some(instructions) = object.optional("instructions") {
        let text = instructions.string()?;
        messages.push(Message::new(Role::System, text.clone()));
        echo.instructions = Some(text);
    }
    match object.optional("input") {
        None if messages.is_empty() => return Err(Error::invalid("input or instructions must be set")),
        None => {}
        Some(input) => parse_input(input, &mut messages)?,
    }
    chat.input = Input::Messages(messages);
    chat.max_tokens = object.optional("max_output_tokens").map(Field::integer).transpose()?;
    echo.max_output_tokens = chat.max_tokens;
    let mut number = |key| object.optional(key).map(Field::number).transpose();
    chat.sampling = Sampling { temperature: number("temperature")?, top_p: number("top_p")?, ..Sampling::default() };
    (echo.temperature, echo.top_p) = (chat.sampling.temperature, chat.sampling.top_p);
    if let Some(top) = object.optional("top_logprobs").map(Field::integer).transpose()? {
        (chat.logprobs, chat.top_logprobs) = (Some(true), Some(top));
    }
    if let Some(tools) = object.optional("tools") {
        echo.tools = tools.value().clone();
        for tool in tools.array()? {
            chat.tools.extend(parse_tool(tool)?);
        }
    }
    if let Some(choice) = object.optional("tool_choice") {
        echo.tool_choice = choice.value().clone();
        chat.tool_choice = Some(parse_tool_choice(choice)?);
    }
    chat.parallel_tool_calls = object.optional("parallel_tool_calls").map(Field::bool).transpose()?;
    if let Some(reasoning) = object.optional("reasoning") {
        let efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"].map(|word| (word, word));
        if let Some(effort) = reasoning.object()?.optional("effort") {
            let effort = effort.variant(&efforts)?;
            // A chat knows only whether to think; the response repeats the level.
            chat.thinking = Some(effort != "none");
            echo.effort = Some(effort.into());
        }
    }
    if let Some(text) = object.optional("text")
        && let Some(format) = text.object()?.optional("format")
    {
        echo.format = format.value().clone();
        chat.response_format = parse_format(format)?;
    }
    chat.user = object.optional("user").map(Field::string).transpose()?;
    echo.user.clone_from(&chat.user);
    let stream = object.optional("stream").map(Field::bool).transpose()?.unwrap_or(false);
    Ok(ResponsesRequest { chat, stream, echo })
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

/// Parses a function tool. `custom` is refused; every other type is ignored (`None`).
fn parse_tool(field: Field) -> Result<Option<Tool>, Error> {
    let mut object = field.object()?;
    match object.required("type")?.string()?.as_str() {
        "function" => {}
        "custom" => return Err(Error::invalid("tools of type custom are not supported")),
        _ => return Ok(None),
    }
    let name = object.required("name")?.string()?;
    let mut function = Map::new();
    function.insert("name".into(), name.clone().into());
    if let Some(description) = object.optional("description") {
        function.insert("description".into(), description.string()?.into());
    }
    if let Some(parameters) = object.optional("parameters") {
        if !parameters.value().is_object() {
            return Err(parameters.type_error("a map"));
        }
        function.insert("parameters".into(), parameters.into_value());
    }
    let strict = object.optional("strict").map(Field::bool).transpose()?.unwrap_or(false);
    Ok(Some(Tool { name, strict, function }))
}

fn parse_tool_choice(field: Field) -> Result<ToolChoice, Error> {
    if field.value().is_object() {
        let mut object = field.object()?;
        object.required("type")?.variant(&[("function", ())])?;
        return Ok(ToolChoice::Named(object.required("name")?.string()?));
    }
    Ok(match field.variant(&["none", "auto", "required"].map(|choice| (choice, choice)))? {
        "none" => ToolChoice::None,
        "auto" => ToolChoice::Auto,
        _ => ToolChoice::Required,
    })
}

/// Parses the `input`: a string is one user message, an array is a list of items. The items of one
/// assistant answer become one message. Unknown items are ignored.
fn parse_input(field: Field, to: &mut Vec<Message>) -> Result<(), Error> {
    if !field.value().is_array() {
        to.push(Message::new(Role::User, field.string()?));
        return Ok(());
    }
    for item in field.array()? {
        let mut item = item.object()?;
        let kind = item.optional("type").map(Field::string).transpose()?;
        match kind.as_deref().unwrap_or("message") {
            "message" => parse_message(item, to)?,
            "reasoning" => parse_reasoning(item, to)?,
            "function_call" => {
                let call = ToolCall {
                    id: item.required("call_id")?.string()?,
                    name: item.required("name")?.string()?,
                    arguments: item.required("arguments")?.string()?,
                };
                current_assistant_message(to).tool_calls.get_or_insert_default().push(call);
            }
            "function_call_output" => {
                let id = item.required("call_id")?.string()?;
                let text = parse_text(item.required("output")?)?;
                to.push(Message { tool_call_id: Some(id), ..Message::new(Role::Tool, text) });
            }
            _ => {}
        }
    }
    Ok(())
}

fn parse_message(mut item: Object, to: &mut Vec<Message>) -> Result<(), Error> {
    let roles =
        [("user", Role::User), ("assistant", Role::Assistant), ("system", Role::System), ("developer", Role::System)];
    let role = item.required("role")?.variant(&roles)?;
    let content = item.required("content")?;
    match role {
        Role::Assistant => {
            current_assistant_message(to).content.get_or_insert_default().push(Part::Text(parse_text(content)?))
        }
        Role::User => to.push(Message { content: Some(parse_parts(content)?), ..Message::new(role, "") }),
        _ => to.push(Message::new(role, parse_text(content)?)),
    }
    Ok(())
}

/// Parses text and images. Adjacent texts are joined.
fn parse_parts(field: Field) -> Result<Vec<Part>, Error> {
    let has_image = |list: &Vec<Value>| list.iter().any(|part| part["type"] == "input_image");
    if !field.value().as_array().is_some_and(has_image) {
        return Ok(vec![Part::Text(parse_text(field)?)]);
    }
    let mut parts = Vec::new();
    for part in field.array()? {
        let mut part = part.object()?;
        let kinds = [("input_image", true), ("input_text", false), ("text", false)];
        if part.required("type")?.variant(&kinds)? {
            parts.push(Part::image(&part.required("image_url")?.string()?));
            continue;
        }
        let text = part.required("text")?.string()?;
        match parts.last_mut() {
            Some(Part::Text(before)) => before.push_str(&text),
            _ => parts.push(Part::Text(text)),
        }
    }
    Ok(parts)
}

fn parse_reasoning(mut item: Object, to: &mut Vec<Message>) -> Result<(), Error> {
    let Some(content) = item.optional("content") else { return Ok(()) };
    let text = parse_text(content)?;
    current_assistant_message(to).reasoning.get_or_insert_default().push_str(&text);
    Ok(())
}

/// The last message if it is the assistant's, else a new, empty assistant message.
fn current_assistant_message(to: &mut Vec<Message>) -> &mut Message {
    if to.last().is_none_or(|last| last.role != Role::Assistant) {
        to.push(Message { content: None, ..Message::new(Role::Assistant, "") });
    }
    to.last_mut().expect("just pushed")
}

/// Parses a string, or text parts, which are joined.
fn parse_text(field: Field) -> Result<String, Error> {
    if !field.value().is_array() {
        return field.string();
    }
    let part = |part: Field| {
        let mut part = part.object()?;
        let kinds = ["input_text", "output_text", "text", "reasoning_text", "summary_text"].map(|kind| (kind, ()));
        part.required("type")?.variant(&kinds)?;
        part.required("text")?.string()
    };
    field.array()?.map(part).collect()
}

impl Default for RequestEcho {
    fn default() -> Self {
        Self {
            instructions: None,
            max_output_tokens: None,
            temperature: None,
            top_p: None,
            tools: json!([]),
            tool_choice: json!("auto"),
            format: json!({ "type": "text" }),
            effort: None,
            user: None,
        }
    }
}
