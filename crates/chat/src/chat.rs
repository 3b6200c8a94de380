//! A chat request: the conversation so far, and the options of the answer.
//!
//! Values are as the caller sent them. Their ranges are validated by the provider that answers
//! (`Provider::validate`), because each remote provider has ranges of its own.

use serde_json::{Map, Value};

use crate::{EngineFields, MemoryGuard, ResponseFormat, SignedReasoning};

/// One request for an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chat {
    /// The model id exactly as the caller wrote it.
    pub model: String,
    pub input: Input,
    pub tools: Vec<Tool>,
    /// `tools: []` was sent. DeepSeek refuses it, others read it as absent.
    pub empty_tools: bool,
    pub tool_choice: Option<ToolChoice>,
    /// Anthropic's mark that the tools are to be cached.
    pub tools_cache_control: Option<Value>,
    /// Anthropic's mark of a whole request: the provider caches as much of the prompt as it can.
    pub cache_control: Option<Value>,
    /// `Some(false)`: at most one call per answer.
    pub parallel_tool_calls: Option<bool>,
    pub response_format: ResponseFormat,
    /// Schemas are enforced as far as a grammar can, also where `strict` asks for a subset that
    /// excludes them. Set by `Provider::validate`.
    pub lenient_schemas: bool,
    /// Whether to think before answering. `None`: unspecified; the route fills in the mode of the
    /// model id.
    pub thinking: Option<bool>,
    /// OpenAI's `reasoning_effort`. It is read only where `thinking` and the model id
    /// leave the mode open.
    pub reasoning_effort: Option<String>,
    pub sampling: Sampling,
    /// Fields of the APIs of other engines. [`Chat::adopt_engine_fields`] moves them to where they
    /// have an effect.
    pub engine_fields: EngineFields,
    /// Tokens that end the answer, besides those of the model.
    pub end_tokens: Vec<u32>,
    pub stop: Vec<String>,
    /// Maximum number of tokens to generate, reasoning included.
    pub max_tokens: Option<i64>,
    /// OpenAI's newer name for `max_tokens`, read only when that is absent.
    pub max_completion_tokens: Option<i64>,
    /// Maximum number of tokens that the caller's budget pays for. Set by the gateway, never by a
    /// caller. It shortens the answer and is never a reason to refuse the request.
    pub affordable_tokens: Option<i64>,
    /// A `max_tokens` above the model's limit is lowered to it instead of refused: clients of some
    /// surfaces send tens of thousands.
    pub clamp_max_tokens: bool,
    pub n: Option<i64>,
    /// The index of this choice among the `n` of a request, each of which is a chat of its own.
    /// `None`: the provider returns all of them.
    pub choice: Option<u32>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<i64>,
    /// The caller's end user, for cache isolation and logs.
    pub user: Option<String>,
    /// DeepSeek's stricter form of `user`; it takes precedence over `user`.
    pub user_id: Option<String>,
    /// The W3C `traceparent` of the request, for the provider that answers it.
    pub traceparent: Option<String>,
    /// The answer to a raw completion begins with its prompt ([`crate::Delta::Prompt`]), with the
    /// log-probabilities of its tokens if `logprobs` is set.
    pub echo_prompt: bool,
    /// Control tokens are recognised in the text of a raw completion.
    pub parse_special: bool,
    /// The caller takes the answer as a whole, so a provider may send it so.
    pub takes_whole: bool,
    /// Sent under the `/beta` root, which enables prefix completion and strict tools.
    pub beta: bool,
    /// Deviations that `Provider::validate` accepted although DeepSeek's own service refuses them
    /// (header `x-compat-note`).
    pub notes: Vec<String>,
    /// Documented fields of the caller's API that have no place here. Remote providers do not get
    /// them; to the local engine they mean nothing.
    pub uncarried: Vec<&'static str>,
    /// The positions that attention reads, for comparison. Only the local engine has a choice;
    /// `None`: that of its options.
    pub attention: Option<Attention>,
    /// The request has the object `cachalot`, which no other provider understands.
    pub is_local_only: bool,
    /// Keeps the memory reservation of this request alive.
    pub memory_guard: MemoryGuard,
}

impl Chat {
    /// Makes what the fields of other engines ask for a part of the request, with notes. Fields of
    /// the request's own API win.
    pub fn adopt_engine_fields(&mut self) {
        let EngineFields {
            thinking,
            reasoning_effort,
            response_format,
            top_k,
            min_p,
            repetition_penalty,
            end_tokens,
            parse_special,
            names,
            ignored,
        } = std::mem::take(&mut self.engine_fields);
        if matches!(self.input, Input::Messages(_)) {
            self.thinking = self.thinking.or(thinking);
            self.reasoning_effort = self.reasoning_effort.take().or(reasoning_effort);
            if self.response_format == ResponseFormat::Text {
                self.response_format = response_format.unwrap_or_default();
            }
        }
        self.sampling.top_k = top_k;
        self.sampling.min_p = min_p;
        self.sampling.repetition_penalty = repetition_penalty;
        self.end_tokens = end_tokens;
        self.parse_special = parse_special;
        let list = |what: &str, names: Vec<&str>| (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")));
        self.notes.extend(list("fields of other APIs", names));
        self.notes.extend(list("ignored", ignored));
    }

    /// Whether a provider is asked for a stream. Log-probabilities always come as one: a whole
    /// answer with them may have more values than are parsed at once.
    pub fn wants_stream(&self) -> bool {
        !self.takes_whole || self.logprobs == Some(true)
    }

    /// The output limit that is sent to a provider: the caller's own, or the tokens that the
    /// caller's budget pays for if those are fewer.
    pub fn max_output_tokens(&self) -> Option<i64> {
        let requested = self.max_tokens.or(self.max_completion_tokens);
        match self.affordable_tokens {
            Some(affordable) => Some(requested.filter(|own| *own > 0).map_or(affordable, |own| own.min(affordable))),
            None => requested,
        }
    }
}

/// The positions that attention reads in a model with an indexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// All.
    Dense,
    /// Those that the indexer selects.
    Sparse,
}

/// The text that the answer continues.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Messages(Vec<Message>),
    /// Raw completion; with a suffix, fill-in-the-middle.
    Text {
        prefix: String,
        suffix: Option<String>,
    },
    /// Raw completion of tokens that the caller has encoded.
    Tokens(Vec<u32>),
}

impl Default for Input {
    fn default() -> Self {
        Self::Messages(Vec::new())
    }
}

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
    /// Used only by DeepSeek's search-agent data; the public surfaces map it to `System`.
    Developer,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Role,
    /// `None` when absent or null. An empty list equals an empty string.
    pub content: Option<Vec<Part>>,
    pub reasoning: Option<String>,
    /// The signatures of the reasoning that the client has returned.
    pub signatures: Vec<SignedReasoning>,
    /// `None` when absent. `Some(vec![])` is refused by DeepSeek and accepted by others.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// In a `Tool` message: the id of the call that it answers.
    pub tool_call_id: Option<String>,
    /// The answer continues this message, which is the last one and an assistant message.
    pub prefix: bool,
    pub name: Option<String>,
    /// Anthropic's mark that the prompt up to the end of this message is to be cached.
    pub cache_control: Option<Value>,
}

impl Message {
    /// Creates a message of plain text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: Some(vec![Part::Text(content.into())]),
            reasoning: None,
            signatures: Vec::new(),
            tool_calls: None,
            tool_call_id: None,
            prefix: false,
            name: None,
            cache_control: None,
        }
    }

    /// The text parts, joined without a separator; empty when there is no content.
    pub fn text(&self) -> String {
        let parts = self.content.iter().flatten();
        parts.filter_map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None }).collect()
    }

    /// The tool calls of this message; empty when the field is absent.
    pub fn calls(&self) -> &[ToolCall] {
        self.tool_calls.as_deref().unwrap_or_default()
    }
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Text(String),
    /// Anything that is not text, unchanged. `kind` is its `type`.
    Other {
        kind: String,
        value: Value,
    },
}

impl Part {
    /// An image part of chat completions. `url` may be a `data:` URL.
    pub fn image(url: &str) -> Self {
        let value = serde_json::json!({"type": "image_url", "image_url": {"url": url}});
        Self::Other { kind: "image_url".into(), value }
    }

    /// A file part of chat completions. `url` is a `data:` URL, or the address of the file.
    pub fn file(name: Option<&str>, url: &str) -> Self {
        let key = if url.starts_with("data:") { "file_data" } else { "file_url" };
        let mut file = serde_json::json!({ key: url });
        if let Some(name) = name {
            file["filename"] = name.into();
        }
        Self::Other { kind: "file".into(), value: serde_json::json!({"type": "file", "file": file}) }
    }

    /// A file part for the address of a file of this media type. Without a type it is a PDF.
    pub fn file_of_type(media_type: &str, url: &str) -> Self {
        let mut part = Self::file(None, url);
        if let Self::Other { value, .. } = &mut part
            && media_type != "application/pdf"
        {
            value["file"]["media_type"] = media_type.into();
        }
        part
    }

    /// The part of chat completions for data of this media type: an image, audio, or a file.
    pub fn of_data(media_type: &str, base64: &str) -> Self {
        let url = || format!("data:{media_type};base64,{base64}");
        match media_type.split_once('/') {
            Some(("image", _)) => Self::image(&url()),
            Some(("audio", format)) => {
                let value =
                    serde_json::json!({"type": "input_audio", "input_audio": {"data": base64, "format": format}});
                Self::Other { kind: "input_audio".into(), value }
            }
            _ => Self::file(None, &url()),
        }
    }
}

/// A tool call of an assistant message.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON text as it was received; it may be invalid.
    pub arguments: String,
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    pub name: String,
    pub strict: bool,
    /// The whole `function` object in the caller's key order, which prompts render unchanged.
    pub function: Map<String, Value>,
}

/// Whether the model may, must or must not call tools.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolChoice {
    None,
    Auto,
    Required,
    /// The function with this name must be called.
    Named(String),
}

/// Sampling parameters. `None`: the provider's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    /// Number of likeliest tokens to draw from; 0 and -1 mean all.
    pub top_k: Option<i64>,
    /// Least probability of a token to draw, as a share of that of the likeliest one.
    pub min_p: Option<f64>,
    /// Factor by which tokens of prompt and answer are penalized; 1 has no effect.
    pub repetition_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub seed: Option<i64>,
    /// Token id and the number added to its logit.
    pub logit_bias: Vec<(u32, f64)>,
}
