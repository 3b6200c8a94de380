//! Events of Gemini's `generateContent`. A whole answer looks like an event.

use chat::{Error, FinishReason, Usage};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::answer_progress::AnswerProgress;
use super::content::{Content, NonEmpty, Word, fold_list};
use super::extra_counts::{ModalityList, ModalityTokens, lenient, modality_counts};
use crate::token_count::{ProviderUsage, TokenCount};
use crate::upstream::error::{failed_finish, invalid_event, reported_error};

/// Reads an event or a whole answer. A blocked prompt is an answer that the content filter ended.
///
/// # Errors
/// The failure that it reports, and `Upstream` for data that cannot be parsed.
pub(super) fn read_event(data: &[u8], progress: &mut AnswerProgress) -> Result<(), Error> {
    let event: Event = serde_json::from_slice(data).map_err(|error| invalid_event(&error))?;
    progress.add_content(event.candidates.content);
    if event.error.0 {
        return Err(progress.reported(reported_error(data)));
    }
    if event.prompt_feedback.is_some_and(|feedback| feedback.block_reason.as_deref().is_some()) {
        progress.finish_reason = Some(FinishReason::ContentFilter);
    } else if let Some(reason) = &event.candidates.reason {
        let meaning = finish_reason(reason, progress.has_calls);
        progress.finish_reason = Some(meaning.ok_or_else(|| progress.reported(failed_finish(reason, data)))?);
    }
    progress.record_usage(GeminiUsage::parse_optional(event.usage_metadata).and_then(GeminiUsage::into_usage));
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(default, deserialize_with = "read_candidates")]
    candidates: Candidates,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(default)]
    error: NonEmpty,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback<'a> {
    #[serde(default, borrow)]
    block_reason: Word<'a>,
}

/// A summary of the candidates, which are not stored, because there may be millions.
#[derive(Default)]
struct Candidates {
    content: Content,
    /// The first finish reason.
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    content: Option<Parts>,
    #[serde(default, borrow)]
    finish_reason: Word<'a>,
}

#[derive(Deserialize)]
struct Parts {
    #[serde(default, deserialize_with = "read_parts")]
    parts: Content,
}

fn read_candidates<'de, D: Deserializer<'de>>(json: D) -> Result<Candidates, D::Error> {
    fold_list(json, |candidates: &mut Candidates, candidate: Candidate<'_>| {
        candidates.content.add(candidate.content.map_or(Content::default(), |content| content.parts));
        if candidates.reason.is_none() {
            candidates.reason = candidate.finish_reason.as_deref().map(str::to_owned);
        }
    })
}

fn read_parts<'de, D: Deserializer<'de>>(json: D) -> Result<Content, D::Error> {
    fold_list(json, |content: &mut Content, part: Content| content.add(part))
}

/// The meaning of a `finishReason`; `None` for one that means a failure. `calls`: the answer
/// contains tool calls.
fn finish_reason(reason: &str, calls: bool) -> Option<FinishReason> {
    Some(match reason {
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MALFORMED_RESPONSE"
        | "MISSING_THOUGHT_SIGNATURE"
        | "NO_IMAGE"
        | "IMAGE_OTHER"
        | "OTHER" => return None,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        _ if calls => FinishReason::ToolCalls,
        _ => FinishReason::Stop,
    })
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GeminiUsage {
    prompt_token_count: TokenCount,
    cached_content_token_count: TokenCount,
    candidates_token_count: TokenCount,
    thoughts_token_count: TokenCount,
    #[serde(deserialize_with = "lenient")]
    prompt_tokens_details: ModalityList,
    #[serde(deserialize_with = "lenient")]
    candidates_tokens_details: ModalityList,
}

impl ProviderUsage for GeminiUsage {
    const INVALID: Self = Self {
        prompt_token_count: TokenCount::INVALID,
        cached_content_token_count: TokenCount::ABSENT,
        candidates_token_count: TokenCount::ABSENT,
        thoughts_token_count: TokenCount::ABSENT,
        prompt_tokens_details: ModalityList(ModalityTokens::ABSENT),
        candidates_tokens_details: ModalityList(ModalityTokens::ABSENT),
    };
}

impl GeminiUsage {
    /// The usage; `None` without counts.
    fn into_usage(self) -> Option<Usage> {
        self.prompt_token_count.or(self.candidates_token_count).or(self.thoughts_token_count).get()?;
        let thoughts = self.thoughts_token_count.or_zero();
        Some(Usage {
            prompt_tokens: self.prompt_token_count.or_zero(),
            cached_tokens: self.cached_content_token_count.or_zero(),
            completion_tokens: self.candidates_token_count.or_zero().saturating_add(thoughts),
            reasoning_tokens: (thoughts > 0).then_some(thoughts),
            extra: modality_counts(self.prompt_tokens_details.0, self.candidates_tokens_details.0),
            ..Usage::default()
        })
    }
}
