//! Single events of each dialect, of which no more is read than what they count and why they end.

use std::fmt;

use chat::{FinishReason, Usage};
use memchr::memmem;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::ResponseStats;
use crate::provider_limits::has_at_most_values;
use crate::token_count::{ProviderUsage, TokenCount};
use crate::upstream::{anthropic, gemini, openai};

fn contains(data: &[u8], needle: &str) -> bool {
    memmem::find(data, needle.as_bytes()).is_some()
}

/// Looks at one chunk. Returns whether it has nothing but usage, and is to be hidden then.
pub(super) fn scan_chat_chunk(data: &[u8], hide_usage: bool, stats: &mut ResponseStats) -> bool {
    let has = |needle| contains(data, needle);
    let mut suppress = false;
    // Only few events need to be read.
    if has("\"usage\":") && !has("\"usage\":null") && !has("\"usage\": null") {
        let chunk: Option<Chunk> = serde_json::from_slice(data).ok();
        if let Some(Chunk { usage: Some(usage), choices }) = chunk {
            stats.usage = openai::OpenAiUsage::parse_optional(Some(usage))
                .and_then(openai::OpenAiUsage::into_usage)
                .or(stats.usage);
            suppress = hide_usage && choices.is_empty();
        }
    }
    if let Some(reason) = last_string_value(data, "\"finish_reason\":") {
        stats.finish_reason = Some(openai::finish_reason(reason));
    }
    if (has("\"delta\"") && !has("\"role\"")) || has("\"text\":") {
        stats.content_events += 1;
    }
    if has("\"error\"") && !has("\"choices\"") {
        stats.error_message = Some(error_message(data));
    }
    suppress
}

/// Looks at one event of Anthropic's.
pub(super) fn scan_anthropic_event(
    data: &[u8],
    usage_so_far: &mut anthropic::AnthropicUsage,
    stats: &mut ResponseStats,
) {
    // The most frequent kind is not read.
    if contains(data, "\"content_block_delta\"") {
        stats.content_events += 1;
        return;
    }
    let Ok(event) = serde_json::from_slice::<AnthropicEvent>(data) else { return };
    for usage in [event.usage, event.message.and_then(|message| message.usage)] {
        let Some(usage) = anthropic::AnthropicUsage::parse_optional(usage) else { continue };
        usage_so_far.update(usage);
        stats.usage = Some((*usage_so_far).into());
    }
    if let Some(reason) = event.delta.and_then(|delta| delta.stop_reason) {
        stats.finish_reason = Some(anthropic::finish_reason(&reason));
    }
    match event.kind.as_str() {
        "message_stop" => stats.is_complete = true,
        "error" => stats.error_message = Some(error_message(data)),
        _ => {}
    }
}

/// Looks at one event of Gemini's, or at its whole answer.
pub(super) fn scan_gemini_event(data: &[u8], stats: &mut ResponseStats) {
    let Ok(event) = serde_json::from_slice::<GeminiEvent>(data) else { return };
    stats.content_events += u64::from(event.candidates.is_any);
    stats.usage = gemini::GeminiUsage::parse_optional(event.usage_metadata).map(Usage::from).or(stats.usage);
    let ended = event.candidates.finish_reason;
    let ended = ended.map(|reason| gemini::finish_reason(&reason, contains(data, "\"functionCall\"")));
    let blocked = event.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some());
    stats.finish_reason = blocked.then_some(FinishReason::ContentFilter).or(ended).or(stats.finish_reason);
    if event.error.is_some() {
        stats.error_message = Some(error_message(data));
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiEvent<'a> {
    #[serde(default)]
    candidates: Candidates,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
    prompt_feedback: Option<gemini::PromptFeedback>,
    error: Option<serde::de::IgnoredAny>,
}

/// The candidates of an answer: that there are any, and the first reason for their end. They are
/// not kept, there may be millions.
#[derive(Default)]
struct Candidates {
    is_any: bool,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiCandidate {
    finish_reason: Option<String>,
}

impl<'de> Deserialize<'de> for Candidates {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Candidates;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of candidates")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Candidates, A::Error> {
                let mut candidates = Candidates::default();
                while let Some(GeminiCandidate { finish_reason }) = list.next_element()? {
                    candidates.is_any = true;
                    candidates.finish_reason = candidates.finish_reason.or(finish_reason);
                }
                Ok(candidates)
            }
        }
        json.deserialize_seq(List)
    }
}

/// Looks at one event of an image or a transcript.
pub(super) fn scan_media_event(data: &[u8], stats: &mut ResponseStats) {
    stats.content_events += 1;
    // The large ones are pictures in the making.
    if !contains(data, "\"usage\"")
        && !contains(data, "\"error\"")
        && !contains(data, ".done\"")
        && !contains(data, ".completed\"")
    {
        return;
    }
    let Ok(event) = serde_json::from_slice::<MediaEvent>(data) else { return };
    stats.usage = MediaUsage::parse_optional(event.usage).map(Usage::from).or(stats.usage);
    if event.kind.ends_with(".done") || event.kind.ends_with(".completed") {
        stats.finish_reason = Some(FinishReason::Stop);
        stats.usage = stats.usage.or(Some(Usage::default()));
    }
    if event.kind == "error" || event.error.is_some() {
        stats.error_message = Some(error_message(data));
    }
}

#[derive(Deserialize)]
struct MediaEvent<'a> {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    error: Option<serde::de::IgnoredAny>,
}

/// Token counts of images and transcripts.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct MediaUsage {
    input_tokens: TokenCount,
    output_tokens: TokenCount,
}

impl ProviderUsage for MediaUsage {
    const INVALID: Self = Self { input_tokens: TokenCount::INVALID, output_tokens: TokenCount::ABSENT };
}

impl From<MediaUsage> for Usage {
    fn from(usage: MediaUsage) -> Self {
        Self {
            prompt_tokens: usage.input_tokens.or_zero(),
            completion_tokens: usage.output_tokens.or_zero(),
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
struct AnthropicEvent<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    message: Option<MessageBody<'a>>,
    delta: Option<MessageEnd>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageBody<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageEnd {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default)]
    choices: Vec<serde::de::IgnoredAny>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// The string that follows the last `key`, if one does. A key inside a string has its quotes
/// escaped and is another.
pub(super) fn last_string_value<'a>(data: &'a [u8], key: &str) -> Option<&'a str> {
    let from = memmem::rfind(data, key.as_bytes())? + key.len();
    let rest = data[from..].trim_ascii_start().strip_prefix(b"\"")?;
    std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
}

fn error_message(data: &[u8]) -> String {
    // An error of more values is none that could be told.
    const MAX_ERROR_VALUES: usize = 10_000;
    let value = has_at_most_values(data, MAX_ERROR_VALUES).then(|| serde_json::from_slice::<Value>(data).ok());
    let value = value.flatten().unwrap_or_default();
    let message = ["/error/message", "/error"].iter().find_map(|pointer| value.pointer(pointer)?.as_str());
    message.unwrap_or("the provider broke off").chars().take(500).collect()
}
