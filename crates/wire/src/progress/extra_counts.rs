//! Counts beside those of text: audio, images, and searches that a provider made; and the service
//! tier.

use chat::{ExtraCount, ExtraCounts, ServiceTier};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::token_count::TokenCount;

/// The counts at these indices of [`ExtraCount::ALL`]. Absent ones are 0.
pub(super) fn extra_counts(counts: &[(usize, TokenCount)]) -> ExtraCounts {
    let mut extra = ExtraCounts::default();
    for (index, count) in counts {
        extra.0[*index] = count.or_zero();
    }
    extra
}

/// Reads a part of a usage. One of another form counts nothing, and leaves the other counts valid.
pub(crate) fn lenient<'de, T: Default + DeserializeOwned, D: Deserializer<'de>>(json: D) -> Result<T, D::Error> {
    let part = Box::<RawValue>::deserialize(json)?;
    Ok(serde_json::from_str(part.get()).unwrap_or_default())
}

/// The tools that a provider has run, as Anthropic counts them.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServerToolUse {
    pub(super) web_search_requests: TokenCount,
}

impl ServerToolUse {
    pub(crate) const ABSENT: Self = Self { web_search_requests: TokenCount::ABSENT };

    /// These counts, replaced by those of a later event as far as it has them.
    pub(super) fn updated_by(self, later: Self) -> Self {
        Self { web_search_requests: later.web_search_requests.or(self.web_search_requests) }
    }
}

/// The tokens of each modality, as OpenAI counts them in prompts and answers.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ModalityTokens {
    pub(crate) audio_tokens: TokenCount,
    pub(crate) image_tokens: TokenCount,
}

impl ModalityTokens {
    pub(crate) const ABSENT: Self = Self { audio_tokens: TokenCount::ABSENT, image_tokens: TokenCount::ABSENT };
}

/// The counts of the prompt and of the answer.
pub(crate) fn modality_counts(prompt: ModalityTokens, answer: ModalityTokens) -> ExtraCounts {
    extra_counts(&[
        (ExtraCount::AUDIO_PROMPT, prompt.audio_tokens),
        (ExtraCount::IMAGE_PROMPT, prompt.image_tokens),
        (ExtraCount::AUDIO_COMPLETION, answer.audio_tokens),
        (ExtraCount::IMAGE_COMPLETION, answer.image_tokens),
    ])
}

/// Gemini's list of the tokens of each modality.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "Vec<ModalityCount>")]
pub(super) struct ModalityList(pub(super) ModalityTokens);

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ModalityCount {
    modality: String,
    token_count: TokenCount,
}

impl From<Vec<ModalityCount>> for ModalityList {
    fn from(counts: Vec<ModalityCount>) -> Self {
        let of = |name: &str| {
            let own = counts.iter().find(|count| count.modality == name);
            own.map_or(TokenCount::ABSENT, |count| count.token_count)
        };
        Self(ModalityTokens { audio_tokens: of("AUDIO"), image_tokens: of("IMAGE") })
    }
}

/// The service tier of a usage.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "String")]
pub(super) struct Tier(pub(super) Option<ServiceTier>);

impl From<String> for Tier {
    fn from(name: String) -> Self {
        Self(ServiceTier::parse(&name))
    }
}

#[cfg(test)]
mod tests {
    use chat::Usage;

    use super::*;
    use crate::progress::{AnswerFormat, ProgressReader};

    /// The counts that are not 0, by name, and the service tier.
    fn extras(format: AnswerFormat, body: &str) -> (Vec<(&'static str, u64)>, Option<ServiceTier>) {
        let mut reader = ProgressReader::new(format);
        reader.read_body(body.as_bytes());
        let usage: Usage = reader.into_progress().usage.expect(body);
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (90, 40), "{body}");
        (usage.extra.iter().map(|(count, value)| (count.name, value)).collect(), usage.service_tier)
    }

    #[test]
    fn openai_counts_audio_images_and_searches() {
        let chat = |usage: &str, more: &str| {
            let body = format!(
                r#"{{"choices":[{{"message":{{"content":"x"}},"finish_reason":"stop"}}],{more}"usage":{{"prompt_tokens":90,"completion_tokens":40,{usage}}}}}"#
            );
            extras(AnswerFormat::ChatCompletions, &body)
        };
        let details = r#""prompt_tokens_details":{"audio_tokens":7,"image_tokens":5,"cached_tokens":1},"completion_tokens_details":{"audio_tokens":3,"image_tokens":2,"reasoning_tokens":0}"#;
        let expected = [
            ("audio_prompt_tokens", 7),
            ("image_prompt_tokens", 5),
            ("audio_completion_tokens", 3),
            ("image_completion_tokens", 2),
        ];
        assert_eq!(chat(details, r#""service_tier":"priority","#), (expected.to_vec(), Some(ServiceTier::Priority)));
        for searches in [r#""server_tool_use":{"web_search_requests":4}"#, r#""num_search_queries":4"#] {
            assert_eq!(chat(searches, r#""service_tier":"default","#), (vec![("searches", 4)], None));
        }
        let odd = r#""server_tool_use":[],"num_search_queries":null,"prompt_tokens_details":null"#;
        assert_eq!(chat(odd, r#""service_tier":null,"#), (vec![], None));
    }

    #[test]
    fn responses_count_the_searches_among_their_items() {
        let body = r#"{"status":"completed","service_tier":"flex","output":[{"type":"web_search_call"},{"type":"message","content":[{"type":"output_text","text":"x"}]},
            {"type":"web_search_call"}],"usage":{"input_tokens":90,"output_tokens":40,"input_tokens_details":{"image_tokens":6}}}"#;
        let expected = vec![("image_prompt_tokens", 6), ("searches", 2)];
        assert_eq!(extras(AnswerFormat::Responses, body), (expected, Some(ServiceTier::Flex)));
    }

    #[test]
    fn anthropic_counts_searches_and_names_the_tier() {
        let body = |usage: &str| {
            format!(
                r#"{{"type":"message","content":[{{"type":"text","text":"x"}}],"stop_reason":"end_turn","usage":{{"input_tokens":90,"output_tokens":40,{usage}}}}}"#
            )
        };
        let counted =
            body(r#""server_tool_use":{"web_search_requests":2,"web_fetch_requests":1},"service_tier":"priority""#);
        assert_eq!(extras(AnswerFormat::Messages, &counted), (vec![("searches", 2)], Some(ServiceTier::Priority)));
        for odd in [r#""server_tool_use":null,"service_tier":null"#, r#""server_tool_use":3,"service_tier":{}"#] {
            assert_eq!(extras(AnswerFormat::Messages, &body(odd)), (vec![], None));
        }
    }

    #[test]
    fn gemini_lists_the_modalities() {
        let body = |usage: &str| {
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"x"}}]}},"finishReason":"STOP"}}],"usageMetadata":{{"promptTokenCount":90,"candidatesTokenCount":40,{usage}}}}}"#
            )
        };
        let listed = body(
            r#""promptTokensDetails":[{"modality":"TEXT","tokenCount":30},{"modality":"AUDIO","tokenCount":60}],"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":40}]"#,
        );
        let expected = vec![("audio_prompt_tokens", 60), ("image_completion_tokens", 40)];
        assert_eq!(extras(AnswerFormat::GenerateContent, &listed), (expected, None));
        let odd = body(r#""promptTokensDetails":{"modality":1},"candidatesTokensDetails":[7]"#);
        assert_eq!(extras(AnswerFormat::GenerateContent, &odd), (vec![], None));
    }
}
