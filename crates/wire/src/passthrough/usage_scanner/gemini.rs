//! Usage, finish reason and errors in answers of Gemini's `generateContent`, streamed or not.

use std::fmt;

use chat::{FinishReason, Usage};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::search::{contains, error_message};
use super::stats::ResponseStats;
use crate::token_count::ProviderUsage;
use crate::upstream::gemini;

/// Adds an event, or a whole response, to `stats`. Its usage and finish reason replace earlier
/// ones. A blocked prompt counts as finished by the content filter. `STOP` becomes `ToolCalls` only
/// when the call is in the same event. Data that cannot be parsed is ignored.
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

/// A summary of the candidates of an event: whether there are any, and the first finish reason. The
/// candidates are not stored, because there may be millions.
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

            // Null means absent.
            fn visit_unit<E>(self) -> Result<Candidates, E> {
                Ok(Candidates::default())
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
        json.deserialize_any(List)
    }
}
