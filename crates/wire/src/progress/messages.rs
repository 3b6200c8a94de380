//! Events of Anthropic's Messages API, and whole messages.

use chat::{Error, ExtraCount, FinishReason, Usage};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::answer_progress::AnswerProgress;
use super::cache_creation::CacheCreation;
use super::content::{Content, NonEmpty, Word, fold_list};
use super::extra_counts::{ServerToolUse, Tier, extra_counts, lenient};
use crate::token_count::{ProviderUsage, TokenCount};
use crate::upstream::error::{invalid_event, provider_error, reported_error};

/// Reads an event. One of an unknown type says nothing.
///
/// # Errors
/// The failure that it reports, and `Upstream` for data that cannot be parsed.
pub(super) fn read_event(
    data: &[u8],
    usage_so_far: &mut MessagesUsage,
    progress: &mut AnswerProgress,
) -> Result<(), Error> {
    let event: Event = serde_json::from_slice(data).map_err(|error| invalid_event(&error))?;
    let kind = event.kind.as_deref();
    if kind == Some("error") || event.error.0 {
        return Err(progress.reported(reported_error(data)));
    }
    match kind.ok_or_else(|| provider_error("The provider sent an event without a type"))? {
        "message_start" => {
            let message: Message = part(event.message)?;
            usage_so_far.update(MessagesUsage::parse_optional(message.usage).unwrap_or_default());
            progress.record_usage(usage_so_far.into_usage());
        }
        "content_block_start" => progress.add_content(block_content(event.content_block)?),
        "content_block_delta" => progress.add_content(part(event.delta)?),
        "message_delta" => {
            let delta: Message = part(event.delta)?;
            record_reason(&delta.stop_reason, progress);
            usage_so_far.update(MessagesUsage::parse_optional(event.usage).unwrap_or_default());
            progress.record_usage(usage_so_far.into_usage());
        }
        "message_stop" => progress.is_complete = true,
        _ => {}
    }
    Ok(())
}

/// Reads a whole message.
///
/// # Errors
/// The failure that it reports, and `Upstream` for data that cannot be parsed.
pub(super) fn read_body(body: &[u8], progress: &mut AnswerProgress) -> Result<(), Error> {
    let message: Message = serde_json::from_slice(body).map_err(|error| invalid_event(&error))?;
    if message.kind.as_deref() == Some("error") || message.error.0 {
        return Err(progress.reported(reported_error(body)));
    }
    progress.add_content(message.content);
    record_reason(&message.stop_reason, progress);
    progress.record_usage(MessagesUsage::parse_optional(message.usage).and_then(MessagesUsage::into_usage));
    Ok(())
}

fn record_reason(reason: &Word<'_>, progress: &mut AnswerProgress) {
    if let Some(reason) = reason.as_deref() {
        progress.finish_reason = Some(finish_reason(reason));
    }
}

/// An event. Its parts are parsed only where its type has them, so that others may be anything.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Word<'a>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default)]
    error: NonEmpty,
}

/// A message: at its start, at its end, or whole.
#[derive(Default, Deserialize)]
struct Message<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Word<'a>,
    #[serde(default, deserialize_with = "read_blocks")]
    content: Content,
    #[serde(default, borrow)]
    stop_reason: Word<'a>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default)]
    error: NonEmpty,
}

#[derive(Default, Deserialize)]
struct BlockType<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Word<'a>,
}

/// Parses a part of an event; one that is absent has nothing.
pub(super) fn part<'a, T: Default + Deserialize<'a>>(json: Option<&'a RawValue>) -> Result<T, Error> {
    json.map_or(Ok(T::default()), |json| serde_json::from_str(json.get()).map_err(|error| invalid_event(&error)))
}

/// The content of a block at its start. That of a call is content without input, too.
fn block_content(block: Option<&RawValue>) -> Result<Content, Error> {
    let is_call = part::<BlockType>(block)?.kind.as_deref().is_some_and(|kind| kind.ends_with("tool_use"));
    let mut content: Content = part(block)?;
    content.add(Content { is_any: is_call, is_call });
    Ok(content)
}

fn read_blocks<'de, D: Deserializer<'de>>(json: D) -> Result<Content, D::Error> {
    fold_list(json, |content: &mut Content, block: &RawValue| {
        // A block that is not an object has none.
        content.add(block_content(Some(block)).unwrap_or_default());
    })
}

/// The meaning of a `stop_reason`.
fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextFull,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        // `end_turn`, `pause_turn`, or an unknown stop sequence.
        _ => FinishReason::Stop,
    }
}

/// The usage of the API, whose `input_tokens` do not include those of the cache.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MessagesUsage {
    input_tokens: TokenCount,
    cache_read_input_tokens: TokenCount,
    cache_creation_input_tokens: TokenCount,
    cache_creation: CacheCreation,
    output_tokens: TokenCount,
    #[serde(deserialize_with = "lenient")]
    server_tool_use: ServerToolUse,
    #[serde(deserialize_with = "lenient")]
    service_tier: Tier,
}

impl ProviderUsage for MessagesUsage {
    const INVALID: Self = Self {
        input_tokens: TokenCount::INVALID,
        cache_read_input_tokens: TokenCount::ABSENT,
        cache_creation_input_tokens: TokenCount::ABSENT,
        cache_creation: CacheCreation::ABSENT,
        output_tokens: TokenCount::ABSENT,
        server_tool_use: ServerToolUse::ABSENT,
        service_tier: Tier(None),
    };
}

impl MessagesUsage {
    /// Takes over the counts of a later event.
    fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_creation = self.cache_creation.updated_by(later.cache_creation);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.server_tool_use = self.server_tool_use.updated_by(later.server_tool_use);
        self.service_tier = Tier(later.service_tier.0.or(self.service_tier.0));
    }

    /// The usage; `None` without counts.
    fn into_usage(self) -> Option<Usage> {
        let cached = self.cache_read_input_tokens.or(self.cache_creation_input_tokens);
        self.input_tokens.or(cached).or(self.output_tokens).get()?;
        let read = self.cache_read_input_tokens.or_zero();
        let written = self.cache_creation_input_tokens.get().unwrap_or_else(|| self.cache_creation.total());
        Some(Usage {
            prompt_tokens: self.input_tokens.or_zero().saturating_add(read).saturating_add(written),
            cached_tokens: read,
            cache_write_tokens: written,
            cache_write_1h_tokens: self.cache_creation.hour(),
            completion_tokens: self.output_tokens.or_zero(),
            reasoning_tokens: None,
            extra: extra_counts(&[(ExtraCount::SEARCHES, self.server_tool_use.web_search_requests)]),
            service_tier: self.service_tier.0,
        })
    }
}
