//! Events of OpenAI's Responses API, and whole responses.

use chat::{Error, ExtraCount, FinishReason, ServiceTier, Usage};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::answer_progress::AnswerProgress;
use super::content::{Content, NonEmpty, Word, fold_list};
use super::extra_counts::{ModalityTokens, modality_counts};
use super::messages::part;
use crate::token_count::{ProviderUsage, TokenCount};
use crate::upstream::error::{failed_finish, invalid_event, provider_error, reported_error};

/// The `output_index` of the item whose content arrived last. An item that ends is counted only if
/// nothing of it has arrived before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastItem(Option<u64>);

/// Reads an event. One of an unknown type says nothing.
///
/// # Errors
/// The failure that it reports, and `Upstream` for data that cannot be parsed.
pub(super) fn read_event(data: &[u8], last_item: &mut LastItem, progress: &mut AnswerProgress) -> Result<(), Error> {
    let event: Event = serde_json::from_slice(data).map_err(|error| invalid_event(&error))?;
    let kind = event.kind.as_deref();
    if kind == Some("error") || event.error.0 {
        return Err(progress.reported(reported_error(data)));
    }
    let index = Some(event.output_index.or_zero());
    match kind.ok_or_else(|| provider_error("The provider sent an event without a type"))? {
        "response.output_item.added" => {
            let call = part::<Item>(event.item)?.call();
            progress.add_content(call);
            if call.is_any {
                last_item.0 = index;
            }
        }
        "response.output_item.done" => {
            let content = part::<Item>(event.item)?.content();
            if last_item.0 != index {
                progress.add_content(content);
            }
        }
        kind @ ("response.completed" | "response.incomplete" | "response.failed" | "response.cancelled") => {
            let response: Response = part(event.response)?;
            progress.is_complete = true;
            let status = kind.strip_prefix("response.").unwrap_or(kind);
            end_response(&response, response.status.as_deref().unwrap_or(status), data, progress)?;
        }
        kind if kind.ends_with(".delta") && event.delta.0 => {
            progress.add_piece();
            last_item.0 = index;
        }
        _ => {}
    }
    Ok(())
}

/// Reads a whole response.
///
/// # Errors
/// The failure that it reports, and `Upstream` for data that cannot be parsed.
pub(super) fn read_body(body: &[u8], progress: &mut AnswerProgress) -> Result<(), Error> {
    let response: Response = serde_json::from_slice(body).map_err(|error| invalid_event(&error))?;
    end_response(&response, response.status.as_deref().unwrap_or_default(), body, progress)
}

/// Reads a response that has ended with `status`, which is empty if the response has none. Its
/// content counts if nothing has arrived before.
fn end_response(
    response: &Response<'_>,
    status: &str,
    data: &[u8],
    progress: &mut AnswerProgress,
) -> Result<(), Error> {
    let content = response.output.content;
    let content = Content { is_any: content.is_any && !progress.has_started(), ..content };
    progress.add_content(content);
    if let Some(error) = response.error.filter(|error| part::<NonEmpty>(Some(error)).is_ok_and(|error| error.0)) {
        let report = format!("{{\"error\":{}}}", error.get());
        return Err(progress.reported(reported_error(report.as_bytes())));
    }
    progress.finish_reason = match status {
        "" => None,
        "completed" if progress.has_calls => Some(FinishReason::ToolCalls),
        "completed" => Some(FinishReason::Stop),
        "incomplete" => Some(response.incomplete_details.finish_reason()),
        failed => return Err(progress.reported(failed_finish(failed, data))),
    };
    let usage = ResponsesUsage::parse_optional(response.usage).and_then(ResponsesUsage::into_usage);
    progress.record_usage(usage.map(|mut usage| {
        usage.extra.0[ExtraCount::SEARCHES] = response.output.searches;
        usage.service_tier = response.service_tier.as_deref().and_then(ServiceTier::parse);
        usage
    }));
    Ok(())
}

/// An event. Its parts are parsed only where its type has them, so that others may be anything.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Word<'a>,
    #[serde(default)]
    output_index: TokenCount,
    #[serde(default)]
    delta: NonEmpty,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(default)]
    error: NonEmpty,
}

/// An item of the output.
#[derive(Default, Deserialize)]
struct Item<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Word<'a>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
}

impl Item<'_> {
    /// The content that an item has by being a call: one of the client's, or one that the service
    /// makes itself.
    fn call(&self) -> Content {
        let kind = self.kind.as_deref().unwrap_or_default();
        Content { is_any: kind.ends_with("_call"), is_call: matches!(kind, "function_call" | "custom_tool_call") }
    }

    fn content(&self) -> Content {
        let mut content = self.call();
        for parts in [self.content, self.summary] {
            // A value that is not a list has no parts.
            content.add(part::<Parts>(parts).unwrap_or_default().0);
        }
        content
    }
}

#[derive(Default, Deserialize)]
struct Parts(#[serde(deserialize_with = "read_parts")] Content);

fn read_parts<'de, D: Deserializer<'de>>(json: D) -> Result<Content, D::Error> {
    fold_list(json, |content: &mut Content, part: Content| content.add(part))
}

#[derive(Default, Deserialize)]
struct Response<'a> {
    #[serde(default, borrow)]
    status: Word<'a>,
    #[serde(default, deserialize_with = "read_output")]
    output: Output,
    #[serde(default, borrow)]
    service_tier: Word<'a>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "forgiving_details")]
    incomplete_details: IncompleteDetails<'a>,
}

/// A summary of the items.
#[derive(Default)]
struct Output {
    content: Content,
    /// The searches that the service has made.
    searches: u64,
}

fn read_output<'de, D: Deserializer<'de>>(json: D) -> Result<Output, D::Error> {
    fold_list(json, |output: &mut Output, item: &RawValue| {
        let item = part::<Item>(Some(item)).unwrap_or_default();
        output.content.add(item.content());
        output.searches += u64::from(item.kind.as_deref() == Some("web_search_call"));
    })
}

#[derive(Default, Deserialize)]
struct IncompleteDetails<'a> {
    #[serde(default, borrow)]
    reason: Word<'a>,
}

/// Reads the details of a response, which are null for a complete one.
fn forgiving_details<'de: 'a, 'a, D: Deserializer<'de>>(json: D) -> Result<IncompleteDetails<'a>, D::Error> {
    Ok(part(Option::<&RawValue>::deserialize(json)?.filter(|details| details.get() != "null")).unwrap_or_default())
}

impl IncompleteDetails<'_> {
    fn finish_reason(&self) -> FinishReason {
        match self.reason.as_deref() {
            Some("content_filter") => FinishReason::ContentFilter,
            // `max_output_tokens`, or a limit that is not known here.
            _ => FinishReason::Length,
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
pub(crate) struct ResponsesUsage {
    input_tokens: TokenCount,
    output_tokens: TokenCount,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: TokenCount,
    /// The tokens whose writing to the cache newer models charge for.
    cache_write_tokens: TokenCount,
    audio_tokens: TokenCount,
    image_tokens: TokenCount,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: TokenCount,
    audio_tokens: TokenCount,
    image_tokens: TokenCount,
}

impl ProviderUsage for ResponsesUsage {
    const INVALID: Self = Self { input_tokens: TokenCount::INVALID, ..Self::ABSENT };
}

impl Default for ResponsesUsage {
    fn default() -> Self {
        Self::ABSENT
    }
}

impl ResponsesUsage {
    const ABSENT: Self = Self {
        input_tokens: TokenCount::ABSENT,
        output_tokens: TokenCount::ABSENT,
        input_tokens_details: None,
        output_tokens_details: None,
    };

    /// The usage; `None` without counts.
    pub(crate) fn into_usage(self) -> Option<Usage> {
        self.input_tokens.or(self.output_tokens).get()?;
        let details = self.input_tokens_details.unwrap_or_default();
        let answer = self.output_tokens_details.unwrap_or_default();
        Some(Usage {
            prompt_tokens: self.input_tokens.or_zero(),
            cached_tokens: details.cached_tokens.or_zero(),
            cache_write_tokens: details.cache_write_tokens.or_zero(),
            cache_write_1h_tokens: 0,
            completion_tokens: self.output_tokens.or_zero(),
            reasoning_tokens: answer.reasoning_tokens.get(),
            extra: modality_counts(
                ModalityTokens { audio_tokens: details.audio_tokens, image_tokens: details.image_tokens },
                ModalityTokens { audio_tokens: answer.audio_tokens, image_tokens: answer.image_tokens },
            ),
            service_tier: None,
        })
    }
}
