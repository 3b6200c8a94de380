//! Events of Anthropic's Messages API.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::search::{contains, error_message};
use super::stats::ResponseStats;
use crate::token_count::ProviderUsage;
use crate::upstream::anthropic;

/// Scans an event.
pub(super) fn scan_anthropic_event(
    data: &[u8],
    usage_so_far: &mut anthropic::AnthropicUsage,
    stats: &mut ResponseStats,
) {
    // The most frequent type is not parsed.
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
