//! What an answer cost in tokens.

/// Token counts of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: u64,
    /// The part of `prompt_tokens` that was read from the prefix cache.
    pub cached_tokens: u64,
    /// Everything generated, reasoning and the end token included.
    pub completion_tokens: u64,
    /// The part of `completion_tokens` between the think markers; `None` outside thinking mode.
    pub reasoning_tokens: Option<u64>,
}
