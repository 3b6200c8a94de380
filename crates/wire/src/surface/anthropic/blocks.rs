//! The content blocks of a request: texts, images, documents, and results of tools.

use chat::{Error, Message, Part, Role};
use serde_json::Value;

use crate::field_reader::{Field, Object};

/// The names of the parts of these messages that have no place in a chat.
pub(super) fn uncarried_in_blocks(messages: &Value) -> Vec<&'static str> {
    let contents = messages.as_array().into_iter().flatten().filter_map(|message| message.get("content"));
    let mut names: Vec<&str> = contents.filter_map(Value::as_array).flatten().filter_map(uncarried_in_block).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn uncarried_in_block(block: &Value) -> Option<&'static str> {
    match block.get("type")?.as_str()? {
        "document" if block["citations"]["enabled"] == true => Some("citations"),
        "document" if block["context"].is_string() => Some("context"),
        _ => None,
    }
}

/// Parses a string, or text blocks.
pub(super) fn text_blocks(field: Field) -> Result<Vec<String>, Error> {
    match field.value() {
        Value::Array(_) => field.array()?.map(|block| block.object()?.required("text")?.string()).collect(),
        _ => Ok(vec![field.string()?]),
    }
}

/// Parses an image; `None` when its source is of an unknown type.
pub(super) fn parse_image(block: &mut Object) -> Result<Option<Part>, Error> {
    let mut source = block.required("source")?.object()?;
    let url = match source.optional("type").map(Field::string).transpose()?.as_deref() {
        Some("url") => source.required("url")?.string()?,
        Some("base64") => data_url(&mut source)?,
        _ => return Ok(None),
    };
    Ok(Some(Part::image(&url)))
}

/// The data of a source as a URL.
fn data_url(source: &mut Object) -> Result<String, Error> {
    let media_type = source.required("media_type")?.string()?;
    let data = source.required("data")?.string()?;
    Ok(format!("data:{media_type};base64,{data}"))
}

/// Parses a document: the text of one, or a file.
pub(super) fn parse_document(block: &mut Object) -> Result<Part, Error> {
    let title = block.optional("title").map(Field::string).transpose()?;
    let mut source = block.required("source")?.object()?;
    let kinds = [("base64", 0), ("url", 1), ("text", 2), ("content", 3)];
    Ok(match source.required("type")?.variant(&kinds)? {
        0 => Part::file(title.as_deref(), &data_url(&mut source)?),
        1 => Part::file(title.as_deref(), &source.required("url")?.string()?),
        2 => Part::Text(source.required("data")?.string()?),
        _ => Part::Text(text_blocks(source.required("content")?)?.join("\n")),
    })
}

pub(super) fn parse_tool_result(mut block: Object) -> Result<Message, Error> {
    let id = block.required("tool_use_id")?.string()?;
    let mut parts = match block.optional("content") {
        None => Vec::new(),
        Some(content) => parse_result_content(content)?,
    };
    let failed = block.optional("is_error").map(Field::bool).transpose()?.unwrap_or(false);
    match parts.first_mut() {
        Some(Part::Text(text)) if failed && !text.starts_with("Error: ") => text.insert_str(0, "Error: "),
        Some(Part::Text(_)) => {}
        _ if failed => parts.insert(0, Part::Text("Error: ".into())),
        _ => {}
    }
    if parts.is_empty() {
        parts.push(Part::Text(String::new()));
    }
    Ok(Message { tool_call_id: Some(id), content: Some(parts), ..Message::new(Role::Tool, "") })
}

/// Parses the content of a result: a string, or blocks. Adjacent texts are joined by line breaks.
fn parse_result_content(field: Field) -> Result<Vec<Part>, Error> {
    if !field.value().is_array() {
        return Ok(vec![Part::Text(field.string()?)]);
    }
    let mut parts: Vec<Part> = Vec::new();
    for block in field.array()? {
        let unsupported = block.error_at("a block of a kind that is not supported");
        let mut block = block.object()?;
        let kind = block.optional("type").map(Field::string).transpose()?;
        let part = match kind.as_deref() {
            Some("text") | None => Part::Text(block.required("text")?.string()?),
            Some("image") => parse_image(&mut block)?.ok_or(unsupported)?,
            Some("document") => parse_document(&mut block)?,
            // Search results and references are read as they are.
            Some(kind) => {
                block.put_back("type", kind.into());
                Part::Text(Value::Object(block.into_fields()).to_string())
            }
        };
        match (parts.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => {
                before.push('\n');
                before.push_str(&text);
            }
            (_, part) => parts.push(part),
        }
    }
    Ok(parts)
}
