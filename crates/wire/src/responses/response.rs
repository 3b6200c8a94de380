//! An answer as one response object, or as the events it grows by: items one after the other, each begun, filled and done.

use chat::{Delta, Error, FinishReason, Reply, ToolCall, Usage};
use serde_json::{Value, json};

use crate::{Envelope, Render};

/// What a response repeats of its request.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
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
pub struct Responses {
    envelope: Envelope,
    asked: Asked,
    sequence: u64,
    started: bool,
    /// The items that are done.
    output: Vec<Value>,
    open: Option<Item>,
    reply: Reply,
}

/// The item that grows.
enum Item {
    Reasoning(String),
    Message(String),
    Call(ToolCall),
}

impl Responses {
    pub fn new(envelope: Envelope, asked: Asked) -> Self {
        Self { envelope, asked, sequence: 0, started: false, output: Vec::new(), open: None, reply: Reply::default() }
    }

    fn response(&self, status: &str, output: &[Value], usage: Option<&Usage>, error: Value, details: Value) -> Value {
        let asked = &self.asked;
        json!({
            "id": format!("resp_{}", self.envelope.id.replace('-', "")), "object": "response",
            "created_at": self.envelope.created, "status": status, "error": error, "incomplete_details": details,
            "instructions": asked.instructions, "max_output_tokens": asked.max_output_tokens,
            "model": self.envelope.model, "output": output, "parallel_tool_calls": true,
            "previous_response_id": null, "reasoning": { "effort": asked.effort, "summary": null }, "store": false,
            "temperature": asked.temperature.unwrap_or(1.0), "text": { "format": asked.format },
            "tool_choice": asked.tool_choice, "tools": asked.tools, "top_p": asked.top_p.unwrap_or(1.0),
            "truncation": "disabled", "usage": usage.map(self::usage), "user": asked.user, "metadata": {},
        })
    }

    /// The end of an answer: the name of its event, and the response.
    fn ended(&self, finish: FinishReason, output: &[Value], usage: Option<&Usage>) -> (&'static str, Value) {
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

    fn event(&mut self, name: &str, fields: Value, out: &mut String) {
        let mut data = json!({ "type": name, "sequence_number": self.sequence });
        self.sequence += 1;
        if let (Some(data), Value::Object(fields)) = (data.as_object_mut(), fields) {
            data.extend(fields);
        }
        out.push_str("event: ");
        out.push_str(name);
        out.push('\n');
        crate::sse::event(&data.to_string(), out);
    }

    fn start(&mut self, out: &mut String) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        for name in ["response.created", "response.in_progress"] {
            let response = self.response("in_progress", &[], None, Value::Null, Value::Null);
            self.event(name, json!({ "response": response }), out);
        }
    }

    /// The id of the item that is open, or comes next.
    fn item_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}{:02x}", &self.envelope.id.replace('-', "")[..30], self.output.len())
    }

    fn begin(&mut self, item: Item, out: &mut String) {
        self.close(out);
        let (index, value) = (self.output.len(), self.item(&item, "in_progress"));
        self.event("response.output_item.added", json!({ "output_index": index, "item": value }), out);
        if let Some(part) = part(&item, "") {
            let id = value["id"].clone();
            let fields = json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part });
            self.event("response.content_part.added", fields, out);
        }
        self.open = Some(item);
    }

    fn close(&mut self, out: &mut String) {
        let Some(item) = self.open.take() else { return };
        let (index, value) = (self.output.len(), self.item(&item, "completed"));
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
        self.event(name, with(done), out);
        if let Item::Reasoning(text) | Item::Message(text) = &item {
            let part = part(&item, text);
            self.event("response.content_part.done", with(json!({ "content_index": 0, "part": part })), out);
        }
        self.event("response.output_item.done", json!({ "output_index": index, "item": value }), out);
        self.output.push(value);
    }

    /// The item as the response shows it; while it is in progress, still empty.
    fn item(&self, item: &Item, status: &str) -> Value {
        let done = status == "completed";
        let content = |text: &str| if done { json!([part(item, text)]) } else { json!([]) };
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

    fn grow(&mut self, name: &str, delta: &str, more: Value, out: &mut String) {
        let prefix = match &self.open {
            Some(Item::Reasoning(_)) => "rs",
            Some(Item::Message(_)) => "msg",
            _ => "fc",
        };
        let mut fields = json!({ "item_id": self.item_id(prefix), "output_index": self.output.len(), "delta": delta });
        if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
            fields.extend(more);
        }
        self.event(name, fields, out);
    }
}

impl Render for Responses {
    fn keeps(&self, _: &Delta) -> bool {
        true
    }

    fn whole(&self, replies: &[Reply]) -> Result<String, Error> {
        let reply = crate::render::only(replies)?;
        let finish = reply.finish.ok_or_else(|| Error::internal("the answer ended without a finish reason"))?;
        // The items are those of the stream.
        let mut items = Self::new(self.envelope.clone(), self.asked.clone());
        let mut unread = String::new();
        if !reply.reasoning.is_empty() {
            items.begin(Item::Reasoning(reply.reasoning.clone()), &mut unread);
        }
        if !reply.text.is_empty() {
            items.begin(Item::Message(reply.text.clone()), &mut unread);
        }
        for call in &reply.tool_calls {
            items.begin(Item::Call(call.clone()), &mut unread);
        }
        items.close(&mut unread);
        Ok(self.ended(finish, &items.output, reply.usage.as_ref()).1.to_string())
    }

    fn push(&mut self, delta: &Delta, out: &mut String) {
        self.start(out);
        match delta {
            Delta::Start(_) => {}
            Delta::Reasoning { text, .. } => {
                if !matches!(self.open, Some(Item::Reasoning(_))) {
                    self.begin(Item::Reasoning(String::new()), out);
                }
                if let Some(Item::Reasoning(all)) = &mut self.open {
                    all.push_str(text);
                }
                self.grow("response.reasoning_text.delta", text, json!({ "content_index": 0 }), out);
            }
            Delta::Text { text, .. } => {
                if !matches!(self.open, Some(Item::Message(_))) {
                    self.begin(Item::Message(String::new()), out);
                }
                if let Some(Item::Message(all)) = &mut self.open {
                    all.push_str(text);
                }
                self.grow("response.output_text.delta", text, json!({ "content_index": 0, "logprobs": [] }), out);
            }
            Delta::ToolCall { id, name, .. } => {
                let call = ToolCall { id: id.clone(), name: name.clone(), arguments: String::new() };
                self.begin(Item::Call(call), out);
            }
            Delta::Arguments { text, .. } => {
                if let Some(Item::Call(call)) = &mut self.open {
                    call.arguments.push_str(text);
                }
                self.grow("response.function_call_arguments.delta", text, json!({}), out);
            }
            Delta::Finish(finish) => {
                self.close(out);
                self.reply.finish = Some(*finish);
            }
            Delta::Usage(usage) => self.reply.usage = Some(*usage),
        }
    }

    fn end(&mut self, out: &mut String) {
        let finish = self.reply.finish.unwrap_or(FinishReason::InsufficientSystemResource);
        let (name, response) = self.ended(finish, &self.output, self.reply.usage.as_ref());
        self.event(name, json!({ "response": response }), out);
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        self.start(out);
        let fault = json!({ "code": crate::error::code(error), "message": error.message });
        let response = self.response("failed", &self.output, None, fault, Value::Null);
        self.event("response.failed", json!({ "response": response }), out);
    }
}

/// The one part of an item of text.
fn part(item: &Item, text: &str) -> Option<Value> {
    match item {
        Item::Reasoning(_) => Some(json!({ "type": "reasoning_text", "text": text })),
        Item::Message(_) => Some(json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })),
        Item::Call(_) => None,
    }
}

fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens.unwrap_or(0) },
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}
