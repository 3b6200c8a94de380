//! The body of `POST /v1/messages`, and of its token count.

use chat::{Chat, Error, Format, Input, Message, Part, Role, Sampling, Tool, ToolCall, ToolChoice};
use serde_json::{Map, Value, json};

use crate::json;
use crate::reader::{Field, Object};

/// What a caller asked for, and how it wants the answer sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub chat: Chat,
    pub stream: bool,
    /// Where the chat's messages stand in the caller's.
    pub places: Places,
}

/// Where the messages of a chat stand in a body of this surface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// For each message of the chat, the caller's message it came of.
    messages: Vec<usize>,
    /// Messages of the chat that have images, and the block that is the first.
    images: Vec<(usize, usize)>,
}

impl Places {
    /// A refusal in the words of this surface: the place of a message is the caller's own.
    pub fn retell(&self, error: Error) -> Error {
        let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).find_map(|digits| digits.parse().ok());
        let message: usize = number(&error.message).unwrap_or_default();
        let place = self.messages.get(message).copied().unwrap_or_default();
        if error.message.starts_with("Missing `reasoning_content`") {
            let text = "The `content[].thinking` in the thinking mode must be passed back to the API.";
            return Error { message: format!("{text} (messages.{place})"), ..error };
        }
        if error.message.contains("unknown variant image_url")
            && let Some((_, block)) = self.images.iter().find(|(of, _)| *of == message)
        {
            return Error { message: unsupported(place, *block, "image"), ..error };
        }
        error
    }
}

fn unsupported(message: usize, block: usize, kind: &str) -> String {
    format!("messages.{message}.content.{block}: content type '{kind:.64}' is not supported")
}

/// Reads a body; `counts` for a token count, which needs no `max_tokens`. Unknown fields are ignored, null is absence.
///
/// # Errors
/// `Invalid`: bytes that are no JSON, a field of the wrong type, a block this server cannot read, each with its path.
pub fn parse_request(body: &[u8], counts: bool) -> Result<Request, Error> {
    read_request(json::parse(body)?, counts)
}

/// The same of a body that is parsed.
///
/// # Errors
/// As [`parse_request`].
pub fn read_request(body: Value, counts: bool) -> Result<Request, Error> {
    let mut object = Field::root(body).object()?;
    let mut chat = Chat { model: object.required("model")?.text()?, cut_max_tokens: true, ..Chat::default() };
    chat.max_tokens = match counts {
        true => None,
        false => Some(object.required("max_tokens")?.integer()?),
    };
    let mut messages = Vec::new();
    let mut places = Places::default();
    if let Some(system) = object.optional("system") {
        messages.push(Message::new(Role::System, texts(system)?.join("\n\n")));
        places.messages.push(0);
    }
    for (place, message) in object.required("messages")?.list()?.enumerate() {
        if let Some(block) = self::message(message, place, &mut messages)? {
            places.images.push((messages.len() - 1, block));
        }
        places.messages.resize(messages.len(), place);
    }
    if let Some(last) = messages.last_mut().filter(|last| last.role == Role::Assistant && last.tool_calls.is_none()) {
        last.prefix = true;
        // A prefilled answer is part of this surface, and needs no other root.
        chat.beta = true;
    }
    chat.input = Input::Messages(messages);
    options(&mut chat, &mut object)?;
    tools(&mut chat, &mut object)?;
    let stream = object.optional("stream").map(Field::bool).transpose()?.unwrap_or(false);
    Ok(Request { chat, stream, places })
}

fn options(chat: &mut Chat, object: &mut Object) -> Result<(), Error> {
    if let Some(thinking) = object.optional("thinking") {
        let kinds = [("enabled", Some(true)), ("disabled", Some(false)), ("adaptive", None), ("auto", None)];
        chat.thinking = thinking.object()?.required("type")?.variant(&kinds)?;
    }
    let mut number = |key| object.optional(key).map(Field::number).transpose();
    chat.sampling = Sampling { temperature: number("temperature")?, top_p: number("top_p")?, ..Sampling::default() };
    if let Some(stops) = object.optional("stop_sequences") {
        chat.stop = stops.list()?.map(Field::text).collect::<Result<_, _>>()?;
    }
    if let Some(metadata) = object.optional("metadata") {
        chat.user = metadata.object()?.optional("user_id").map(Field::text).transpose()?;
    }
    if let Some(output) = object.optional("output_config")
        && let Some(format) = output.object()?.optional("format")
    {
        let mut format = format.object()?;
        format.required("type")?.variant(&[("json_schema", ())])?;
        let schema = format.required("schema")?.into_value();
        let format: Map<String, Value> =
            [("name".into(), json!("output")), ("schema".into(), schema)].into_iter().collect();
        chat.format = Format::JsonSchema(format);
    }
    Ok(())
}

fn tools(chat: &mut Chat, object: &mut Object) -> Result<(), Error> {
    if let Some(tools) = object.optional("tools") {
        for tool in tools.list()? {
            chat.tools.extend(self::tool(tool)?);
        }
    }
    let Some(choice) = object.optional("tool_choice") else { return Ok(()) };
    let mut choice = choice.object()?;
    let named = |choice: &mut Object| Ok(ToolChoice::Named(choice.required("name")?.text()?));
    chat.tool_choice =
        Some(match choice.required("type")?.variant(&[("auto", 0), ("any", 1), ("tool", 2), ("none", 3)])? {
            0 => ToolChoice::Auto,
            1 => ToolChoice::Required,
            2 => named(&mut choice)?,
            _ => ToolChoice::None,
        });
    let alone = choice.optional("disable_parallel_tool_use").map(Field::bool).transpose()?;
    chat.parallel_tool_calls = alone.map(|alone| !alone);
    Ok(())
}

/// A tool of the caller's own; `None` for those the service would run itself.
fn tool(field: Field) -> Result<Option<Tool>, Error> {
    let mut object = field.object()?;
    let kind = object.optional("type").map(Field::text).transpose()?;
    if kind.is_some_and(|kind| kind != "custom") {
        return Ok(None);
    }
    let name = object.required("name")?.text()?;
    let mut function = Map::new();
    function.insert("name".into(), name.clone().into());
    if let Some(description) = object.optional("description") {
        function.insert("description".into(), description.text()?.into());
    }
    if let Some(schema) = object.optional("input_schema") {
        if !schema.value().is_object() {
            return Err(schema.mismatch("a map"));
        }
        function.insert("parameters".into(), schema.into_value());
    }
    let strict = object.optional("strict").map(Field::bool).transpose()?.unwrap_or(false);
    Ok(Some(Tool { name, strict, function }))
}

/// A string, or text blocks.
fn texts(field: Field) -> Result<Vec<String>, Error> {
    match field.value() {
        Value::Array(_) => field.list()?.map(|block| block.object()?.required("text")?.text()).collect(),
        _ => Ok(vec![field.text()?]),
    }
}

/// One message becomes one, or a tool message for each result and one for the words around them. Returns the first block that is an
/// image; it is in the last message then.
fn message(field: Field, place: usize, to: &mut Vec<Message>) -> Result<Option<usize>, Error> {
    let mut object = field.object()?;
    let roles = [("user", Role::User), ("assistant", Role::Assistant), ("system", Role::System)];
    let role = object.required("role")?.variant(&roles)?;
    let content = object.required("content")?;
    if !content.value().is_array() {
        to.push(Message::new(role, content.text()?));
        return Ok(None);
    }
    let mut first_image = None;
    let mut message = Message { content: None, ..Message::new(role, "") };
    for (index, block) in content.list()?.enumerate() {
        let mut block = block.object()?;
        let kind = block.required("type")?.text()?;
        match (kind.as_str(), role) {
            ("text", _) => {
                let text = block.required("text")?.text()?;
                message.content.get_or_insert_default().push(Part::Text(text));
            }
            ("thinking", Role::Assistant) => {
                let text = block.required("thinking")?.text()?;
                match &mut message.reasoning {
                    None => message.reasoning = Some(text),
                    Some(earlier) => {
                        earlier.push_str("\n\n");
                        earlier.push_str(&text);
                    }
                }
            }
            ("redacted_thinking", _) => {}
            ("tool_use", Role::Assistant) => message.tool_calls.get_or_insert_default().push(ToolCall {
                id: block.required("id")?.text()?,
                name: block.required("name")?.text()?,
                arguments: block.required("input")?.into_value().to_string(),
            }),
            ("tool_result", Role::User) => to.push(result(block)?),
            ("image", Role::User) if let Some(image) = image(&mut block)? => {
                message.content.get_or_insert_default().push(image);
                first_image.get_or_insert(index);
            }
            _ => return Err(Error::invalid(unsupported(place, index, &kind))),
        }
    }
    let answers = role == Role::User && to.last().is_some_and(|last| last.role == Role::Tool);
    if message.content.is_none() && message.tool_calls.is_none() {
        if answers {
            return Ok(None);
        }
        message.content = Some(vec![Part::Text(String::new())]);
    }
    to.push(message);
    Ok(first_image)
}

/// An image as chat completions have it; `None` where its source is of another kind.
fn image(block: &mut Object) -> Result<Option<Part>, Error> {
    let mut source = block.required("source")?.object()?;
    let url = match source.optional("type").map(Field::text).transpose()?.as_deref() {
        Some("url") => source.required("url")?.text()?,
        Some("base64") => {
            let (kind, data) = (source.required("media_type")?.text()?, source.required("data")?.text()?);
            format!("data:{kind};base64,{data}")
        }
        _ => return Ok(None),
    };
    Ok(Some(Part::image(&url)))
}

fn result(mut block: Object) -> Result<Message, Error> {
    let id = block.required("tool_use_id")?.text()?;
    let mut text = match block.optional("content") {
        None => String::new(),
        Some(content) => texts(content)?.join("\n"),
    };
    let failed = block.optional("is_error").map(Field::bool).transpose()?.unwrap_or(false);
    if failed && !text.starts_with("Error: ") {
        text.insert_str(0, "Error: ");
    }
    Ok(Message { tool_call_id: Some(id), ..Message::new(Role::Tool, text) })
}
