//! Chunks of chat completions.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::search::{contains, error_message, last_string_value};
use super::stats::ResponseStats;
use crate::token_count::ProviderUsage;
use crate::upstream::openai;

/// Scans a chunk. Returns whether it is to be dropped, because it contains only usage.
pub(super) fn scan_chat_chunk(data: &[u8], hide_usage: bool, stats: &mut ResponseStats) -> bool {
    let has = |needle| contains(data, needle);
    let mut suppress = false;
    // Few events need to be parsed.
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

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default)]
    choices: Vec<serde::de::IgnoredAny>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}
