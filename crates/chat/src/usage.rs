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
}

impl Usage {
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
        }
    }
}
