//! Tokens written to a provider's cache, by the time for which it keeps them, as Anthropic and the
//! gateways in front of it count them.

use serde::Deserialize;

use crate::token_count::TokenCount;

/// Anthropic's `cache_creation`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "Option<Counts>")]
pub(crate) struct CacheCreation(Counts);

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    ephemeral_5m_input_tokens: TokenCount,
    ephemeral_1h_input_tokens: TokenCount,
}

impl From<Option<Counts>> for CacheCreation {
    fn from(counts: Option<Counts>) -> Self {
        Self(counts.unwrap_or_default())
    }
}

impl CacheCreation {
    pub(crate) const ABSENT: Self =
        Self(Counts { ephemeral_5m_input_tokens: TokenCount::ABSENT, ephemeral_1h_input_tokens: TokenCount::ABSENT });

    /// These counts, replaced by those of a later event as far as it has them.
    pub(crate) fn updated_by(self, later: Self) -> Self {
        Self(Counts {
            ephemeral_5m_input_tokens: later.0.ephemeral_5m_input_tokens.or(self.0.ephemeral_5m_input_tokens),
            ephemeral_1h_input_tokens: later.0.ephemeral_1h_input_tokens.or(self.0.ephemeral_1h_input_tokens),
        })
    }

    /// Tokens that are kept for an hour.
    pub(crate) fn hour(self) -> u64 {
        self.0.ephemeral_1h_input_tokens.or_zero()
    }

    /// All tokens, where a provider does not give their sum.
    pub(crate) fn total(self) -> u64 {
        self.0.ephemeral_5m_input_tokens.or_zero().saturating_add(self.hour())
    }
}

#[cfg(test)]
mod tests {
    use crate::progress::chat_completions::OpenAiUsage;
    use crate::token_count::ProviderUsage;

    #[test]
    fn gateways_in_front_of_anthropic_spell_them_in_their_own_ways() {
        let written = |fields: &str| {
            let usage = format!(r#"{{"prompt_tokens":9,"completion_tokens":1,{fields}}}"#);
            let usage = OpenAiUsage::parse(&usage).and_then(OpenAiUsage::into_usage).unwrap();
            (usage.prompt_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens)
        };
        for (fields, expected) in [
            (r#""prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":5}"#, (9, 5, 0)),
            (
                r#""prompt_tokens_details":{"cache_creation_tokens":5,"cache_creation_token_details":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":2}}"#,
                (9, 5, 2),
            ),
            (r#""cache_creation_input_tokens":5,"cache_creation":{"ephemeral_1h_input_tokens":4}"#, (9, 5, 4)),
            (r#""cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":4}"#, (9, 5, 4)),
            (r#""cache_creation":null,"prompt_tokens_details":{"cache_creation_token_details":null}"#, (9, 0, 0)),
        ] {
            assert_eq!(written(fields), expected, "{fields}");
        }
    }
}
