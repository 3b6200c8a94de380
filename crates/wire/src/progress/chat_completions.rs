//! Chunks of chat completions and of text completions, and whole answers, whose choices have a
//! `message` instead of a `delta`.

use chat::{Error, ExtraCount, FinishReason, ServiceTier, Usage};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::answer_progress::AnswerProgress;
use super::cache_creation::CacheCreation;
use super::content::{Content, NonEmpty, Word, fold_list};
use super::extra_counts::{ModalityTokens, ServerToolUse, lenient, modality_counts};
use crate::token_count::{ProviderUsage, TokenCount};
use crate::upstream::error::{failed_finish, invalid_event, reported_error};

/// Reads a chunk or a whole answer. Returns whether it has the usage and nothing else.
///
/// # Errors
/// The failure that it reports, and `Upstream` for data that cannot be parsed.
pub(super) fn read_chunk(data: &[u8], progress: &mut AnswerProgress) -> Result<bool, Error> {
    let chunk: Chunk = serde_json::from_slice(data).map_err(|error| invalid_event(&error))?;
    let Choices { count, content, reason, has_error } = chunk.choices;
    progress.add_content(content);
    let is_error = chunk.object.as_deref() == Some("error") || chunk.kind.as_deref() == Some("error");
    if chunk.error.0 || has_error || is_error {
        return Err(progress.reported(reported_error(data)));
    }
    if let Some(reason) = reason {
        let meaning = finish_reason(&reason).ok_or_else(|| progress.reported(failed_finish(&reason, data)))?;
        progress.finish_reason = Some(meaning);
    }
    let service_tier = chunk.service_tier.as_deref().and_then(ServiceTier::parse);
    let usage = OpenAiUsage::parse_optional(chunk.usage).and_then(OpenAiUsage::into_usage);
    progress.record_usage(usage.map(|usage| Usage { service_tier, ..usage }));
    Ok(chunk.usage.is_some() && count == 0)
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default, deserialize_with = "read_choices")]
    choices: Choices,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default)]
    error: NonEmpty,
    /// `error` in reports of some engines, which have no `error`.
    #[serde(default, borrow)]
    object: Word<'a>,
    #[serde(default, borrow, rename = "type")]
    kind: Word<'a>,
    #[serde(default, borrow)]
    service_tier: Word<'a>,
}

/// A summary of the choices, which are not stored, because there may be millions.
#[derive(Default)]
struct Choices {
    count: u64,
    content: Content,
    reason: Option<String>,
    has_error: bool,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    delta: Content,
    #[serde(default)]
    message: Content,
    #[serde(default)]
    text: NonEmpty,
    #[serde(default, borrow)]
    finish_reason: Word<'a>,
    #[serde(default)]
    error: NonEmpty,
}

fn read_choices<'de, D: Deserializer<'de>>(json: D) -> Result<Choices, D::Error> {
    fold_list(json, |choices: &mut Choices, choice: Choice<'_>| {
        choices.count += 1;
        choices.content.add(choice.delta);
        choices.content.add(choice.message);
        choices.content.add(Content { is_any: choice.text.0, is_call: false });
        choices.has_error |= choice.error.0;
        // Some services send an empty reason with every chunk.
        if let Some(reason) = choice.finish_reason.as_deref().filter(|reason| *reason != "null") {
            choices.reason = Some(reason.to_owned());
        }
    })
}

/// The meaning of a `finish_reason`; `None` for one that means a failure.
fn finish_reason(reason: &str) -> Option<FinishReason> {
    Some(match reason {
        "error" | "abort" | "aborted" | "cancelled" | "failed" => return None,
        "length" | "model_length" | "max_tokens" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        "insufficient_system_resource" => FinishReason::InsufficientSystemResource,
        // `stop`, and other names of services for it: `eos`, `end_turn`.
        _ => FinishReason::Stop,
    })
}

/// OpenAI's usage, with DeepSeek's counts of cached tokens.
#[derive(Deserialize)]
#[serde(default)]
pub(crate) struct OpenAiUsage {
    prompt_tokens: TokenCount,
    completion_tokens: TokenCount,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    prompt_cache_hit_tokens: TokenCount,
    /// LiteLLM's name for the tokens that Anthropic wrote to its cache.
    cache_creation_input_tokens: TokenCount,
    cache_creation: CacheCreation,
    /// OpenRouter's place of the searches of a model.
    #[serde(deserialize_with = "lenient")]
    server_tool_use: ServerToolUse,
    /// Perplexity's count of them.
    num_search_queries: TokenCount,
}

impl ProviderUsage for OpenAiUsage {
    const INVALID: Self = Self { prompt_tokens: TokenCount::INVALID, ..Self::ABSENT };
}

impl Default for OpenAiUsage {
    fn default() -> Self {
        Self::ABSENT
    }
}

#[derive(Default, Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: TokenCount,
    /// OpenRouter's name of the tokens that were written to a cache.
    #[serde(default)]
    cache_write_tokens: TokenCount,
    /// LiteLLM's name of them.
    #[serde(default)]
    cache_creation_tokens: TokenCount,
    #[serde(default)]
    cache_creation_token_details: CacheCreation,
    #[serde(default)]
    audio_tokens: TokenCount,
    #[serde(default)]
    image_tokens: TokenCount,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: TokenCount,
    audio_tokens: TokenCount,
    image_tokens: TokenCount,
}

impl PromptDetails {
    fn modality_tokens(&self) -> ModalityTokens {
        ModalityTokens { audio_tokens: self.audio_tokens, image_tokens: self.image_tokens }
    }
}

impl CompletionDetails {
    fn modality_tokens(&self) -> ModalityTokens {
        ModalityTokens { audio_tokens: self.audio_tokens, image_tokens: self.image_tokens }
    }
}

impl OpenAiUsage {
    const ABSENT: Self = Self {
        prompt_tokens: TokenCount::ABSENT,
        completion_tokens: TokenCount::ABSENT,
        prompt_tokens_details: None,
        completion_tokens_details: None,
        prompt_cache_hit_tokens: TokenCount::ABSENT,
        cache_creation_input_tokens: TokenCount::ABSENT,
        cache_creation: CacheCreation::ABSENT,
        server_tool_use: ServerToolUse::ABSENT,
        num_search_queries: TokenCount::ABSENT,
    };

    /// The usage; `None` without counts.
    pub(crate) fn into_usage(self) -> Option<Usage> {
        self.prompt_tokens.or(self.completion_tokens).get()?;
        let details = self.prompt_tokens_details.unwrap_or_default();
        let completion_details = self.completion_tokens_details.unwrap_or_default();
        let (prompt, answer) = (details.modality_tokens(), completion_details.modality_tokens());
        let mut extra = modality_counts(prompt, answer);
        let searches = self.server_tool_use.web_search_requests.or(self.num_search_queries);
        extra.0[ExtraCount::SEARCHES] = searches.or_zero();
        let creation = self.cache_creation.updated_by(details.cache_creation_token_details);
        let written = details.cache_write_tokens.or(details.cache_creation_tokens).or(self.cache_creation_input_tokens);
        Some(Usage {
            prompt_tokens: self.prompt_tokens.or_zero(),
            cached_tokens: details.cached_tokens.or(self.prompt_cache_hit_tokens).or_zero(),
            cache_write_tokens: written.get().unwrap_or_else(|| creation.total()),
            cache_write_1h_tokens: creation.hour(),
            completion_tokens: self.completion_tokens.or_zero(),
            reasoning_tokens: completion_details.reasoning_tokens.get(),
            extra,
            service_tier: None,
        })
    }
}
