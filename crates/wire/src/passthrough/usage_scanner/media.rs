//! Events of images, speech and transcripts.

use chat::{FinishReason, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::search::{contains, error_message};
use super::stats::ResponseStats;
use crate::token_count::{ProviderUsage, TokenCount};

/// Scans an event of an image or a transcript.
pub(super) fn scan_media_event(data: &[u8], stats: &mut ResponseStats) {
    stats.content_events += 1;
    // Large events are partial images, which are not parsed.
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

/// The usage of images and transcripts.
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
