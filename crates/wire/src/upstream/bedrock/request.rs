//! Requests to Bedrock's Converse API: those to Anthropic's API in other words.

use chat::{Chat, Error};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::upstream::anthropic;
use crate::upstream::dropped_parts::DroppedParts;
use crate::upstream::signatures::SignatureStore;

/// The characters that are encoded in a path: all but the unreserved ones (RFC 3986).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Maximum length of the name of a document.
const MAX_NAME_CHARS: usize = 200;

/// The path of a chat of `model`, which may be an ARN.
pub(in crate::upstream) fn chat_path(model: &str, stream: bool) -> String {
    let method = if stream { "converse-stream" } else { "converse" };
    format!("model/{}/{method}", utf8_percent_encode(model, RESERVED))
}

/// The body of a request. The path has the model and whether the answer is a stream.
pub(in crate::upstream) fn request_body(
    chat: &Chat,
    model: &str,
    signatures: &dyn SignatureStore,
    dropped: &mut DroppedParts,
) -> Result<String, Error> {
    let text = anthropic::request_body(chat, model, signatures, dropped)?;
    let mut sent: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| Error::internal(format!("a request is not an object: {error}")))?;
    let mut body = Map::new();
    let mut messages = messages(sent.remove("messages").unwrap_or_default())?;
    if let Some(mark) = sent.remove("cache_control") {
        add_last_cache_point(&mut messages, &mark);
    }
    body.insert("messages".into(), messages);
    if let Some(system) = sent.remove("system") {
        body.insert("system".into(), system_blocks(system)?);
    }
    let mut inference = Map::new();
    for (from, to) in [
        ("max_tokens", "maxTokens"),
        ("temperature", "temperature"),
        ("top_p", "topP"),
        ("stop_sequences", "stopSequences"),
    ] {
        if let Some(value) = sent.remove(from) {
            inference.insert(to.into(), value);
        }
    }
    body.insert("inferenceConfig".into(), inference.into());
    // The API refuses a choice of no tool. Without tools there is nothing to choose.
    let forbids_calls = sent.get("tool_choice").is_some_and(|choice| choice["type"] == "none");
    if let Some(tools) = sent.remove("tools").filter(|_| !forbids_calls || has_calls(&body["messages"])) {
        let mut config = json!({ "tools": tool_specs(tools) });
        if let Some(choice) = sent.remove("tool_choice").and_then(|choice| tool_choice(&choice)) {
            config["toolChoice"] = choice;
        }
        body.insert("toolConfig".into(), config);
    }
    // The parameters of a model's own API. Those of other models than Claude are a matter of rows.
    let own: Map<String, Value> =
        ["thinking", "top_k"].iter().filter_map(|name| Some(((*name).to_owned(), sent.remove(*name)?))).collect();
    if !own.is_empty() {
        body.insert("additionalModelRequestFields".into(), own.into());
    }
    Ok(Value::Object(body).to_string())
}

/// Whether a message has calls or results, which require the tools.
fn has_calls(messages: &Value) -> bool {
    let blocks =
        messages.as_array().into_iter().flatten().filter_map(|message| message["content"].as_array()).flatten();
    blocks.into_iter().any(|block| block.get("toolUse").is_some() || block.get("toolResult").is_some())
}

fn messages(messages: Value) -> Result<Value, Error> {
    let Value::Array(messages) = messages else { return Ok(json!([])) };
    let mut document_count = 0;
    let message = |mut message: Value| {
        let mut blocks = Vec::new();
        let Value::Array(content) = message["content"].take() else { return Ok(message) };
        // Rows leave out text of white space.
        let has_text = content.iter().any(|block| block["text"].as_str().is_some_and(|text| !text.trim().is_empty()));
        let has_document = content.iter().any(|block| block["type"] == "document");
        for block in content {
            push_block(block, &mut document_count, &mut blocks)?;
        }
        // The API requires a text beside a document.
        if has_document && !has_text {
            blocks.push(json!({ "text": "." }));
        }
        message["content"] = blocks.into();
        Ok(message)
    };
    messages.into_iter().map(message).collect()
}

fn system_blocks(system: Value) -> Result<Value, Error> {
    let mut blocks = Vec::new();
    match system {
        Value::Array(texts) => texts.into_iter().try_for_each(|text| push_block(text, &mut 0, &mut blocks))?,
        text => blocks.push(json!({ "text": text })),
    }
    Ok(blocks.into())
}

/// Adds a block, and a cache point behind it if it has the mark of one.
fn push_block(mut block: Value, document_count: &mut usize, to: &mut Vec<Value>) -> Result<(), Error> {
    let mark = block.as_object_mut().and_then(|fields| fields.remove("cache_control"));
    let kind = block["type"].as_str().unwrap_or_default().to_owned();
    to.push(match kind.as_str() {
        "text" => json!({ "text": block["text"] }),
        "image" => json!({ "image": image(&block["source"])? }),
        "document" => json!({ "document": document(&block, document_count)? }),
        "thinking" => {
            let text = json!({ "text": block["thinking"], "signature": block["signature"] });
            json!({ "reasoningContent": { "reasoningText": text } })
        }
        "redacted_thinking" => json!({ "reasoningContent": { "redactedContent": block["data"] } }),
        "tool_use" => {
            json!({ "toolUse": { "toolUseId": block["id"], "name": block["name"], "input": block["input"] } })
        }
        "tool_result" => {
            let content = result_content(block["content"].take(), document_count)?;
            json!({ "toolResult": { "toolUseId": block["tool_use_id"], "content": content } })
        }
        _ => return Err(Error::internal(format!("a block of type `{kind:.64}` has no counterpart"))),
    });
    to.extend(mark.as_ref().map(cache_point));
    Ok(())
}

/// The cache point that stands for a mark of Anthropic's. Five minutes are the default.
fn cache_point(mark: &Value) -> Value {
    let mut point = json!({ "type": "default" });
    if let Some(ttl) = mark["ttl"].as_str().filter(|ttl| *ttl != "5m") {
        point["ttl"] = ttl.into();
    }
    json!({ "cachePoint": point })
}

/// Adds a cache point at the end of the last message, which stands for a mark of the whole request.
fn add_last_cache_point(messages: &mut Value, mark: &Value) {
    let last = messages.as_array_mut().and_then(|messages| messages.last_mut());
    let Some(content) = last.and_then(|message| message["content"].as_array_mut()) else { return };
    if content.last().is_some_and(|block| block.get("cachePoint").is_none()) {
        content.push(cache_point(mark));
    }
}

/// The content of a result. The API refuses empty texts.
fn result_content(content: Value, document_count: &mut usize) -> Result<Value, Error> {
    let mut blocks = Vec::new();
    match content {
        Value::Array(parts) => parts.into_iter().try_for_each(|part| push_block(part, document_count, &mut blocks))?,
        Value::String(text) if !text.is_empty() => blocks.push(json!({ "text": text })),
        _ => {}
    }
    if blocks.is_empty() {
        blocks.push(json!({ "text": "." }));
    }
    Ok(blocks.into())
}

/// The format and the bytes of an image, which the service does not fetch.
fn image(source: &Value) -> Result<Value, Error> {
    let (media_type, data) = embedded(source, "images")?;
    let format = media_type.strip_prefix("image/").unwrap_or(media_type);
    Ok(json!({ "format": if format == "jpg" { "jpeg" } else { format }, "source": { "bytes": data } }))
}

fn document(block: &Value, count: &mut usize) -> Result<Value, Error> {
    let (media_type, data) = embedded(&block["source"], "documents")?;
    let format = match media_type {
        "text/plain" => "txt",
        "text/markdown" => "md",
        "text/html" => "html",
        "text/csv" => "csv",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        _ => "pdf",
    };
    *count += 1;
    let name = document_name(block["title"].as_str().unwrap_or("document"), *count);
    Ok(json!({ "format": format, "name": name, "source": { "bytes": data } }))
}

/// The media type and the data of a source.
fn embedded<'a>(source: &'a Value, what: &str) -> Result<(&'a str, &'a str), Error> {
    let embedded = source["media_type"].as_str().zip(source["data"].as_str());
    embedded.ok_or_else(|| Error::invalid(format!("This model's provider takes {what} as data, not by their address")))
}

/// A name of the characters that the API accepts, which no other document of the request has.
fn document_name(title: &str, number: usize) -> String {
    let accepted = |c: char| if c.is_ascii_alphanumeric() || "()[]".contains(c) { c } else { '-' };
    let name: String = title.chars().take(MAX_NAME_CHARS).map(accepted).collect();
    if number == 1 { name } else { format!("{name}-{number}") }
}

fn tool_specs(tools: Value) -> Vec<Value> {
    let Value::Array(tools) = tools else { return Vec::new() };
    let mut specs = Vec::new();
    for mut tool in tools {
        let mut spec = json!({ "name": tool["name"], "inputSchema": { "json": tool["input_schema"].take() } });
        // The API refuses an empty description.
        if let Some(text) = tool["description"].as_str().filter(|text| !text.is_empty()) {
            spec["description"] = text.into();
        }
        specs.push(json!({ "toolSpec": spec }));
        specs.extend(tool.get("cache_control").map(cache_point));
    }
    specs
}

/// The choice of a tool; `None` for the choice of none.
fn tool_choice(choice: &Value) -> Option<Value> {
    match choice["type"].as_str()? {
        "auto" => Some(json!({ "auto": {} })),
        "any" => Some(json!({ "any": {} })),
        "tool" => Some(json!({ "tool": { "name": choice["name"] } })),
        _ => None,
    }
}
