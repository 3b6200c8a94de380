//! The client of chat completions APIs: builds requests and reads events. It is the counterpart of
//! `surface::chat_completions`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use chat::{Delta, Error, FinishReason, TokenLogprob, ToolCall, TopLogprob, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::token_count::{ProviderUsage, TokenCount};
use crate::upstream::error::{error_message, invalid_event, provider_error};
use crate::upstream::event_reader::EventReader;
pub(super) use request::request_body;

mod request;

/// Reads `chat.completion.chunk` events. It tolerates deviations of services: usage in every chunk,
/// calls without index or id, `reasoning` instead of `reasoning_content`.
#[derive(Debug, Default)]
pub(super) struct OpenAiEventReader {
    started: bool,
    /// The calls in the order in which they began.
    calls: Vec<ToolCall>,
    /// The position in `calls` of each index of the provider.
    call_positions: HashMap<usize, usize>,
    /// The provider's index of the last call that began.
    last_provider_index: Option<usize>,
    finish_reason: Option<FinishReason>,
    usage: Option<Usage>,
    done: bool,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    delta: Option<DeltaBody>,
    finish_reason: Option<String>,
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct DeltaBody {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallBody>>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct CallBody {
    #[serde(default)]
    index: Option<usize>,
    id: Option<String>,
    function: Option<FunctionBody>,
}

#[derive(Deserialize)]
struct FunctionBody {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<LogprobBody>>,
    reasoning_content: Option<Vec<LogprobBody>>,
}

#[derive(Deserialize)]
struct LogprobBody {
    token: String,
    logprob: f32,
    bytes: Option<Vec<u8>>,
    #[serde(default)]
    top_logprobs: Vec<TopBody>,
}

#[derive(Deserialize)]
struct TopBody {
    token: String,
    logprob: f32,
    bytes: Option<Vec<u8>>,
}

/// OpenAI's usage, with DeepSeek's counts of cached tokens.
#[derive(Deserialize)]
#[serde(default)]
pub(crate) struct OpenAiUsage {
    prompt_tokens: TokenCount,
    completion_tokens: TokenCount,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    prompt_cache_hit_tokens: TokenCount,
}

impl ProviderUsage for OpenAiUsage {
    const INVALID: Self = Self { prompt_tokens: TokenCount::INVALID, ..Self::ABSENT };
}

impl Default for OpenAiUsage {
    fn default() -> Self {
        Self::ABSENT
    }
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: TokenCount,
}

#[derive(Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: TokenCount,
}

impl OpenAiUsage {
    const ABSENT: Self = Self {
        prompt_tokens: TokenCount::ABSENT,
        completion_tokens: TokenCount::ABSENT,
        prompt_tokens_details: None,
        completion_tokens_details: None,
        prompt_cache_hit_tokens: TokenCount::ABSENT,
    };

    /// The usage; `None` without counts.
    pub(crate) fn into_usage(self) -> Option<Usage> {
        self.prompt_tokens.or(self.completion_tokens).get()?;
        let cached = self.prompt_tokens_details.map_or(TokenCount::ABSENT, |details| details.cached_tokens);
        Some(Usage {
            prompt_tokens: self.prompt_tokens.or_zero(),
            cached_tokens: cached.or(self.prompt_cache_hit_tokens).or_zero(),
            cache_write_tokens: 0,
            completion_tokens: self.completion_tokens.or_zero(),
            reasoning_tokens: self.completion_tokens_details.and_then(|details| details.reasoning_tokens.get()),
        })
    }
}

impl EventReader for OpenAiEventReader {
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        if data.trim() == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|error| invalid_event(&error))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            let body = json!({"error": error}).to_string();
            return Err(provider_error(
                error_message(body.as_bytes()).unwrap_or_else(|| "The provider broke off".into()),
            ));
        }
        if !std::mem::replace(&mut self.started, true) {
            out.push(Delta::Start(Usage::default()));
        }
        self.usage = OpenAiUsage::parse_optional(chunk.usage).and_then(OpenAiUsage::into_usage).or(self.usage);
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.read_choice(choice, out);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error> {
        let Some(finish) = self.finish_reason.take() else {
            return Err(provider_error("The provider's answer broke off before its end"));
        };
        for (index, call) in self.calls.drain(..).enumerate().skip(1) {
            out.push(Delta::ToolCall { index, id: call.id, name: call.name });
            if !call.arguments.is_empty() {
                out.push(Delta::Arguments { index, text: call.arguments });
            }
        }
        out.push(Delta::Finish(finish));
        out.extend(self.usage.take().map(Delta::Usage));
        Ok(())
    }
}

impl OpenAiEventReader {
    fn read_choice(&mut self, choice: Choice, out: &mut Vec<Delta>) {
        let logprobs = choice.logprobs.unwrap_or(Logprobs { content: None, reasoning_content: None });
        if let Some(delta) = choice.delta {
            let non_empty_text = |text: Option<String>| text.filter(|text| !text.is_empty());
            if let Some(text) = non_empty_text(delta.reasoning_content).or(non_empty_text(delta.reasoning)) {
                out.push(Delta::Reasoning { text, logprobs: read_logprobs(logprobs.reasoning_content) });
            }
            if let Some(text) = non_empty_text(delta.content).or(non_empty_text(delta.refusal)) {
                out.push(Delta::Text { text, logprobs: read_logprobs(logprobs.content) });
            }
            for call in delta.tool_calls.into_iter().flatten() {
                self.read_tool_call(call, out);
            }
        }
        if let Some(reason) = choice.finish_reason {
            self.finish_reason = Some(finish_reason(&reason));
        }
    }

    /// Reads a piece of a call. A piece without an index continues the last call, unless it has
    /// an id and a name.
    ///
    /// The first call is emitted as it arrives, the others at the end: providers may interleave
    /// calls, and deltas may not.
    fn read_tool_call(&mut self, call: CallBody, out: &mut Vec<Delta>) {
        let (name, arguments) = call.function.map_or((None, None), |function| (function.name, function.arguments));
        let begins = call.id.is_some() && name.as_ref().is_some_and(|name| !name.is_empty());
        let next = if begins {
            self.last_provider_index.map_or(0, |last| last.saturating_add(1))
        } else {
            self.last_provider_index.unwrap_or(0)
        };
        let provider_index = call.index.unwrap_or(next);
        let index = match self.call_positions.entry(provider_index) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let index = *new.insert(self.calls.len());
                let id = call.id.unwrap_or_else(|| format!("call_{index}"));
                let call = ToolCall { id, name: name.unwrap_or_default(), arguments: String::new() };
                if index == 0 {
                    out.push(Delta::ToolCall { index, id: call.id.clone(), name: call.name.clone() });
                }
                self.calls.push(call);
                self.last_provider_index = Some(provider_index);
                index
            }
        };
        match arguments.filter(|text| !text.is_empty()) {
            Some(text) if index == 0 => out.push(Delta::Arguments { index, text }),
            Some(text) => self.calls[index].arguments.push_str(&text),
            None => {}
        }
    }
}

/// The meaning of a `finish_reason`.
pub(crate) fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "length" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        "insufficient_system_resource" => FinishReason::InsufficientSystemResource,
        // `stop`, and other names of services for it: `eos`, `end_turn`.
        _ => FinishReason::Stop,
    }
}

fn read_logprobs(body: Option<Vec<LogprobBody>>) -> Vec<TokenLogprob> {
    let top = |top: TopBody| TopLogprob { token: top.token, logprob: top.logprob, bytes: top.bytes };
    let token = |token: LogprobBody| TokenLogprob {
        token: token.token,
        logprob: token.logprob,
        bytes: token.bytes,
        top: token.top_logprobs.into_iter().map(top).collect(),
    };
    body.unwrap_or_default().into_iter().map(token).collect()
}
