//! The request body of `POST /v1/messages` and of its token count.

use chat::{
    Chat, EngineFields, Error, Input, Message, Part, ResponseFormat, Role, Sampling, SignedReasoning, Tool, ToolCall,
    ToolChoice,
};
use serde_json::{Map, Value};

use crate::field_reader::{Field, Object};
use crate::json;
use crate::reasoning_effort::effort_of_budget;
use crate::surface::anthropic::blocks::{
    parse_document, parse_image, parse_tool_result, text_blocks, uncarried_in_blocks,
};
use crate::surface::cache_control::last_cache_control;
use crate::surface::chat_completions::parse_reasoning_effort;
use crate::surface::uncarried::take_uncarried;

/// The fields that have no place in a chat.
const UNCARRIED: [&str; 6] =
    ["container", "context_management", "inference_geo", "mcp_servers", "service_tier", "speed"];
/// As [`UNCARRIED`], of a tool.
const UNCARRIED_OF_TOOL: [&str; 4] = ["allowed_callers", "defer_loading", "eager_input_streaming", "input_examples"];

/// The least length of a signature of Anthropic's, which has hundreds of characters. Those of this
/// server and of other services are shorter, and mean nothing to Anthropic.
const MIN_SIGNATURE_BYTES: usize = 100;

/// A parsed request.
#[derive(Clone, Debug, PartialEq)]
pub struct MessagesRequest {
    pub chat: Chat,
    pub stream: bool,
    /// The caller's indices of the chat's messages.
    pub message_indices: MessageIndexMap,
}

/// Maps the messages of a chat to the messages of the request, for error messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageIndexMap {
    /// For each message of the chat, the index of the caller's message it came from.
    source_messages: Vec<usize>,
    /// Messages of the chat with images, and the index of the first image block.
    first_images: Vec<(usize, usize)>,
}

impl MessageIndexMap {
    /// Rewrites an error to the wording of this surface and to the caller's message indices.
    pub fn rewrite_error(&self, error: Error) -> Error {
        let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).find_map(|digits| digits.parse().ok());
        let message: usize = number(&error.message).unwrap_or_default();
        let source_index = self.source_messages.get(message).copied().unwrap_or_default();
        if error.message.starts_with("Missing `reasoning_content`") {
            let text = "The `content[].thinking` in the thinking mode must be passed back to the API.";
            return Error { message: format!("{text} (messages.{source_index})"), ..error };
        }
        if error.message.contains("unknown variant image_url")
            && let Some((_, block)) = self.first_images.iter().find(|(of, _)| *of == message)
        {
            return Error { message: unsupported_block(source_index, *block, "image"), ..error };
        }
        error
    }
}

fn unsupported_block(message: usize, block: usize, kind: &str) -> String {
    format!("messages.{message}.content.{block}: content type '{kind:.64}' is not supported")
}

/// Parses a body. With `token_count_only` it may lack `max_tokens`. Unknown fields are ignored;
/// null means absent.
///
/// # Errors
/// `InvalidRequest`: bytes that are not JSON, a field of the wrong type, or an unsupported
/// block, with its path.
pub fn parse_request(body: &[u8], token_count_only: bool) -> Result<MessagesRequest, Error> {
    request_from_json(json::parse(body)?, token_count_only)
}

/// Converts a parsed body.
///
/// # Errors
/// As [`parse_request`].
pub fn request_from_json(body: Value, token_count_only: bool) -> Result<MessagesRequest, Error> {
    let mut object = Field::root(body).object()?;
    let mut chat = Chat { model: object.required("model")?.string()?, clamp_max_tokens: true, ..Chat::default() };
    chat.max_tokens = match token_count_only {
        true => None,
        false => Some(object.required("max_tokens")?.integer()?),
    };
    let mut messages = Vec::new();
    let mut message_indices = MessageIndexMap::default();
    if let Some(system) = object.optional("system") {
        let mark = last_cache_control(system.value());
        let text = text_blocks(system)?.join("\n\n");
        messages.push(Message { cache_control: mark, ..Message::new(Role::System, text) });
        message_indices.source_messages.push(0);
    }
    let list = object.required("messages")?;
    chat.uncarried = uncarried_in_blocks(list.value());
    for (index, message) in list.array()?.enumerate() {
        if let Some(block) = parse_message(message, index, &mut messages)? {
            message_indices.first_images.push((messages.len() - 1, block));
        }
        message_indices.source_messages.resize(messages.len(), index);
    }
    if let Some(last) = messages.last_mut().filter(|last| last.role == Role::Assistant && last.tool_calls.is_none()) {
        last.prefix = true;
        // Prefilled answers are part of this surface and do not need the beta root.
        chat.beta = true;
    }
    chat.input = Input::Messages(messages);
    chat.cache_control = object.optional("cache_control").map(Field::into_value);
    parse_options(&mut chat, &mut object)?;
    parse_tools(&mut chat, &mut object)?;
    chat.uncarried.extend(take_uncarried(&mut object, &UNCARRIED));
    let stream = object.optional("stream").map(Field::bool).transpose()?.unwrap_or(false);
    Ok(MessagesRequest { chat, stream, message_indices })
}

fn parse_options(chat: &mut Chat, object: &mut Object) -> Result<(), Error> {
    if let Some(thinking) = object.optional("thinking") {
        let kinds = [("enabled", Some(true)), ("disabled", Some(false)), ("adaptive", None), ("auto", None)];
        let mut thinking = thinking.object()?;
        chat.thinking = thinking.required("type")?.variant(&kinds)?;
        chat.uncarried.extend(take_uncarried(&mut thinking, &["display"]));
        let budget = thinking.optional("budget_tokens").map(Field::integer).transpose()?;
        chat.reasoning_effort = budget.map(|budget| effort_of_budget(budget).to_owned());
    }
    let mut number = |key| object.optional(key).map(Field::number).transpose();
    chat.sampling = Sampling { temperature: number("temperature")?, top_p: number("top_p")?, ..Sampling::default() };
    if let Some(top_k) = object.optional("top_k").map(Field::integer).transpose()? {
        chat.engine_fields = EngineFields { top_k: Some(top_k), names: vec!["top_k"], ..EngineFields::default() };
    }
    if let Some(stops) = object.optional("stop_sequences") {
        chat.stop = stops.array()?.map(Field::string).collect::<Result<_, _>>()?;
    }
    if let Some(metadata) = object.optional("metadata") {
        chat.user = metadata.object()?.optional("user_id").map(Field::string).transpose()?;
    }
    let mut output = object.optional("output_config").map(Field::object).transpose()?;
    if let Some(effort) = output.as_mut().and_then(|output| output.optional("effort")) {
        chat.reasoning_effort = Some(parse_reasoning_effort(effort)?);
    }
    if let Some(output) = &mut output {
        chat.uncarried.extend(take_uncarried(output, &["task_budget"]));
    }
    // The beta of structured outputs has it at the top.
    let beta_format = object.optional("output_format");
    if let Some(format) = output.as_mut().and_then(|output| output.optional("format")).or(beta_format) {
        let mut format = format.object()?;
        format.required("type")?.variant(&[("json_schema", ())])?;
        chat.response_format = ResponseFormat::of_schema(format.required("schema")?.into_value());
    }
    Ok(())
}

fn parse_tools(chat: &mut Chat, object: &mut Object) -> Result<(), Error> {
    let mut dropped = Vec::new();
    if let Some(tools) = object.optional("tools") {
        chat.tools_cache_control = last_cache_control(tools.value());
        for tool in tools.array()? {
            match parse_tool(tool, &mut chat.uncarried)? {
                ParsedTool::Function(tool) => chat.tools.push(tool),
                ParsedTool::RunByService { name } => dropped.push(name),
            }
        }
    }
    if !dropped.is_empty() {
        chat.notes.push(format!("dropped: the tools {}, which Anthropic's service runs", dropped.join(", ")));
    }
    let Some(choice) = object.optional("tool_choice") else { return Ok(()) };
    let mut choice = choice.object()?;
    let named = |choice: &mut Object| Ok(ToolChoice::Named(choice.required("name")?.string()?));
    chat.tool_choice =
        Some(match choice.required("type")?.variant(&[("auto", 0), ("any", 1), ("tool", 2), ("none", 3)])? {
            0 => ToolChoice::Auto,
            1 => ToolChoice::Required,
            2 => named(&mut choice)?,
            _ => ToolChoice::None,
        });
    // A choice among tools that were dropped has no meaning.
    let is_possible = match &chat.tool_choice {
        Some(ToolChoice::Named(name)) => !dropped.contains(name),
        Some(ToolChoice::Required) => dropped.is_empty() || !chat.tools.is_empty(),
        _ => true,
    };
    if !is_possible {
        chat.tool_choice = None;
    }
    let disable_parallel = choice.optional("disable_parallel_tool_use").map(Field::bool).transpose()?;
    chat.parallel_tool_calls = disable_parallel.map(|disabled| !disabled);
    Ok(())
}

/// A tool of a request.
enum ParsedTool {
    Function(Tool),
    /// A tool that Anthropic's service runs itself, such as `web_search`.
    RunByService {
        name: String,
    },
}

fn parse_tool(field: Field, uncarried: &mut Vec<&'static str>) -> Result<ParsedTool, Error> {
    let mut object = field.object()?;
    let kind = object.optional("type").map(Field::string).transpose()?;
    if let Some(kind) = kind.filter(|kind| kind != "custom") {
        let name = object.optional("name").map(Field::string).transpose()?.unwrap_or(kind);
        return Ok(ParsedTool::RunByService { name: format!("{name:.64}") });
    }
    let name = object.required("name")?.string()?;
    let mut function = Map::new();
    function.insert("name".into(), name.clone().into());
    if let Some(description) = object.optional("description") {
        function.insert("description".into(), description.string()?.into());
    }
    if let Some(schema) = object.optional("input_schema") {
        if !schema.value().is_object() {
            return Err(schema.type_error("a map"));
        }
        function.insert("parameters".into(), schema.into_value());
    }
    let strict = object.optional("strict").map(Field::bool).transpose()?.unwrap_or(false);
    uncarried.extend(take_uncarried(&mut object, &UNCARRIED_OF_TOOL));
    Ok(ParsedTool::Function(Tool { name, strict, function }))
}

/// Parses a message into one message, or into a tool message for each result and one for the text
/// around them. Returns the index of the first image block, which is in the last of these messages.
fn parse_message(field: Field, message_index: usize, to: &mut Vec<Message>) -> Result<Option<usize>, Error> {
    let mut object = field.object()?;
    let roles = [("user", Role::User), ("assistant", Role::Assistant), ("system", Role::System)];
    let role = object.required("role")?.variant(&roles)?;
    let content = object.required("content")?;
    if !content.value().is_array() {
        to.push(Message::new(role, content.string()?));
        return Ok(None);
    }
    let mut first_image = None;
    let mut message = Message { content: None, ..Message::new(role, "") };
    message.cache_control = last_cache_control(content.value());
    for (index, block) in content.array()?.enumerate() {
        let mut block = block.object()?;
        let kind = block.required("type")?.string()?;
        match (kind.as_str(), role) {
            ("text", _) => {
                let text = block.required("text")?.string()?;
                message.content.get_or_insert_default().push(Part::Text(text));
            }
            ("thinking", Role::Assistant) => {
                let text = block.required("thinking")?.string()?;
                let signature = block.optional("signature").map(Field::string).transpose()?;
                if let Some(signature) = signature.filter(|signature| signature.len() >= MIN_SIGNATURE_BYTES) {
                    message.signatures.push(SignedReasoning::of_claude(text.clone(), signature));
                }
                match &mut message.reasoning {
                    None => message.reasoning = Some(text),
                    Some(earlier) => {
                        earlier.push_str("\n\n");
                        earlier.push_str(&text);
                    }
                }
            }
            ("redacted_thinking", Role::Assistant) => {
                message.signatures.push(SignedReasoning::of_claude(String::new(), block.required("data")?.string()?));
            }
            ("tool_use", Role::Assistant) => message.tool_calls.get_or_insert_default().push(ToolCall {
                id: block.required("id")?.string()?,
                name: block.required("name")?.string()?,
                arguments: block.required("input")?.into_value().to_string(),
            }),
            ("tool_result", Role::User) => to.push(parse_tool_result(block)?),
            ("document", Role::User) => message.content.get_or_insert_default().push(parse_document(&mut block)?),
            ("image", Role::User) if let Some(image) = parse_image(&mut block)? => {
                message.content.get_or_insert_default().push(image);
                first_image.get_or_insert(index);
            }
            _ => return Err(Error::invalid(unsupported_block(message_index, index, &kind))),
        }
    }
    let answers = role == Role::User && to.last().is_some_and(|last| last.role == Role::Tool);
    if message.content.is_none() && message.tool_calls.is_none() {
        if let Some(last) = to.last_mut().filter(|_| answers) {
            last.cache_control = message.cache_control;
            return Ok(None);
        }
        message.content = Some(vec![Part::Text(String::new())]);
    }
    to.push(message);
    Ok(first_image)
}
