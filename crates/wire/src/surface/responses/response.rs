//! An answer as one response object, or as events: items one after the other, each added, extended
//! by deltas, and done.

use chat::{Delta, Error, FinishReason, Reply, ToolCall, Usage};
use serde_json::{Value, json};

use crate::surface::chat_completions::Envelope;
use crate::surface::error::error_code;
use crate::surface::renderer::{Renderer, single_reply};

/// The fields of a request that its response repeats.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestEcho {
    pub instructions: Option<String>,
    pub max_output_tokens: Option<i64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub tools: Value,
    pub tool_choice: Value,
    pub format: Value,
    pub effort: Option<String>,
    pub user: Option<String>,
}

/// Renders one response.
pub struct ResponseRenderer {
    envelope: Envelope,
    echo: RequestEcho,
    sequence_number: u64,
    started: bool,
    /// The complete items.
    output: Vec<Value>,
    open_item: Option<Item>,
    reply: Reply,
}

/// The item that is being streamed.
enum Item {
    Reasoning(String),
    Message(String),
    Call(ToolCall),
}

impl ResponseRenderer {
    /// Creates a renderer.
    pub fn new(envelope: Envelope, echo: RequestEcho) -> Self {
        Self {
            envelope,
            echo,
            sequence_number: 0,
            started: false,
            output: Vec::new(),
            open_item: None,
            reply: Reply::default(),
        }
    }

    fn response(&self, status: &str, output: &[Value], usage: Option<&Usage>, error: Value, details: Value) -> Value {
        let echo = &self.echo;
        json!({
            "id": format!("resp_{}", self.envelope.id.replace('-', "")), "object": "response",
            "created_at": self.envelope.created, "status": status, "error": error, "incomplete_details": details,
            "instructions": echo.instructions, "max_output_tokens": echo.max_output_tokens,
            "model": self.envelope.model, "output": output, "parallel_tool_calls": true,
            "previous_response_id": null, "reasoning": { "effort": echo.effort, "summary": null }, "store": false,
            "temperature": echo.temperature.unwrap_or(1.0), "text": { "format": echo.format },
            "tool_choice": echo.tool_choice, "tools": echo.tools, "top_p": echo.top_p.unwrap_or(1.0),
            "truncation": "disabled", "usage": usage.map(usage_body), "user": echo.user, "metadata": {},
        })
    }

    /// The final event of an answer: its name, and the response.
    fn final_event(&self, finish: FinishReason, output: &[Value], usage: Option<&Usage>) -> (&'static str, Value) {
        let incomplete = |reason: &str| {
            let details = json!({ "reason": reason });
            ("response.incomplete", self.response("incomplete", output, usage, Value::Null, details))
        };
        match finish {
            FinishReason::Length | FinishReason::ContextFull => incomplete("max_output_tokens"),
            FinishReason::ContentFilter => incomplete("content_filter"),
            FinishReason::InsufficientSystemResource => {
                let error = json!({ "code": "server_error", "message": "The server had to end this answer" });
                ("response.failed", self.response("failed", output, usage, error, Value::Null))
            }
            FinishReason::Stop | FinishReason::StopString(_) | FinishReason::ToolCalls => {
                ("response.completed", self.response("completed", output, usage, Value::Null, Value::Null))
            }
        }
    }

    fn write_event(&mut self, name: &str, fields: Value, out: &mut String) {
        let mut data = json!({ "type": name, "sequence_number": self.sequence_number });
        self.sequence_number += 1;
        if let (Some(data), Value::Object(fields)) = (data.as_object_mut(), fields) {
            data.extend(fields);
        }
        out.push_str("event: ");
        out.push_str(name);
        out.push('\n');
        crate::sse::write_event(&data.to_string(), out);
    }

    fn write_start(&mut self, out: &mut String) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        for name in ["response.created", "response.in_progress"] {
            let response = self.response("in_progress", &[], None, Value::Null, Value::Null);
            self.write_event(name, json!({ "response": response }), out);
        }
    }

    /// The id of the open item, or of the next one.
    fn item_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}{:02x}", &self.envelope.id.replace('-', "")[..30], self.output.len())
    }

    fn start_item(&mut self, item: Item, out: &mut String) {
        self.close_item(out);
        let index = self.output.len();
        let value = self.item_body(&item, "in_progress");
        self.write_event("response.output_item.added", json!({ "output_index": index, "item": value }), out);
        if let Some(part) = content_part(&item, "") {
            let id = value["id"].clone();
            let fields = json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part });
            self.write_event("response.content_part.added", fields, out);
        }
        self.open_item = Some(item);
    }

    fn close_item(&mut self, out: &mut String) {
        let Some(item) = self.open_item.take() else { return };
        let index = self.output.len();
        let value = self.item_body(&item, "completed");
        let at = json!({ "item_id": value["id"], "output_index": index });
        let with = |more: Value| {
            let mut fields = at.clone();
            if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
                fields.extend(more);
            }
            fields
        };
        let (name, done) = match &item {
            Item::Reasoning(text) => ("response.reasoning_text.done", json!({ "content_index": 0, "text": text })),
            Item::Message(text) => {
                ("response.output_text.done", json!({ "content_index": 0, "text": text, "logprobs": [] }))
            }
            Item::Call(call) => {
                ("response.function_call_arguments.done", json!({ "arguments": call.arguments, "name": call.name }))
            }
        };
        self.write_event(name, with(done), out);
        if let Item::Reasoning(text) | Item::Message(text) = &item {
            let part = content_part(&item, text);
            self.write_event("response.content_part.done", with(json!({ "content_index": 0, "part": part })), out);
        }
        self.write_event("response.output_item.done", json!({ "output_index": index, "item": value }), out);
        self.output.push(value);
    }

    /// The item in the response. While it is in progress, its content is empty.
    fn item_body(&self, item: &Item, status: &str) -> Value {
        let done = status == "completed";
        let content = |text: &str| if done { json!([content_part(item, text)]) } else { json!([]) };
        match item {
            Item::Reasoning(text) => json!({
                "type": "reasoning", "id": self.item_id("rs"), "status": status, "summary": [], "content": content(text),
            }),
            Item::Message(text) => json!({
                "type": "message", "id": self.item_id("msg"), "status": status, "role": "assistant",
                "content": content(text),
            }),
            Item::Call(call) => json!({
                "type": "function_call", "id": self.item_id("fc"), "call_id": call.id, "name": call.name,
                "arguments": call.arguments, "status": status,
            }),
        }
    }

    fn write_item_delta(&mut self, name: &str, delta: &str, more: Value, out: &mut String) {
        let prefix = match &self.open_item {
            Some(Item::Reasoning(_)) => "rs",
            Some(Item::Message(_)) => "msg",
            _ => "fc",
        };
        let mut fields = json!({ "item_id": self.item_id(prefix), "output_index": self.output.len(), "delta": delta });
        if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
            fields.extend(more);
        }
        self.write_event(name, fields, out);
    }
}

impl Renderer for ResponseRenderer {
    fn buffers(&self, _: &Delta) -> bool {
        true
    }

    fn body(&self, replies: &[Reply]) -> Result<String, Error> {
        let reply = single_reply(replies)?;
        let finish = reply.finish.ok_or_else(|| Error::internal("the answer ended without a finish reason"))?;
        // The items are built as for a stream.
        let mut items = Self::new(self.envelope.clone(), self.echo.clone());
        let mut discarded = String::new();
        if !reply.reasoning.is_empty() {
            items.start_item(Item::Reasoning(reply.reasoning.clone()), &mut discarded);
        }
        if !reply.text.is_empty() {
            items.start_item(Item::Message(reply.text.clone()), &mut discarded);
        }
        for call in &reply.tool_calls {
            items.start_item(Item::Call(call.clone()), &mut discarded);
        }
        items.close_item(&mut discarded);
        Ok(self.final_event(finish, &items.output, reply.usage.as_ref()).1.to_string())
    }

    fn push(&mut self, delta: &Delta, out: &mut String) {
        self.write_start(out);
        match delta {
            Delta::Start(_) => {}
            Delta::Reasoning { text, .. } => {
                if !matches!(self.open_item, Some(Item::Reasoning(_))) {
                    self.start_item(Item::Reasoning(String::new()), out);
                }
                if let Some(Item::Reasoning(all)) = &mut self.open_item {
                    all.push_str(text);
                }
                self.write_item_delta("response.reasoning_text.delta", text, json!({ "content_index": 0 }), out);
            }
            Delta::Text { text, .. } => {
                if !matches!(self.open_item, Some(Item::Message(_))) {
                    self.start_item(Item::Message(String::new()), out);
                }
                if let Some(Item::Message(all)) = &mut self.open_item {
                    all.push_str(text);
                }
                self.write_item_delta(
                    "response.output_text.delta",
                    text,
                    json!({ "content_index": 0, "logprobs": [] }),
                    out,
                );
            }
            Delta::ToolCall { id, name, .. } => {
                let call = ToolCall { id: id.clone(), name: name.clone(), arguments: String::new() };
                self.start_item(Item::Call(call), out);
            }
            Delta::Arguments { text, .. } => {
                if let Some(Item::Call(call)) = &mut self.open_item {
                    call.arguments.push_str(text);
                }
                self.write_item_delta("response.function_call_arguments.delta", text, json!({}), out);
            }
            Delta::Finish(finish) => {
                self.close_item(out);
                self.reply.finish = Some(*finish);
            }
            Delta::Usage(usage) => self.reply.usage = Some(*usage),
        }
    }

    fn finish(&mut self, out: &mut String) {
        let finish = self.reply.finish.unwrap_or(FinishReason::InsufficientSystemResource);
        let (name, response) = self.final_event(finish, &self.output, self.reply.usage.as_ref());
        self.write_event(name, json!({ "response": response }), out);
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        self.write_start(out);
        let error_json = json!({ "code": error_code(error), "message": error.message });
        let response = self.response("failed", &self.output, None, error_json, Value::Null);
        self.write_event("response.failed", json!({ "response": response }), out);
    }
}

/// The content part of a text item.
fn content_part(item: &Item, text: &str) -> Option<Value> {
    match item {
        Item::Reasoning(_) => Some(json!({ "type": "reasoning_text", "text": text })),
        Item::Message(_) => Some(json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })),
        Item::Call(_) => None,
    }
}

fn usage_body(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens.unwrap_or(0) },
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}
