//! Reasoning with the signature that its provider requires when the reasoning is sent back.

/// A piece of reasoning and the provider's signature of it, as an answer has it and as clients
/// return it in their histories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReasoning {
    pub format: SignatureFormat,
    /// A tag of the provider that has signed, set by the gateway. Signatures of Claude are valid
    /// wherever Claude is served, and need none.
    pub provider: String,
    /// The reasoning. Empty where only the provider can read it.
    pub text: String,
    /// The id of the call that the reasoning led to, if the provider ties it to one.
    pub call: Option<String>,
    /// The signature, or the encrypted reasoning itself.
    pub signature: String,
}

/// The kind of provider that can verify a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFormat {
    /// Claude, at Anthropic and in clouds.
    Anthropic,
    /// OpenAI's Responses API.
    Responses,
    Gemini,
    /// A service that this server has no dialect for.
    Other,
}

impl SignedReasoning {
    /// Claude's signature of a text, or with an empty text the data of its `redacted_thinking`.
    pub fn of_claude(text: String, signature: String) -> Self {
        Self { format: SignatureFormat::Anthropic, provider: String::new(), text, call: None, signature }
    }

    /// Whether the provider keeps the reasoning from its callers (Anthropic's `redacted_thinking`).
    pub fn is_redacted(&self) -> bool {
        self.format == SignatureFormat::Anthropic && self.text.is_empty()
    }

    /// The approximate number of bytes on the heap.
    pub fn memory_bytes(&self) -> usize {
        let call = self.call.as_ref().map_or(0, String::len);
        self.provider.len() + self.text.len() + call + self.signature.len()
    }
}
