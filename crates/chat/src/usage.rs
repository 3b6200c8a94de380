//! What an answer cost in tokens.

/// Token counts of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: u64,
    /// The part of `prompt_tokens` that was read from the prefix cache.
    pub cached_tokens: u64,
    /// The part of `prompt_tokens` that was written to a cache whose provider charges for that.
    pub cache_write_tokens: u64,
    /// Everything generated, reasoning and the end token included.
    pub completion_tokens: u64,
    /// The part of `completion_tokens` between the think markers; `None` outside thinking mode.
    pub reasoning_tokens: Option<u64>,
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let reasoning_tokens = match (self.reasoning_tokens, other.reasoning_tokens) {
            (None, None) => None,
            (some, other) => Some(some.unwrap_or(0) + other.unwrap_or(0)),
        };
        Self {
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            cache_write_tokens: self.cache_write_tokens + other.cache_write_tokens,
            cached_tokens: self.cached_tokens + other.cached_tokens,
            completion_tokens: self.completion_tokens + other.completion_tokens,
            reasoning_tokens,
        }
    }
}
