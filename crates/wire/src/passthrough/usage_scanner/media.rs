//! Events of images, speech and transcripts, and the usage of whole media.

use chat::{Error, FinishReason, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::progress::AnswerProgress;
use crate::progress::extra_counts::{ModalityTokens, lenient, modality_counts};
use crate::token_count::{ProviderUsage, TokenCount};
use crate::upstream::error::{invalid_event, not_of_its_dialect, reported_error};

/// Reads an event of an image or a transcript, each of which is a piece.
///
/// # Errors
/// The failure that it reports, and `Upstream` for data that is not an event.
pub(super) fn read_event(data: &[u8], progress: &mut AnswerProgress) -> Result<(), Error> {
    let event: MediaEvent = serde_json::from_slice(data).map_err(|error| invalid_event(&error))?;
    if event.kind == "error" || event.error.is_some() {
        return Err(progress.reported(reported_error(data)));
    }
    if event.kind.is_empty() && event.object.is_none() {
        return Err(not_of_its_dialect());
    }
    progress.add_piece();
    let is_last = event.kind.ends_with(".done") || event.kind.ends_with(".completed");
    if is_last {
        progress.finish_reason = Some(FinishReason::Stop);
    }
    let usage = MediaUsage::parse_optional(event.usage).map(Usage::from);
    // Without token counts the answer is billed per request.
    progress.record_usage(usage.or(progress.usage).or(is_last.then(Usage::default)));
    Ok(())
}

#[derive(Deserialize)]
struct MediaEvent<'a> {
    #[serde(rename = "type", default)]
    kind: String,
    object: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    error: Option<serde::de::IgnoredAny>,
}

/// The usage of images, transcripts and rerankings. Rerankings may have only the total.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct MediaUsage {
    input_tokens: TokenCount,
    output_tokens: TokenCount,
    total_tokens: TokenCount,
    /// Images are counted in `input_tokens_details`, transcripts in `input_token_details`.
    #[serde(deserialize_with = "lenient", alias = "input_token_details")]
    input_tokens_details: ModalityTokens,
    #[serde(deserialize_with = "lenient")]
    output_tokens_details: ModalityTokens,
}

impl ProviderUsage for MediaUsage {
    const INVALID: Self = Self {
        input_tokens: TokenCount::INVALID,
        output_tokens: TokenCount::ABSENT,
        total_tokens: TokenCount::ABSENT,
        input_tokens_details: ModalityTokens::ABSENT,
        output_tokens_details: ModalityTokens::ABSENT,
    };
}

impl From<MediaUsage> for Usage {
    fn from(usage: MediaUsage) -> Self {
        // The total includes an output that is counted alone.
        let total = if usage.output_tokens.get().is_none() { usage.total_tokens } else { TokenCount::ABSENT };
        Self {
            prompt_tokens: usage.input_tokens.or(total).or_zero(),
            completion_tokens: usage.output_tokens.or_zero(),
            extra: modality_counts(usage.input_tokens_details, usage.output_tokens_details),
            ..Self::default()
        }
    }
}
