//! Token counts of an answer.

/// Token counts of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: u64,
    /// The part of `prompt_tokens` that was read from the prefix cache.
    pub cached_tokens: u64,
    /// The part of `prompt_tokens` that was written to the cache of a provider that
    /// charges for writes.
    pub cache_write_tokens: u64,
    /// The part of `cache_write_tokens` that the cache keeps for an hour, which costs more than the
    /// usual five minutes.
    pub cache_write_1h_tokens: u64,
    /// All generated tokens, reasoning and the end token included.
    pub completion_tokens: u64,
    /// The part of `completion_tokens` between the think markers; `None` outside thinking mode.
    pub reasoning_tokens: Option<u64>,
    /// The counts of what is not text.
    pub extra: ExtraCounts,
    /// The service tier that answered; `None` for the standard one.
    pub service_tier: Option<ServiceTier>,
}

/// A count of a usage beside those of text, which may have a price of its own. Another one is
/// another row of [`ExtraCount::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtraCount {
    /// The name in usage records and cost lines.
    pub name: &'static str,
    /// The name in a price file: dollars per million tokens, or for each where it is a part of
    /// nothing.
    pub price: &'static str,
    /// The count that it is a part of.
    pub part_of: Option<Total>,
}

/// A count that has parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    Prompt,
    Completion,
}

impl ExtraCount {
    pub const AUDIO_PROMPT: usize = 0;
    pub const IMAGE_PROMPT: usize = 1;
    pub const AUDIO_COMPLETION: usize = 2;
    pub const IMAGE_COMPLETION: usize = 3;
    pub const SEARCHES: usize = 4;

    /// All counts, at the indices of the constants above.
    pub const ALL: [Self; 5] = [
        Self { name: "audio_prompt_tokens", price: "audio_input", part_of: Some(Total::Prompt) },
        Self { name: "image_prompt_tokens", price: "image_input", part_of: Some(Total::Prompt) },
        Self { name: "audio_completion_tokens", price: "audio_output", part_of: Some(Total::Completion) },
        Self { name: "image_completion_tokens", price: "image_output", part_of: Some(Total::Completion) },
        Self { name: "searches", price: "per_search", part_of: None },
    ];
}

/// The values of [`ExtraCount::ALL`], in the same order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraCounts(pub [u64; ExtraCount::ALL.len()]);

impl ExtraCounts {
    /// The counts that are not 0.
    pub fn iter(&self) -> impl Iterator<Item = (&'static ExtraCount, u64)> {
        ExtraCount::ALL.iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

/// A service tier with prices of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceTier {
    /// Slower and cheaper.
    Flex,
    /// Faster and dearer.
    Priority,
}

impl ServiceTier {
    pub const ALL: [Self; 2] = [Self::Flex, Self::Priority];

    /// The name in the APIs of OpenAI and Anthropic.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }

    /// The tier with this name; `None` for the standard one, which has many names.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == name)
    }
}

impl Usage {
    /// No tokens at all.
    pub const ZERO: Self = Self {
        prompt_tokens: 0,
        cached_tokens: 0,
        cache_write_tokens: 0,
        cache_write_1h_tokens: 0,
        completion_tokens: 0,
        reasoning_tokens: None,
        extra: ExtraCounts([0; ExtraCount::ALL.len()]),
        service_tier: None,
    };
    /// Marks a count of a provider that is not one: negative, a fraction, text, or out of range. An
    /// answer never has this many tokens.
    pub const INVALID_COUNT: u64 = u64::MAX;
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let reasoning_tokens = match (self.reasoning_tokens, other.reasoning_tokens) {
            (None, None) => None,
            (some, other) => Some(some.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        Self {
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_add(other.cache_write_tokens),
            cache_write_1h_tokens: self.cache_write_1h_tokens.saturating_add(other.cache_write_1h_tokens),
            cached_tokens: self.cached_tokens.saturating_add(other.cached_tokens),
            completion_tokens: self.completion_tokens.saturating_add(other.completion_tokens),
            reasoning_tokens,
            extra: ExtraCounts(std::array::from_fn(|index| self.extra.0[index].saturating_add(other.extra.0[index]))),
            service_tier: self.service_tier.or(other.service_tier),
        }
    }
}
