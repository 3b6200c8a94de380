//! The rules by which a chat is validated.

/// The limits of the loaded model and of the operator's settings.
#[derive(Clone, Debug)]
pub struct ValidationRules {
    /// Maximum number of tokens of prompt and answer together.
    pub context: u32,
    /// The encoding has a thinking mode.
    pub supports_thinking: bool,
    /// The encoding has a non-thinking mode.
    pub supports_non_thinking: bool,
    pub profile: Profile,
    pub reasoning_rules: ReasoningRules,
    /// The model can attend to selected positions only.
    pub has_sparse_attention: bool,
    /// The number of token ids; each id is smaller.
    pub vocab_size: u32,
}

/// How closely validation follows DeepSeek's own service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Refuses what the service refuses.
    DeepSeek,
    /// Accepts some requests that the service refuses, with a note.
    #[default]
    Lenient,
}

/// The rules for reasoning and tools in thinking mode, named after the release that had them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningRules {
    /// Thinking and tool calls in one answer; the client sends the reasoning of the current turn
    /// back with its calls.
    #[default]
    V32,
    /// Reasoning in the input is ignored; a thinking request with tools is answered
    /// without thinking.
    V32Exp,
    /// Reasoning in the input is ignored; a thinking request with tools is refused.
    R1,
}
