//! An answer as one `chat.completion` object, and the parts that chunks share with it.

use chat::{Error, Reply, TokenLogprob, ToolCall, Usage};
use serde::Serialize;

use crate::reasoning_details::ReasoningDetail;
use crate::surface::chat_completions::annotations::Annotation;
use crate::surface::chat_completions::media::{Audio, Image};

/// The fields that all parts of one answer share.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// A UUID v4.
    pub id: String,
    /// The time of the request in seconds since 1970.
    pub created: u64,
    /// The model id of the request, exactly as it was sent.
    pub model: String,
    /// The version of the model and its configuration.
    pub system_fingerprint: String,
    /// Whether the answer is in thinking mode, which determines the keys of a message.
    pub thinking: bool,
    /// Whether log-probabilities were requested.
    pub logprobs: bool,
}

impl Envelope {
    /// The body of an answer that is not streamed, with a reply for each choice. The first reply
    /// has the usage of all.
    ///
    /// # Errors
    /// `Internal` when a reply has no finish reason.
    pub fn body(&self, replies: &[Reply]) -> Result<String, Error> {
        let choices = replies.iter().enumerate().map(|(index, reply)| self.choice(index, reply));
        let completion = ChatCompletionBody {
            id: &self.id,
            object: "chat.completion",
            created: self.created,
            model: &self.model,
            choices: choices.collect::<Result<_, _>>()?,
            usage: replies.iter().find_map(|reply| reply.usage).map(|usage| ChatUsage::new(&usage, self.thinking)),
            system_fingerprint: &self.system_fingerprint,
        };
        Ok(serde_json::to_string(&completion).expect("a completion is plain data"))
    }

    fn choice<'a>(&self, index: usize, reply: &'a Reply) -> Result<Choice<'a>, Error> {
        let finish = reply.finish.ok_or_else(|| Error::internal("the answer ended without a finish reason"))?;
        let calls =
            reply.tool_calls.iter().enumerate().map(|(index, call)| ToolCallBody::complete(index, call)).collect();
        Ok(Choice {
            index,
            message: Message {
                role: "assistant",
                content: &reply.text,
                reasoning_content: (self.thinking || !reply.reasoning.is_empty()).then_some(reply.reasoning.as_str()),
                reasoning_details: ReasoningDetail::all_of(&reply.signatures),
                annotations: reply.citations.iter().filter_map(Annotation::new).collect(),
                images: Image::all_of(&reply.media),
                audio: Audio::of_reply(&self.id, self.created, reply),
                tool_calls: calls,
            },
            logprobs: self.logprobs.then(|| ReplyLogprobs {
                content: render_logprobs(&reply.logprobs),
                reasoning_content: self.thinking.then(|| render_logprobs(&reply.reasoning_logprobs)),
            }),
            finish_reason: finish.as_str(),
        })
    }
}

#[derive(Serialize)]
struct ChatCompletionBody<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    /// Absent when the answer was cut off before the provider reported its usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<ChatUsage>,
    system_fingerprint: &'a str,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: usize,
    message: Message<'a>,
    logprobs: Option<ReplyLogprobs<'a>>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<ReasoningDetail<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Image<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<Audio<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallBody<'a>>,
}

#[derive(Serialize)]
struct ReplyLogprobs<'a> {
    content: Vec<LogprobBody<'a>>,
    reasoning_content: Option<Vec<LogprobBody<'a>>>,
}

/// A call, or a piece of it in one chunk.
#[derive(Serialize)]
pub(crate) struct ToolCallBody<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl<'a> ToolCallBody<'a> {
    fn complete(index: usize, call: &'a ToolCall) -> Self {
        let function = Function { name: Some(&call.name), arguments: &call.arguments };
        Self { index, id: Some(&call.id), r#type: Some("function"), function }
    }

    pub(crate) fn start(index: usize, id: &'a str, name: &'a str) -> Self {
        let function = Function { name: Some(name), arguments: "" };
        Self { index, id: Some(id), r#type: Some("function"), function }
    }

    pub(crate) fn continuation(index: usize, arguments: &'a str) -> Self {
        Self { index, id: None, r#type: None, function: Function { name: None, arguments } }
    }
}

#[derive(Serialize)]
pub(crate) struct ChatUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
    prompt_cache_hit_tokens: u64,
    prompt_cache_miss_tokens: u64,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl ChatUsage {
    pub(crate) fn new(usage: &Usage, thinking: bool) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details: PromptDetails { cached_tokens: usage.cached_tokens },
            completion_tokens_details: (thinking || usage.reasoning_tokens.is_some())
                .then(|| CompletionDetails { reasoning_tokens: usage.reasoning_tokens.unwrap_or(0) }),
            prompt_cache_hit_tokens: usage.cached_tokens,
            prompt_cache_miss_tokens: usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct LogprobBody<'a> {
    token: &'a str,
    logprob: f32,
    bytes: Option<&'a [u8]>,
    top_logprobs: Vec<TopLogprobBody<'a>>,
}

#[derive(Serialize)]
struct TopLogprobBody<'a> {
    token: &'a str,
    logprob: f32,
    bytes: Option<&'a [u8]>,
}

pub(crate) fn render_logprobs(tokens: &[TokenLogprob]) -> Vec<LogprobBody<'_>> {
    tokens.iter().map(LogprobBody::new).collect()
}

impl<'a> LogprobBody<'a> {
    fn new(token: &'a TokenLogprob) -> Self {
        let top = token.top.iter();
        let top = top.map(|t| TopLogprobBody {
            token: &t.token,
            logprob: finite_logprob(t.logprob),
            bytes: t.bytes.as_deref(),
        });
        Self {
            token: &token.token,
            logprob: finite_logprob(token.logprob),
            bytes: token.bytes.as_deref(),
            top_logprobs: top.collect(),
        }
    }
}

/// Replaces infinite values, which JSON lacks: DeepSeek writes the logarithm of 0 as -9999.
pub(crate) fn finite_logprob(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}
