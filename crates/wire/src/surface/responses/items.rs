//! The items of a request's input.

use chat::{Error, Message, Part, Role, ToolCall};
use serde_json::{Map, Value};

use crate::field_reader::{Field, Object};
use crate::surface::responses::summary::summary_of;
use crate::surface::responses::tools::{custom_arguments, parse_function_name};

/// Parses the `input`: a string is one user message, an array is a list of items. The items of one
/// assistant answer become one message. Items that cannot be expressed are dropped with a note.
pub(super) fn parse_input(field: Field, to: &mut Vec<Message>, notes: &mut Vec<String>) -> Result<(), Error> {
    if !field.value().is_array() {
        to.push(Message::new(Role::User, field.string()?));
        return Ok(());
    }
    let mut dropped = Vec::new();
    for item in field.array()? {
        let mut item = item.object()?;
        let kind = item.optional("type").map(Field::string).transpose()?;
        let kind = kind.as_deref().unwrap_or("message");
        match kind {
            "message" => parse_message(item, to)?,
            "reasoning" if !parse_reasoning(&mut item, to)? => dropped.push("reasoning that is encrypted".to_owned()),
            "reasoning" => {}
            "function_call" => {
                let arguments = item.required("arguments")?.string()?;
                push_call(item, arguments, to)?;
            }
            "custom_tool_call" => {
                let arguments = custom_arguments(&item.required("input")?.string()?);
                push_call(item, arguments, to)?;
            }
            "function_call_output" | "custom_tool_call_output" => {
                let id = item.required("call_id")?.string()?;
                let parts = parse_parts(item.required("output")?)?;
                to.push(Message { tool_call_id: Some(id), content: Some(parts), ..Message::new(Role::Tool, "") });
            }
            "compaction" | "compaction_summary" => match summary_of(item)? {
                Some(summary) => to.push(Message::new(Role::User, summary)),
                None => dropped.push(kind.to_owned()),
            },
            _ if !push_client_tool(kind, item, to)? => dropped.push(format!("{kind:.64}")),
            _ => {}
        }
    }
    if !dropped.is_empty() {
        dropped.sort_unstable();
        dropped.dedup();
        notes.push(format!("dropped: input items of type {}", dropped.join(", ")));
    }
    Ok(())
}

fn push_call(mut item: Object, arguments: String, to: &mut Vec<Message>) -> Result<(), Error> {
    let call = ToolCall { id: item.required("call_id")?.string()?, name: parse_function_name(&mut item)?, arguments };
    current_assistant_message(to).tool_calls.get_or_insert_default().push(call);
    Ok(())
}

/// Adds a call, or its output, of a tool that OpenAI defines and the client runs, such as
/// `local_shell_call` and `shell_call_output`. Returns false for other items.
fn push_client_tool(kind: &str, mut item: Object, to: &mut Vec<Message>) -> Result<bool, Error> {
    let Some(id) = item.optional("call_id").map(Field::string).transpose()? else { return Ok(false) };
    if let Some(name) = kind.strip_suffix("_call") {
        let action = item.optional("action").or_else(|| item.optional("operation"));
        let arguments = action.map_or_else(|| "{}".to_owned(), |action| action.into_value().to_string());
        let call = ToolCall { id, name: name.into(), arguments };
        current_assistant_message(to).tool_calls.get_or_insert_default().push(call);
        return Ok(true);
    }
    if !kind.ends_with("_call_output") {
        return Ok(false);
    }
    let text = match item.optional("output").map(Field::into_value) {
        Some(Value::String(text)) => text,
        Some(output) => output.to_string(),
        None => String::new(),
    };
    to.push(Message { tool_call_id: Some(id), ..Message::new(Role::Tool, text) });
    Ok(true)
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

/// Parses text, images and files. Adjacent texts are joined.
fn parse_parts(field: Field) -> Result<Vec<Part>, Error> {
    let is_attachment = |part: &Value| part["type"] == "input_image" || part["type"] == "input_file";
    if !field.value().as_array().is_some_and(|list| list.iter().any(is_attachment)) {
        return Ok(vec![Part::Text(parse_text(field)?)]);
    }
    let mut parts = Vec::new();
    for part in field.array()? {
        let mut part = part.object()?;
        let kinds = [("input_image", 0), ("input_file", 1), ("input_text", 2), ("output_text", 2), ("text", 2)];
        match part.required("type")?.variant(&kinds)? {
            0 => {
                parts.push(parse_image(part)?);
                continue;
            }
            1 => {
                parts.push(parse_file(part)?);
                continue;
            }
            _ => {}
        }
        let text = part.required("text")?.string()?;
        match parts.last_mut() {
            Some(Part::Text(before)) => before.push_str(&text),
            _ => parts.push(Part::Text(text)),
        }
    }
    Ok(parts)
}

fn parse_image(mut part: Object) -> Result<Part, Error> {
    let mut image = Part::image(&part.required("image_url")?.string()?);
    if let (Part::Other { value, .. }, Some(detail)) = (&mut image, part.optional("detail")) {
        value["image_url"]["detail"] = detail.string()?.into();
    }
    Ok(image)
}

/// Parses a file by its data or its address. An id names a file that OpenAI's service keeps.
fn parse_file(mut part: Object) -> Result<Part, Error> {
    let name = part.optional("filename").map(Field::string).transpose()?;
    let url = match part.optional("file_data") {
        Some(data) => data,
        None => part.required("file_url")?,
    };
    Ok(Part::file(name.as_deref(), &url.string()?))
}

/// Adds the text of reasoning, or its summary. Returns false if it is encrypted and has neither.
fn parse_reasoning(item: &mut Object, to: &mut Vec<Message>) -> Result<bool, Error> {
    let mut text = item.optional("content").map(parse_text).transpose()?.unwrap_or_default();
    if let Some(summary) = item.optional("summary").filter(|_| text.is_empty()) {
        let parts: Vec<String> = match summary.value().is_array() {
            true => summary.array()?.map(|part| part.object()?.required("text")?.string()).collect::<Result<_, _>>()?,
            false => vec![summary.string()?],
        };
        text = parts.join("\n\n");
    }
    if text.is_empty() {
        return Ok(item.optional("encrypted_content").is_none());
    }
    current_assistant_message(to).reasoning.get_or_insert_default().push_str(&text);
    Ok(true)
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
        let kinds = ["input_text", "output_text", "text", "reasoning_text", "summary_text"].map(|kind| (kind, "text"));
        let kinds: Vec<_> = kinds.into_iter().chain([("refusal", "refusal")]).collect();
        let key = part.required("type")?.variant(&kinds)?;
        part.required(key)?.string()
    };
    field.array()?.map(part).collect()
}

/// The texts of the user's messages in a body, oldest first.
pub(super) fn user_texts(body: &Value) -> Vec<String> {
    let text = |content: &Value| match content {
        Value::String(text) => text.clone(),
        parts => parts.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect(),
    };
    let is_user = |item: &&Map<String, Value>| item.get("role").is_some_and(|role| role == "user");
    match &body["input"] {
        Value::String(text) => vec![text.clone()],
        items => {
            let items = items.as_array().into_iter().flatten().filter_map(Value::as_object).filter(is_user);
            items.filter_map(|item| item.get("content")).map(text).filter(|text| !text.is_empty()).collect()
        }
    }
}
