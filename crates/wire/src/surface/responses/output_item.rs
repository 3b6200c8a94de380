//! The items of a response, and the counts of its tokens.

use chat::{Citation, Media, MediaKind, TokenLogprob, ToolCall, Usage};
use serde_json::{Value, json};

use crate::surface::chat_completions::render_logprobs;
use crate::surface::responses::tools::{ToolNames, custom_input};

/// An item that is being streamed.
pub(super) enum OutputItem {
    Reasoning(String),
    Message {
        text: String,
        logprobs: Vec<TokenLogprob>,
        annotations: Vec<Value>,
    },
    /// A generated image, as data in base64.
    Image(String),
    Call(ToolCall),
    /// A call of a tool that takes free text. Its arguments are those of the function that stands
    /// for it; the text is known when they are complete.
    CustomCall(ToolCall),
}

/// The state of an item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemStatus {
    InProgress,
    Completed,
    Incomplete,
}

impl ItemStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

impl OutputItem {
    pub(super) fn id_prefix(&self) -> &'static str {
        match self {
            Self::Reasoning(_) => "rs",
            Self::Message { .. } => "msg",
            Self::Image(_) => "ig",
            Self::Call(_) => "fc",
            Self::CustomCall(_) => "ctc",
        }
    }

    /// The item in a response. While it is in progress, its content is empty.
    pub(super) fn body(&self, id: String, status: ItemStatus, names: &ToolNames) -> Value {
        let in_progress = status == ItemStatus::InProgress;
        let content = || if in_progress { json!([]) } else { json!([self.content_part(true)]) };
        let status = status.as_str();
        let mut body = match self {
            Self::Reasoning(_) => {
                json!({ "type": "reasoning", "id": id, "status": status, "summary": [], "content": content() })
            }
            Self::Message { .. } => {
                json!({ "type": "message", "id": id, "status": status, "role": "assistant", "content": content() })
            }
            Self::Image(data) => json!({
                "type": "image_generation_call", "id": id, "status": status,
                "result": (!in_progress).then_some(data),
            }),
            Self::Call(call) => json!({
                "type": "function_call", "id": id, "call_id": call.id, "name": names.original(&call.name).1,
                "arguments": call.arguments, "status": status,
            }),
            Self::CustomCall(call) => json!({
                "type": "custom_tool_call", "id": id, "call_id": call.id, "name": names.original(&call.name).1,
                "input": if in_progress { String::new() } else { custom_input(&call.arguments) }, "status": status,
            }),
        };
        if let Self::Call(call) | Self::CustomCall(call) = self
            && let (Some(namespace), _) = names.original(&call.name)
        {
            body["namespace"] = namespace.into();
        }
        body
    }

    /// The content part of a text item, whole or empty.
    pub(super) fn content_part(&self, whole: bool) -> Option<Value> {
        let text = |text: &str| if whole { text.to_owned() } else { String::new() };
        match self {
            Self::Reasoning(reasoning) => Some(json!({ "type": "reasoning_text", "text": text(reasoning) })),
            Self::Message { text: answer, logprobs, annotations } => {
                let (logprobs, annotations) =
                    if whole { (&logprobs[..], &annotations[..]) } else { (&[][..], &[][..]) };
                Some(json!({
                    "type": "output_text", "text": text(answer), "annotations": annotations,
                    "logprobs": logprobs_body(logprobs),
                }))
            }
            Self::Image(_) | Self::Call(_) | Self::CustomCall(_) => None,
        }
    }

    /// The name of the event that ends the content of the item, and its fields.
    pub(super) fn done_event(&self, names: &ToolNames) -> (&'static str, Value) {
        match self {
            Self::Reasoning(text) => ("response.reasoning_text.done", json!({ "content_index": 0, "text": text })),
            Self::Message { text, logprobs, .. } => (
                "response.output_text.done",
                json!({ "content_index": 0, "text": text, "logprobs": logprobs_body(logprobs) }),
            ),
            Self::Image(_) => ("response.image_generation_call.completed", json!({})),
            Self::Call(call) => (
                "response.function_call_arguments.done",
                json!({ "arguments": call.arguments, "name": names.original(&call.name).1 }),
            ),
            Self::CustomCall(call) => {
                ("response.custom_tool_call_input.done", json!({ "input": custom_input(&call.arguments) }))
            }
        }
    }
}

/// The data of an image that the API has a place for: it has none for addresses and for audio.
pub(super) fn image_data(media: &Media) -> Option<&str> {
    media.data().filter(|_| media.kind == MediaKind::Image).map(|(_, data)| data)
}

/// The annotation of a message whose text begins at the character `start` of the answer.
pub(super) fn annotation_body(citation: &Citation, start: usize) -> Value {
    let in_message = |at: usize| at.saturating_sub(start);
    match &citation.url {
        Some(url) => json!({
            "type": "url_citation", "url": url, "title": citation.title,
            "start_index": in_message(citation.start), "end_index": in_message(citation.end),
        }),
        // The document is part of the request, and not a file with an id.
        None => json!({
            "type": "file_citation", "file_id": "", "filename": citation.title, "index": in_message(citation.end),
        }),
    }
}

pub(super) fn logprobs_body(logprobs: &[TokenLogprob]) -> Value {
    serde_json::to_value(render_logprobs(logprobs)).expect("log-probabilities are plain data")
}

pub(super) fn usage_body(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens.unwrap_or(0) },
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}
