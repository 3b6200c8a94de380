//! `POST /responses/compact`: a conversation is replaced by its user messages and a summary, which
//! the client sends back as an item of later requests.

use chat::{Chat, Delta, Error, Input, Message, Reply, ResponseFormat, Role};
use serde_json::{Value, json};

use crate::json;
use crate::surface::chat_completions::Envelope;
use crate::surface::renderer::{Renderer, single_reply};
use crate::surface::responses::items::user_texts;
use crate::surface::responses::output_item::usage_body;
use crate::surface::responses::request::request_from_json;
use crate::surface::responses::summary::encode_summary;

/// The most bytes of user messages that are kept beside the summary, the latest first.
const MAX_KEPT_BYTES: usize = 16 << 10;
/// The request for a summary, which follows the conversation.
const INSTRUCTION: &str = "The conversation so far will be replaced by your answer. Write a summary from which you can \
    continue the work without it: the user's goals and constraints, what was done and decided, names of files, \
    functions and values that matter, and what is to be done next. Write only the summary.";

/// A parsed request for a compaction.
#[derive(Clone, Debug, PartialEq)]
pub struct CompactionRequest {
    pub chat: Chat,
    /// The user messages that are kept.
    pub kept: Vec<String>,
}

impl CompactionRequest {
    /// The approximate number of bytes that the request takes.
    pub fn memory_bytes(&self) -> usize {
        self.chat.memory_bytes() + self.kept.iter().map(String::len).sum::<usize>()
    }
}

/// Parses the body of a compaction.
///
/// # Errors
/// As `parse_request` of a response.
pub fn parse_compaction(body: &[u8]) -> Result<CompactionRequest, Error> {
    compaction_from_json(json::parse(body)?)
}

/// Converts a parsed body.
///
/// # Errors
/// As [`parse_compaction`].
pub fn compaction_from_json(body: Value) -> Result<CompactionRequest, Error> {
    let mut kept = user_texts(&body);
    let mut bytes = 0;
    let fits = |text: &&String| {
        bytes += text.len();
        bytes <= MAX_KEPT_BYTES
    };
    let count = kept.iter().rev().take_while(fits).count();
    kept.drain(..kept.len() - count);
    let mut chat = request_from_json(body)?.chat;
    let Input::Messages(messages) = &mut chat.input else {
        return Err(Error::internal("a response was requested without messages"));
    };
    messages.push(Message::new(Role::User, INSTRUCTION));
    // The summary is plain text, of which nothing but the text is rendered.
    chat.tools.clear();
    (chat.tool_choice, chat.parallel_tool_calls) = (None, None);
    (chat.logprobs, chat.top_logprobs) = (None, None);
    chat.response_format = ResponseFormat::Text;
    Ok(CompactionRequest { chat, kept })
}

/// Renders a compaction, which is never streamed.
pub struct CompactionRenderer {
    envelope: Envelope,
    kept: Vec<String>,
}

impl CompactionRenderer {
    /// Creates a renderer. `kept` are the user messages that stay.
    pub fn new(envelope: Envelope, kept: Vec<String>) -> Self {
        Self { envelope, kept }
    }
}

impl Renderer for CompactionRenderer {
    fn body(&self, replies: &[Reply]) -> Result<String, Error> {
        let reply = single_reply(replies)?;
        if reply.finish.is_none() {
            return Err(Error::internal("the answer ended without a finish reason"));
        }
        let digits = self.envelope.id.replace('-', "");
        let id = |prefix: &str, index: usize| format!("{prefix}_{}{index:02x}", &digits[..30]);
        let message = |(index, text): (usize, &String)| {
            json!({
                "type": "message", "id": id("msg", index), "status": "completed", "role": "user",
                "content": [{ "type": "input_text", "text": text }],
            })
        };
        let mut output: Vec<Value> = self.kept.iter().enumerate().map(message).collect();
        output.push(json!({ "type": "compaction", "id": id("cmp", output.len()), "encrypted_content": encode_summary(&reply.text) }));
        let body = json!({
            "id": format!("resp_{digits}"), "object": "response.compaction", "created_at": self.envelope.created,
            "output": output, "usage": usage_body(&reply.usage.unwrap_or_default()),
        });
        Ok(body.to_string())
    }

    fn push(&mut self, _: &Delta, _: &mut String) {}

    fn finish(&mut self, _: &mut String) {}

    fn fail(&mut self, _: &Error, _: &mut String) {}
}

/// The body of a token count.
pub fn token_count_body(tokens: u64) -> String {
    json!({ "object": "response.input_tokens", "input_tokens": tokens }).to_string()
}
