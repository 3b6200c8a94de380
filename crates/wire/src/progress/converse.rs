//! Events of Amazon Bedrock's Converse API, each an object of one field, and whole answers.

use chat::{Error, FinishReason, Usage};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer_progress::AnswerProgress;
use super::content::{Content, NonEmpty, Word, fold_list};
use super::messages::part;
use crate::token_count::{ProviderUsage, TokenCount};
use crate::upstream::error::{failed_finish, invalid_event, not_of_its_dialect, reported_error};

/// Reads an event. One of an unknown type says nothing.
///
/// # Errors
/// The exception that it reports, and `Upstream` for data that cannot be parsed.
pub(super) fn read_event(data: &[u8], progress: &mut AnswerProgress) -> Result<(), Error> {
    let event: Event = serde_json::from_slice(data).map_err(|error| invalid_event(&error))?;
    if let Some(exception) = event.exception {
        return Err(progress.reported(exception_error(exception)));
    }
    progress.add_content(part::<BlockStart>(event.content_block_start)?.content());
    progress.add_content(part::<BlockDelta>(event.content_block_delta)?.content());
    record_reason(&part::<MessageStop>(event.message_stop)?.stop_reason, data, progress)?;
    if let Some(metadata) = event.metadata {
        let Metadata { usage } = part(Some(metadata))?;
        progress.record_usage(ConverseUsage::parse_optional(usage).and_then(ConverseUsage::into_usage));
        progress.is_complete = true;
    }
    Ok(())
}

/// Reads a whole answer.
///
/// # Errors
/// The failure that it reports, and `Upstream` for data that cannot be parsed.
pub(super) fn read_body(body: &[u8], progress: &mut AnswerProgress) -> Result<(), Error> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| invalid_event(&error))?;
    let Some(output) = answer.output else {
        // A report of an error has a message instead.
        let is_report = part::<NonEmpty>(answer.message).is_ok_and(|message| message.0);
        return Err(if is_report { progress.reported(reported_error(body)) } else { not_of_its_dialect() });
    };
    progress.add_content(part::<Output>(Some(output))?.message.content);
    record_reason(&answer.stop_reason, body, progress)?;
    progress.record_usage(ConverseUsage::parse_optional(answer.usage).and_then(ConverseUsage::into_usage));
    Ok(())
}

fn record_reason(reason: &Word<'_>, data: &[u8], progress: &mut AnswerProgress) -> Result<(), Error> {
    if let Some(reason) = reason.as_deref() {
        let meaning = finish_reason(reason).ok_or_else(|| progress.reported(failed_finish(reason, data)))?;
        progress.finish_reason = Some(meaning);
    }
    Ok(())
}

/// The error of an exception, by its type.
fn exception_error(exception: &RawValue) -> Error {
    let exception: Value = serde_json::from_str(exception.get()).unwrap_or_default();
    let report = json!({ "error": { "type": exception["type"], "message": exception["message"] } });
    reported_error(report.to_string().as_bytes())
}

/// The meaning of a `stopReason`; `None` for one that means a failure.
fn finish_reason(reason: &str) -> Option<FinishReason> {
    Some(match reason {
        "malformed_model_output" | "malformed_tool_use" => return None,
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextFull,
        "tool_use" => FinishReason::ToolCalls,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        // `end_turn` and `stop_sequence`.
        _ => FinishReason::Stop,
    })
}

/// An event. Its parts are parsed only where it has them, so that others may be anything.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    content_block_start: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block_delta: Option<&'a RawValue>,
    #[serde(borrow)]
    message_stop: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    exception: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct BlockStart {
    #[serde(default)]
    start: Start,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    #[serde(default)]
    tool_use: NonEmpty,
}

impl BlockStart {
    fn content(&self) -> Content {
        Content { is_any: self.start.tool_use.0, is_call: self.start.tool_use.0 }
    }
}

#[derive(Default, Deserialize)]
struct BlockDelta {
    #[serde(default)]
    delta: DeltaBody,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeltaBody {
    #[serde(default)]
    text: NonEmpty,
    tool_use: Option<ToolInput>,
    reasoning_content: Option<Content>,
}

#[derive(Deserialize)]
struct ToolInput {
    #[serde(default)]
    input: NonEmpty,
}

impl BlockDelta {
    fn content(&self) -> Content {
        let mut content = Content { is_any: self.delta.text.0, is_call: false };
        let input = self.delta.tool_use.as_ref().is_some_and(|tool| tool.input.0);
        content.add(Content { is_any: input, is_call: input });
        content.add(self.delta.reasoning_content.unwrap_or_default());
        content
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop<'a> {
    #[serde(default, borrow)]
    stop_reason: Word<'a>,
}

#[derive(Default, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(default, borrow)]
    stop_reason: Word<'a>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Output {
    #[serde(default)]
    message: Message,
}

#[derive(Default, Deserialize)]
struct Message {
    #[serde(default, deserialize_with = "read_blocks")]
    content: Content,
}

fn read_blocks<'de, D: Deserializer<'de>>(json: D) -> Result<Content, D::Error> {
    fold_list(json, |content: &mut Content, block: &RawValue| {
        // A block that is not an object has none.
        content.add(part::<Content>(Some(block)).unwrap_or_default());
    })
}

/// The usage of the API, whose `inputTokens` do not include those of the cache.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConverseUsage {
    input_tokens: TokenCount,
    output_tokens: TokenCount,
    cache_read_input_tokens: TokenCount,
    cache_write_input_tokens: TokenCount,
    cache_details: CacheDetails,
}

/// The tokens of `cacheDetails` that are kept for an hour.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "Vec<CacheDetail>")]
struct CacheDetails {
    hour: TokenCount,
}

/// Tokens that were written with one time to live.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CacheDetail {
    ttl: String,
    input_tokens: TokenCount,
}

impl From<Vec<CacheDetail>> for CacheDetails {
    fn from(details: Vec<CacheDetail>) -> Self {
        let hour = details.iter().find(|detail| detail.ttl == "1h");
        Self { hour: hour.map_or(TokenCount::ABSENT, |detail| detail.input_tokens) }
    }
}

impl ProviderUsage for ConverseUsage {
    const INVALID: Self = Self {
        input_tokens: TokenCount::INVALID,
        output_tokens: TokenCount::ABSENT,
        cache_read_input_tokens: TokenCount::ABSENT,
        cache_write_input_tokens: TokenCount::ABSENT,
        cache_details: CacheDetails { hour: TokenCount::ABSENT },
    };
}

impl ConverseUsage {
    /// The usage; `None` without counts.
    fn into_usage(self) -> Option<Usage> {
        self.input_tokens.or(self.output_tokens).get()?;
        let (read, written) = (self.cache_read_input_tokens.or_zero(), self.cache_write_input_tokens.or_zero());
        Some(Usage {
            prompt_tokens: self.input_tokens.or_zero().saturating_add(read).saturating_add(written),
            cached_tokens: read,
            cache_write_tokens: written,
            cache_write_1h_tokens: self.cache_details.hour.or_zero(),
            completion_tokens: self.output_tokens.or_zero(),
            ..Usage::default()
        })
    }
}
