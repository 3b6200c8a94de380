//! Single events of each dialect, of which no more is read than what they count and why they end.

use std::fmt;

use chat::{FinishReason, Usage};
use memchr::memmem;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Seen;
use crate::bounds::has_few_values;
use crate::count::{Count, Counts};
use crate::upstream::{anthropic, gemini, openai};

fn has(data: &[u8], needle: &str) -> bool {
    memmem::find(data, needle.as_bytes()).is_some()
}

/// Looks at one chunk. Returns whether it has nothing but usage, and is to be hidden then.
pub(super) fn chunk(data: &[u8], hide_usage: bool, seen: &mut Seen) -> bool {
    let has = |needle| has(data, needle);
    let mut hide = false;
    // Only few events need to be read.
    if has("\"usage\":") && !has("\"usage\":null") && !has("\"usage\": null") {
        let chunk: Option<Chunk> = serde_json::from_slice(data).ok();
        if let Some(Chunk { usage: Some(usage), choices }) = chunk {
            seen.usage = openai::UsageBody::of(Some(usage)).and_then(openai::UsageBody::usage).or(seen.usage);
            hide = hide_usage && choices.is_empty();
        }
    }
    if let Some(reason) = word_after(data, "\"finish_reason\":") {
        seen.finish = Some(openai::finish(reason));
    }
    if (has("\"delta\"") && !has("\"role\"")) || has("\"text\":") {
        seen.pieces += 1;
    }
    if has("\"error\"") && !has("\"choices\"") {
        seen.failure = Some(failure(data));
    }
    hide
}

/// Looks at one event of Anthropic's.
pub(super) fn message(data: &[u8], counts: &mut anthropic::UsageBody, seen: &mut Seen) {
    // The most frequent kind is not read.
    if has(data, "\"content_block_delta\"") {
        seen.pieces += 1;
        return;
    }
    let Ok(event) = serde_json::from_slice::<MessageEvent>(data) else { return };
    for usage in [event.usage, event.message.and_then(|message| message.usage)] {
        let Some(usage) = anthropic::UsageBody::of(usage) else { continue };
        counts.update(usage);
        seen.usage = Some((*counts).into());
    }
    if let Some(reason) = event.delta.and_then(|delta| delta.stop_reason) {
        seen.finish = Some(anthropic::reason(&reason));
    }
    match event.kind.as_str() {
        "message_stop" => seen.done = true,
        "error" => seen.failure = Some(failure(data)),
        _ => {}
    }
}

/// Looks at one event of Gemini's, or at its whole answer.
pub(super) fn content(data: &[u8], seen: &mut Seen) {
    let Ok(event) = serde_json::from_slice::<ContentEvent>(data) else { return };
    seen.pieces += u64::from(event.candidates.any);
    seen.usage = gemini::UsageBody::of(event.usage_metadata).map(Usage::from).or(seen.usage);
    let ended = event.candidates.finish_reason;
    let ended = ended.map(|reason| gemini::reason(&reason, has(data, "\"functionCall\"")));
    let blocked = event.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some());
    seen.finish = blocked.then_some(FinishReason::ContentFilter).or(ended).or(seen.finish);
    if event.error.is_some() {
        seen.failure = Some(failure(data));
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContentEvent<'a> {
    #[serde(default)]
    candidates: Candidates,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
    prompt_feedback: Option<gemini::Feedback>,
    error: Option<serde::de::IgnoredAny>,
}

/// The candidates of an answer: that there are any, and the first reason for their end. They are not kept, there may be millions.
#[derive(Default)]
struct Candidates {
    any: bool,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContentEnd {
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
                while let Some(ContentEnd { finish_reason }) = list.next_element()? {
                    candidates.any = true;
                    candidates.finish_reason = candidates.finish_reason.or(finish_reason);
                }
                Ok(candidates)
            }
        }
        json.deserialize_seq(List)
    }
}

/// Looks at one event of an image or a transcript.
pub(super) fn medium(data: &[u8], seen: &mut Seen) {
    seen.pieces += 1;
    // The large ones are pictures in the making.
    if !has(data, "\"usage\"") && !has(data, "\"error\"") && !has(data, ".done\"") && !has(data, ".completed\"") {
        return;
    }
    let Ok(event) = serde_json::from_slice::<MediumEvent>(data) else { return };
    seen.usage = MediumUsage::of(event.usage).map(Usage::from).or(seen.usage);
    if event.kind.ends_with(".done") || event.kind.ends_with(".completed") {
        seen.finish = Some(FinishReason::Stop);
        seen.usage = seen.usage.or(Some(Usage::default()));
    }
    if event.kind == "error" || event.error.is_some() {
        seen.failure = Some(failure(data));
    }
}

#[derive(Deserialize)]
struct MediumEvent<'a> {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    error: Option<serde::de::IgnoredAny>,
}

/// Token counts of images and transcripts.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct MediumUsage {
    input_tokens: Count,
    output_tokens: Count,
}

impl Counts for MediumUsage {
    const UNREADABLE: Self = Self { input_tokens: Count::UNREADABLE, output_tokens: Count::NONE };
}

impl From<MediumUsage> for Usage {
    fn from(usage: MediumUsage) -> Self {
        Self {
            prompt_tokens: usage.input_tokens.tokens(),
            completion_tokens: usage.output_tokens.tokens(),
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
struct MessageEvent<'a> {
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

/// The string that follows the last `key`, if one does. A key inside a string has its quotes escaped and is another.
pub(super) fn word_after<'a>(data: &'a [u8], key: &str) -> Option<&'a str> {
    let from = memmem::rfind(data, key.as_bytes())? + key.len();
    let rest = data[from..].trim_ascii_start().strip_prefix(b"\"")?;
    std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
}

fn failure(data: &[u8]) -> String {
    // An error of more values is none that could be told.
    const MOST: usize = 10_000;
    let value = has_few_values(data, MOST).then(|| serde_json::from_slice::<Value>(data).ok());
    let value = value.flatten().unwrap_or_default();
    let words = ["/error/message", "/error"].iter().find_map(|pointer| value.pointer(pointer)?.as_str());
    words.unwrap_or("the provider broke off").chars().take(500).collect()
}
