//! An answer as one response object, or as events: items one after the other, each added, extended
//! by deltas, and done.

use chat::{Citation, Delta, Error, FinishReason, Reply, ToolCall, Usage};
use serde_json::{Value, json};

use crate::surface::chat_completions::Envelope;
use crate::surface::error::error_code;
use crate::surface::renderer::{Renderer, dropped_reasoning, single_reply};
use crate::surface::responses::echo::RequestEcho;
use crate::surface::responses::output_item::{
    ItemStatus, OutputItem, annotation_body, image_data, logprobs_body, usage_body,
};
use crate::surface::responses::tools::custom_input;

/// The current time in seconds since 1970.
pub type Clock = fn() -> u64;

/// Renders one response.
pub struct ResponseRenderer {
    envelope: Envelope,
    echo: RequestEcho,
    clock: Clock,
    sequence_number: u64,
    started: bool,
    /// The complete items.
    output: Vec<Value>,
    open_item: Option<OutputItem>,
    /// The characters of the answer's text, and of that before the last message.
    text_chars: usize,
    message_start: usize,
    reply: Reply,
}

/// How a response ends, or that it has not ended.
enum Outcome {
    InProgress,
    Completed,
    /// Cut, for this reason.
    Incomplete(&'static str),
    Failed {
        code: String,
        message: String,
    },
}

impl ResponseRenderer {
    /// Creates a renderer. `clock` tells when the response was completed.
    pub fn new(envelope: Envelope, echo: RequestEcho, clock: Clock) -> Self {
        Self {
            envelope,
            echo,
            clock,
            sequence_number: 0,
            started: false,
            output: Vec::new(),
            open_item: None,
            text_chars: 0,
            message_start: 0,
            reply: Reply::default(),
        }
    }

    /// The response object, with every field of the specification.
    fn response(&self, outcome: &Outcome, output: &[Value], usage: Option<&Usage>) -> Value {
        let (status, completed_at, error, incomplete) = match outcome {
            Outcome::InProgress => ("in_progress", Value::Null, Value::Null, Value::Null),
            Outcome::Completed => ("completed", (self.clock)().into(), Value::Null, Value::Null),
            Outcome::Incomplete(reason) => ("incomplete", Value::Null, Value::Null, json!({ "reason": reason })),
            Outcome::Failed { code, message } => {
                ("failed", Value::Null, json!({ "code": code, "message": message }), Value::Null)
            }
        };
        let mut response = json!({
            "id": format!("resp_{}", self.envelope.id.replace('-', "")), "object": "response",
            "created_at": self.envelope.created, "completed_at": completed_at, "status": status, "error": error,
            "incomplete_details": incomplete, "model": self.envelope.model, "output": output,
            "usage": usage.map(usage_body),
        });
        extend(&mut response, self.echo.fields.clone());
        response
    }

    /// The final event of an answer: its name, and the response.
    fn final_event(&self, finish: FinishReason, output: &[Value], usage: Option<&Usage>) -> (&'static str, Value) {
        let (name, outcome) = match finish {
            FinishReason::Length | FinishReason::ContextFull => {
                ("response.incomplete", Outcome::Incomplete("max_output_tokens"))
            }
            FinishReason::ContentFilter => ("response.incomplete", Outcome::Incomplete("content_filter")),
            FinishReason::InsufficientSystemResource => {
                let message = "The server had to end this answer".into();
                ("response.failed", Outcome::Failed { code: "server_error".into(), message })
            }
            FinishReason::Stop | FinishReason::StopString(_) | FinishReason::ToolCalls => {
                ("response.completed", Outcome::Completed)
            }
        };
        (name, self.response(&outcome, output, usage))
    }

    fn write_event(&mut self, name: &str, fields: Value, out: &mut String) {
        let mut data = json!({ "type": name, "sequence_number": self.sequence_number });
        self.sequence_number += 1;
        extend(&mut data, fields);
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
            let response = self.response(&Outcome::InProgress, &[], None);
            self.write_event(name, json!({ "response": response }), out);
        }
    }

    /// The id of the open item, or of the next one.
    fn item_id(&self, item: &OutputItem) -> String {
        let digits = self.envelope.id.replace('-', "");
        format!("{}_{}{:02x}", item.id_prefix(), &digits[..30], self.output.len())
    }

    fn start_item(&mut self, item: OutputItem, out: &mut String) {
        self.close_item(ItemStatus::Completed, out);
        let index = self.output.len();
        let value = item.body(self.item_id(&item), ItemStatus::InProgress, &self.echo.tool_names);
        self.write_event("response.output_item.added", json!({ "output_index": index, "item": value }), out);
        if let Some(part) = item.content_part(false) {
            let id = value["id"].clone();
            let fields = json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part });
            self.write_event("response.content_part.added", fields, out);
        }
        self.open_item = Some(item);
    }

    fn close_item(&mut self, status: ItemStatus, out: &mut String) {
        let Some(item) = self.open_item.take() else { return };
        let index = self.output.len();
        let value = item.body(self.item_id(&item), status, &self.echo.tool_names);
        let with = |more: Value| {
            let mut fields = json!({ "item_id": value["id"], "output_index": index });
            extend(&mut fields, more);
            fields
        };
        if let OutputItem::CustomCall(call) = &item {
            let delta = with(json!({ "delta": custom_input(&call.arguments) }));
            self.write_event("response.custom_tool_call_input.delta", delta, out);
        }
        let (name, done) = item.done_event(&self.echo.tool_names);
        self.write_event(name, with(done), out);
        if let Some(part) = item.content_part(true) {
            self.write_event("response.content_part.done", with(json!({ "content_index": 0, "part": part })), out);
        }
        self.write_event("response.output_item.done", json!({ "output_index": index, "item": value }), out);
        self.output.push(value);
    }

    fn write_item_delta(&mut self, name: &str, delta: &str, more: Value, out: &mut String) {
        let Some(item) = &self.open_item else { return };
        let mut fields = json!({ "item_id": self.item_id(item), "output_index": self.output.len(), "delta": delta });
        extend(&mut fields, more);
        self.write_event(name, fields, out);
    }

    /// Starts a message, unless one is open.
    fn start_message(&mut self, out: &mut String) {
        if !matches!(self.open_item, Some(OutputItem::Message { .. })) {
            self.message_start = self.text_chars;
            self.start_item(
                OutputItem::Message { text: String::new(), logprobs: Vec::new(), annotations: Vec::new() },
                out,
            );
        }
    }

    /// Adds a citation to the open message, or to the last one.
    fn write_citation(&mut self, citation: &Citation, out: &mut String) {
        let is_message = |item: &Value| item["type"] == "message";
        let last = self.output.iter().rposition(is_message);
        if last.is_none() {
            self.start_message(out);
        }
        let annotation = annotation_body(citation, self.message_start);
        let (id, index, number) = match (&mut self.open_item, last) {
            (Some(OutputItem::Message { annotations, .. }), _) => {
                annotations.push(annotation.clone());
                (None, self.output.len(), annotations.len() - 1)
            }
            (_, Some(last)) => {
                let item = &mut self.output[last];
                let id = item["id"].clone();
                let Some(annotations) = item["content"][0]["annotations"].as_array_mut() else { return };
                annotations.push(annotation.clone());
                (Some(id), last, annotations.len() - 1)
            }
            _ => return,
        };
        let id = id.or_else(|| self.open_item.as_ref().map(|item| self.item_id(item).into()));
        let fields = json!({
            "item_id": id, "output_index": index, "content_index": 0, "annotation_index": number,
            "annotation": annotation,
        });
        self.write_event("response.output_text.annotation.added", fields, out);
    }

    fn call_item(&self, call: ToolCall) -> OutputItem {
        if self.echo.tool_names.is_custom(&call.name) { OutputItem::CustomCall(call) } else { OutputItem::Call(call) }
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
        let mut items = Self::new(self.envelope.clone(), self.echo.clone(), self.clock);
        let mut discarded = String::new();
        if !reply.reasoning.is_empty() {
            items.start_item(OutputItem::Reasoning(reply.reasoning.clone()), &mut discarded);
        }
        if !reply.text.is_empty() {
            let message = OutputItem::Message {
                text: reply.text.clone(),
                logprobs: reply.logprobs.clone(),
                annotations: reply.citations.iter().map(|citation| annotation_body(citation, 0)).collect(),
            };
            items.start_item(message, &mut discarded);
        }
        for data in reply.media.iter().filter_map(image_data) {
            items.start_item(OutputItem::Image(data.to_owned()), &mut discarded);
        }
        for call in &reply.tool_calls {
            items.start_item(self.call_item(call.clone()), &mut discarded);
        }
        items.close_item(last_item_status(finish), &mut discarded);
        Ok(self.final_event(finish, &items.output, reply.usage.as_ref()).1.to_string())
    }

    fn push(&mut self, delta: &Delta, out: &mut String) {
        self.write_start(out);
        match delta {
            Delta::Start(_) | Delta::Prompt { .. } | Delta::Signature(_) | Delta::Dropped(_) => {}
            Delta::Citation(citation) => self.write_citation(citation, out),
            Delta::Media(media) => {
                if let Some(data) = image_data(media) {
                    self.start_item(OutputItem::Image(data.to_owned()), out);
                    self.close_item(ItemStatus::Completed, out);
                }
            }
            Delta::Reasoning { text, .. } => {
                if !matches!(self.open_item, Some(OutputItem::Reasoning(_))) {
                    self.start_item(OutputItem::Reasoning(String::new()), out);
                }
                if let Some(OutputItem::Reasoning(all)) = &mut self.open_item {
                    all.push_str(text);
                }
                self.write_item_delta("response.reasoning_text.delta", text, json!({ "content_index": 0 }), out);
            }
            Delta::Text { text, logprobs } => {
                self.start_message(out);
                self.text_chars += text.chars().count();
                if let Some(OutputItem::Message { text: all, logprobs: all_logprobs, .. }) = &mut self.open_item {
                    all.push_str(text);
                    all_logprobs.extend_from_slice(logprobs);
                }
                let more = json!({ "content_index": 0, "logprobs": logprobs_body(logprobs) });
                self.write_item_delta("response.output_text.delta", text, more, out);
            }
            Delta::ToolCall { id, name, .. } => {
                let call = ToolCall { id: id.clone(), name: name.clone(), arguments: String::new() };
                self.start_item(self.call_item(call), out);
            }
            Delta::Arguments { text, .. } => match &mut self.open_item {
                // Its text is known when the arguments are complete.
                Some(OutputItem::CustomCall(call)) => call.arguments.push_str(text),
                Some(OutputItem::Call(call)) => {
                    call.arguments.push_str(text);
                    self.write_item_delta("response.function_call_arguments.delta", text, json!({}), out);
                }
                _ => {}
            },
            Delta::Finish(finish) => {
                self.close_item(last_item_status(*finish), out);
                self.reply.finish = Some(*finish);
            }
            Delta::Usage(usage) => self.reply.usage = Some(*usage),
        }
    }

    fn dropped(&self, delta: &Delta) -> Option<&'static str> {
        match delta {
            Delta::Dropped(name) => Some(name),
            Delta::Media(media) => image_data(media).is_none().then_some(media.name()),
            Delta::Signature(signed) => dropped_reasoning(signed),
            _ => None,
        }
    }

    fn finish(&mut self, out: &mut String) {
        let finish = self.reply.finish.unwrap_or(FinishReason::InsufficientSystemResource);
        let (name, response) = self.final_event(finish, &self.output, self.reply.usage.as_ref());
        self.write_event(name, json!({ "response": response }), out);
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        self.write_start(out);
        let outcome = Outcome::Failed { code: error_code(error).into(), message: error.message.clone() };
        let response = self.response(&outcome, &self.output, None);
        self.write_event("response.failed", json!({ "response": response }), out);
    }
}

/// Writes the event that ends a stream of another service, whose numbers and items are not known.
pub fn write_error_event(error: &Error, out: &mut String) {
    let response = json!({
        "object": "response", "status": "failed", "error": { "code": error_code(error), "message": error.message },
        "incomplete_details": null, "output": [], "usage": null,
    });
    out.push_str("event: response.failed\n");
    crate::sse::write_event(&json!({ "type": "response.failed", "response": response }).to_string(), out);
}

/// The status of the last item of an answer that ends so.
fn last_item_status(finish: FinishReason) -> ItemStatus {
    match finish {
        FinishReason::Stop | FinishReason::StopString(_) | FinishReason::ToolCalls => ItemStatus::Completed,
        _ => ItemStatus::Incomplete,
    }
}

/// Adds the fields of one object to another.
fn extend(object: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}
