//! A request for text: what was said so far, and how to answer. Values are as the caller sent them;
//! ranges are judged by the provider that answers (`Provider::check`), because a remote provider
//! judges for itself.

use serde_json::{Map, Value};

use crate::MemoryGuard;

/// One request for an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chat {
    /// The model id exactly as the caller wrote it.
    pub model: String,
    pub input: Input,
    pub tools: Vec<Tool>,
    /// `tools: []` was sent: DeepSeek refuses it, others read it as absent.
    pub empty_tools: bool,
    pub tool_choice: Option<ToolChoice>,
    /// `false`: at most one call an answer.
    pub parallel_tool_calls: Option<bool>,
    pub response_format: ResponseFormat,
    /// Think before answering. `None`: not said; the route fills in the mode of the model id.
    pub thinking: Option<bool>,
    /// OpenAI's `reasoning_effort`, read only where `thinking` and the model id
    /// leave the mode open.
    pub reasoning_effort: Option<String>,
    pub sampling: Sampling,
    pub stop: Vec<String>,
    /// Most tokens to generate, reasoning included.
    pub max_tokens: Option<i64>,
    /// OpenAI's newer name for it, read only when `max_tokens` is absent.
    pub max_completion_tokens: Option<i64>,
    /// The most tokens that the caller's money allows: set by the gateway, never by a caller. It
    /// cuts the answer, and is no reason to refuse it.
    pub affordable_tokens: Option<i64>,
    /// A greater `max_tokens` than there may be is cut to it, not refused: clients of some surfaces
    /// send tens of thousands.
    pub clamp_max_tokens: bool,
    pub n: Option<i64>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<i64>,
    /// The caller's own user, for isolation and logs.
    pub user: Option<String>,
    /// DeepSeek's stricter form of `user`; it wins where both are given.
    pub user_id: Option<String>,
    /// The trace the request belongs to, for whoever answers it: a W3C `traceparent`.
    pub traceparent: Option<String>,
    /// Asked for under the `/beta` root, which unlocks prefix completion and strict tools.
    pub beta: bool,
    /// What `Provider::check` accepted although DeepSeek's own service would refuse it
    /// (`x-compat-note`).
    pub notes: Vec<String>,
    /// The memory that is reserved for it.
    pub memory_guard: MemoryGuard,
}

impl Chat {
    /// The bound of its answer that a provider is told: the caller's own, or what the
    /// caller's money allows.
    pub fn max_output_tokens(&self) -> Option<i64> {
        let requested = self.max_tokens.or(self.max_completion_tokens);
        match self.affordable_tokens {
            Some(affordable) => Some(requested.filter(|own| *own > 0).map_or(affordable, |own| own.min(affordable))),
            None => requested,
        }
    }
}

/// What the answer continues.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Messages(Vec<Message>),
    /// Raw completion; with a suffix, fill-in-the-middle.
    Text {
        prefix: String,
        suffix: Option<String>,
    },
    /// Raw completion of tokens the caller has encoded itself.
    Tokens(Vec<u32>),
}

impl Default for Input {
    fn default() -> Self {
        Self::Messages(Vec::new())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
    /// Only DeepSeek's own search-agent data uses it; the public surfaces map it to `System`.
    Developer,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Role,
    /// `None` when absent or null. An empty list cannot be told from an empty string.
    pub content: Option<Vec<Part>>,
    pub reasoning: Option<String>,
    /// `None` when absent; `Some(vec![])` is refused by DeepSeek and lenient elsewhere.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// In a `Tool` message: the call it answers.
    pub tool_call_id: Option<String>,
    /// The answer continues this (last, assistant) message.
    pub prefix: bool,
    pub name: Option<String>,
}

impl Message {
    /// A message of plain text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: Some(vec![Part::Text(content.into())]),
            reasoning: None,
            tool_calls: None,
            tool_call_id: None,
            prefix: false,
            name: None,
        }
    }

    /// The text parts, joined without a separator; empty when there is no content.
    pub fn text(&self) -> String {
        let parts = self.content.iter().flatten();
        parts.filter_map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None }).collect()
    }

    /// The calls this message makes; none when the field is absent.
    pub fn calls(&self) -> &[ToolCall] {
        self.tool_calls.as_deref().unwrap_or_default()
    }
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Text(String),
    /// Anything that is not text, kept as it came (`kind` is its `type`).
    Other {
        kind: String,
        value: Value,
    },
}

impl Part {
    /// An image as chat completions have it. `url` may be a `data:` URL.
    pub fn image(url: &str) -> Self {
        let value = serde_json::json!({"type": "image_url", "image_url": {"url": url}});
        Self::Other { kind: "image_url".into(), value }
    }
}

/// A call an assistant message made.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON text, passed on verbatim; it need not parse.
    pub arguments: String,
}

/// A function the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    pub name: String,
    pub strict: bool,
    /// The whole `function` object in the caller's key order; prompts render it as it is.
    pub function: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ToolChoice {
    None,
    Auto,
    Required,
    Named(String),
}

/// The shape of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ResponseFormat {
    #[default]
    Text,
    JsonObject,
    /// The `json_schema` object: `name`, `schema`, `strict`.
    JsonSchema(Map<String, Value>),
    /// A `response_format.type` nobody here knows; the provider refuses it.
    Unknown(String),
}

/// How the next token is drawn. `None`: the default of the provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub seed: Option<i64>,
    /// Token id and the number added to its logit.
    pub logit_bias: Vec<(u32, f64)>,
}
