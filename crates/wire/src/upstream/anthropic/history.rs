//! The system prompt and the messages of a request, with the thinking of earlier answers.

use std::borrow::Cow;

use chat::{Error, Message, Part, ResponseFormat, Role, SignatureFormat};
use serde_json::{Value, json};

use crate::tool_arguments::parse_tool_arguments;
use crate::upstream::attachment::{Attachment, Source, attachment_of, attachments, unsupported_content};
use crate::upstream::chat_part::{ATTACHMENT_OF_SYSTEM, SIGNATURES, has_attachment, is_image_of_answer};
use crate::upstream::dropped_parts::DroppedParts;
use crate::upstream::short_id::short_id;
use crate::upstream::signatures::{MessageSignatures, SignatureStore};

/// Writes the messages of a chat.
pub(super) struct HistoryWriter<'a> {
    /// Whether the request asks for thinking, beside which thinking is sent back.
    pub(super) thinks: bool,
    pub(super) signatures: &'a dyn SignatureStore,
    pub(super) dropped: &'a mut DroppedParts,
}

impl HistoryWriter<'_> {
    /// The system prompt, and messages in which the roles alternate.
    pub(super) fn alternating_messages(
        &mut self,
        messages: &[Message],
        format: &ResponseFormat,
    ) -> Result<(Option<Value>, Vec<Value>), Error> {
        let first = messages.iter().position(|message| !is_system(message)).unwrap_or(messages.len());
        let mut system: Vec<Value> = messages[..first].iter().map(|message| self.system_block(message)).collect();
        if *format == ResponseFormat::JsonObject {
            system.push(text_block("Respond with one JSON object."));
        }
        let mut turns = Vec::<(&str, Vec<Value>)>::new();
        for message in &messages[first..] {
            let role = if message.role == Role::Assistant { "assistant" } else { "user" };
            let blocks = self.message_blocks(message)?;
            match turns.last_mut() {
                None if role == "assistant" => turns.extend([("user", vec![text_block(".")]), (role, blocks)]),
                Some((last, earlier)) if *last == role => earlier.extend(blocks),
                _ => turns.push((role, blocks)),
            }
        }
        let turns = turns.into_iter().map(|(role, blocks)| json!({"role": role, "content": blocks}));
        Ok((system_body(system), turns.collect()))
    }

    fn system_block(&mut self, message: &Message) -> Value {
        let mut block = text_block(&self.system_text(message));
        set_cache_control(&mut block, message.cache_control.as_ref());
        block
    }

    /// The text of a system message, which can be nothing else.
    fn system_text(&mut self, message: &Message) -> String {
        self.dropped.add_if(has_attachment(message), ATTACHMENT_OF_SYSTEM);
        message.text()
    }

    fn message_blocks(&mut self, message: &Message) -> Result<Vec<Value>, Error> {
        let mut blocks = Vec::new();
        match message.role {
            Role::System | Role::Developer => {
                blocks.push(text_block(&format!("<system>{}</system>", self.system_text(message))));
            }
            Role::Tool => {
                let id = tool_use_id(message.tool_call_id.as_deref().unwrap_or_default());
                let content = tool_result_content(message)?;
                blocks.push(json!({"type": "tool_result", "tool_use_id": id, "content": content}));
            }
            Role::User | Role::Assistant => {
                blocks.extend(self.thinking_blocks(message));
                for part in message.content.iter().flatten().filter(|part| !is_image_of_answer(message, part)) {
                    blocks.extend(content_block(part)?);
                }
                for call in message.calls() {
                    let (id, input) = (tool_use_id(&call.id), parse_tool_arguments(&call.arguments));
                    blocks.push(json!({"type": "tool_use", "id": id, "name": call.name, "input": input}));
                }
            }
        }
        if blocks.is_empty() {
            // The API refuses a message without content.
            blocks.push(text_block("."));
        }
        // A thinking block takes no mark.
        if let Some(mark) = &message.cache_control {
            match blocks.last_mut().filter(|last| !is_thinking(last)) {
                Some(last) => set_cache_control(last, Some(mark)),
                None => self.dropped.add("cache_control"),
            }
        }
        Ok(blocks)
    }

    /// The thinking of a message. It is valid only with its signature, and beside thinking.
    fn thinking_blocks(&mut self, message: &Message) -> Vec<Value> {
        let mut blocks = signed_thinking(message, self.signatures);
        blocks.retain(|_| self.thinks);
        let has_text = |block: &Value| block["type"] == "thinking";
        let has_reasoning = message.reasoning.as_deref().is_some_and(|reasoning| !reasoning.is_empty());
        self.dropped.add_if(has_reasoning && !blocks.iter().any(has_text), "reasoning_content");
        let is_lost = |is_redacted| {
            let mut own = message.signatures.iter().filter(|signed| signed.is_redacted() == is_redacted);
            blocks.is_empty() && own.next().is_some()
        };
        self.dropped.add_if(is_lost(true), "redacted_thinking");
        let has_foreign = MessageSignatures::new(message, SignatureFormat::Anthropic, self.signatures).has_foreign;
        self.dropped.add_if(is_lost(false) || has_foreign, SIGNATURES);
        blocks
    }
}

fn is_thinking(block: &Value) -> bool {
    block["type"] == "thinking" || block["type"] == "redacted_thinking"
}

/// One text, or where a block has a mark a list of blocks.
fn system_body(blocks: Vec<Value>) -> Option<Value> {
    if blocks.iter().any(|block| block.get("cache_control").is_some()) {
        return Some(blocks.into());
    }
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
    Some(texts.join("\n\n")).filter(|text| !text.is_empty()).map(Value::from)
}

/// Gives a block its mark.
pub(super) fn set_cache_control(block: &mut Value, mark: Option<&Value>) {
    if let Some(mark) = mark {
        block["cache_control"] = mark.clone();
    }
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// The content of a result: text, or blocks if there is more than text.
fn tool_result_content(message: &Message) -> Result<Value, Error> {
    let parts = message.content.as_deref().unwrap_or_default();
    if attachments(parts).next().is_none() {
        return Ok(message.text().into());
    }
    let blocks = parts.iter().map(content_block).collect::<Result<Vec<_>, _>>()?;
    Ok(blocks.into_iter().flatten().collect())
}

fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// `None` for empty text, which the API refuses.
fn content_block(part: &Part) -> Result<Option<Value>, Error> {
    let (kind, value) = match part {
        Part::Text(text) if text.is_empty() => return Ok(None),
        Part::Text(text) => return Ok(Some(text_block(text))),
        Part::Other { kind, value } => (kind, value),
    };
    let source_body = |source| match source {
        Source::Data { media_type, base64 } => json!({"type": "base64", "media_type": media_type, "data": base64}),
        Source::Url(url) => json!({"type": "url", "url": url}),
    };
    Ok(Some(match attachment_of(kind, value)? {
        Attachment::Image(source) => json!({"type": "image", "source": source_body(source)}),
        // The API takes no other files by their address.
        Attachment::File { media_type: Some(media_type), source: Source::Url(_), .. } => {
            return Err(unsupported_content(media_type));
        }
        Attachment::File { name, source, .. } => {
            let mut block = json!({"type": "document", "source": source_body(source)});
            if let Some(name) = name {
                block["title"] = name.into();
            }
            block
        }
        Attachment::Audio { .. } => return Err(unsupported_content(kind)),
    }))
}

/// An id that the API accepts: the caller's, or a hash of it.
fn tool_use_id(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
        return id.into();
    }
    short_id("call", id)
}

/// Whether a message with calls in the current turn has no thinking that can be sent back, because
/// the caller does not return it or its signature is unknown.
pub(super) fn has_call_without_thinking(messages: &[Message], signatures: &dyn SignatureStore) -> bool {
    let turn = messages.iter().rposition(|message| message.role == Role::User).map_or(0, |user| user + 1);
    let has_thinking = |message: &Message| !signed_thinking(message, signatures).is_empty();
    messages[turn..].iter().any(|message| !message.calls().is_empty() && !has_thinking(message))
}

/// The thinking blocks of a message: its reasoning with the signature that the provider gave it, or
/// what the client has returned with its signatures.
fn signed_thinking(message: &Message, signatures: &dyn SignatureStore) -> Vec<Value> {
    let block =
        |text: &str, signature: Cow<'_, str>| json!({"type": "thinking", "thinking": text, "signature": signature});
    let reasoning = message.reasoning.as_deref().filter(|reasoning| !reasoning.is_empty());
    if let Some((text, signature)) = reasoning.and_then(|text| Some((text, signatures.find(text)?))) {
        return vec![block(text, signature.into())];
    }
    let signatures = MessageSignatures::new(message, SignatureFormat::Anthropic, signatures);
    let blocks = signatures.returned().map(|signed| match signed.is_redacted() {
        true => json!({"type": "redacted_thinking", "data": signed.signature}),
        false => block(&signed.text, signed.signature.as_str().into()),
    });
    blocks.collect()
}
