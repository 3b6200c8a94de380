//! The client of Gemini's `generateContent`: builds requests and reads events (API document 3). It
//! is the counterpart of `surface::gemini`.

use chat::{Delta, Error, FinishReason, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::token_count::{ProviderUsage, TokenCount};
use crate::upstream::error::{error_message, invalid_event, provider_error};
use crate::upstream::event_reader::{EventReader, SignedReasoning};
use request::signature_key;
pub(super) use request::{MAX_STOP_SEQUENCES, request_body};

mod request;

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(super) struct GeminiEventReader {
    started: bool,
    call_count: usize,
    signed_reasoning: Vec<SignedReasoning>,
    finish_reason: Option<FinishReason>,
    usage: Option<GeminiUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(default)]
    candidates: Vec<Candidate>,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
    prompt_feedback: Option<PromptFeedback>,
    response_id: Option<String>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PromptFeedback {
    pub(crate) block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<PartBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartBody {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    thought_signature: Option<String>,
    function_call: Option<CallBody>,
}

#[derive(Deserialize)]
struct CallBody {
    id: Option<String>,
    name: String,
    args: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GeminiUsage {
    prompt_token_count: TokenCount,
    cached_content_token_count: TokenCount,
    candidates_token_count: TokenCount,
    thoughts_token_count: TokenCount,
}

impl ProviderUsage for GeminiUsage {
    const INVALID: Self = Self {
        prompt_token_count: TokenCount::INVALID,
        cached_content_token_count: TokenCount::ABSENT,
        candidates_token_count: TokenCount::ABSENT,
        thoughts_token_count: TokenCount::ABSENT,
    };
}

impl From<GeminiUsage> for Usage {
    fn from(body: GeminiUsage) -> Self {
        let thoughts = body.thoughts_token_count.or_zero();
        Self {
            prompt_tokens: body.prompt_token_count.or_zero(),
            cached_tokens: body.cached_content_token_count.or_zero(),
            cache_write_tokens: 0,
            completion_tokens: body.candidates_token_count.or_zero().saturating_add(thoughts),
            reasoning_tokens: (thoughts > 0).then_some(thoughts),
        }
    }
}

impl EventReader for GeminiEventReader {
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        let event: Event = serde_json::from_str(data).map_err(|error| invalid_event(&error))?;
        if let Some(error) = event.error {
            let body = json!({ "error": error }).to_string();
            return Err(provider_error(
                error_message(body.as_bytes()).unwrap_or_else(|| "The provider broke off".into()),
            ));
        }
        if !std::mem::replace(&mut self.started, true) {
            out.push(Delta::Start(Usage::default()));
        }
        self.usage = GeminiUsage::parse_optional(event.usage_metadata).or(self.usage);
        if event.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some()) {
            self.finish_reason = Some(FinishReason::ContentFilter);
        }
        let Some(candidate) = event.candidates.into_iter().next() else { return Ok(()) };
        for part in candidate.content.into_iter().flat_map(|content| content.parts) {
            self.read_part(part, event.response_id.as_deref().unwrap_or("0"), out);
        }
        if let Some(reason) = candidate.finish_reason {
            self.finish_reason = Some(finish_reason(&reason, self.call_count > 0));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error> {
        let finish = self
            .finish_reason
            .take()
            .ok_or_else(|| provider_error("The provider's answer broke off before its end"))?;
        out.push(Delta::Finish(finish));
        out.extend(self.usage.map(|usage| Delta::Usage(usage.into())));
        Ok(())
    }

    fn take_signed(&mut self) -> Vec<SignedReasoning> {
        std::mem::take(&mut self.signed_reasoning)
    }
}

impl GeminiEventReader {
    fn read_part(&mut self, part: PartBody, response: &str, out: &mut Vec<Delta>) {
        let logprobs = Vec::new();
        if let Some(text) = part.text.filter(|text| !text.is_empty()) {
            out.push(match part.thought {
                true => Delta::Reasoning { text, logprobs },
                false => Delta::Text { text, logprobs },
            });
        }
        let Some(call) = part.function_call else { return };
        let index = self.call_count;
        self.call_count += 1;
        // The id of the response makes the ids of calls of different turns distinct.
        let id = call.id.unwrap_or_else(|| format!("call_{index:02}_{response}"));
        self.signed_reasoning
            .extend(part.thought_signature.map(|signature| SignedReasoning { text: signature_key(&id), signature }));
        out.push(Delta::ToolCall { index, id, name: call.name });
        let text = call.args.filter(|args| !args.is_null()).unwrap_or_else(|| json!({})).to_string();
        out.push(Delta::Arguments { index, text });
    }
}

/// The meaning of a `finishReason`. `calls`: the answer contains tool calls.
pub(crate) fn finish_reason(reason: &str, calls: bool) -> FinishReason {
    match reason {
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" => {
            FinishReason::ContentFilter
        }
        "STOP" if calls => FinishReason::ToolCalls,
        _ => FinishReason::Stop,
    }
}
