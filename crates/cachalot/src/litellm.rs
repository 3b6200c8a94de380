//! Provider names of LiteLLM, and TOML text for the imports of its files.

use serde_json::Value;

/// LiteLLM's name of a provider and ours, where they differ.
const PROVIDER_NAMES: [(&str, &str); 9] = [
    ("together_ai", "together"),
    ("fireworks_ai", "fireworks"),
    ("nvidia_nim", "nvidia"),
    ("zai", "zhipu"),
    ("text-completion-openai", "openai"),
    ("hosted_vllm", "vllm"),
    ("ollama_chat", "ollama"),
    ("openai_like", "openai"),
    ("custom_openai", "openai"),
];

/// Our name of a provider of LiteLLM's.
pub fn provider_name(provider: &str) -> &str {
    PROVIDER_NAMES.iter().find(|(theirs, _)| *theirs == provider).map_or(provider, |(_, ours)| ours)
}

/// The TOML string of `text`: TOML accepts JSON's escapes.
pub fn toml_quoted(text: &str) -> String {
    Value::from(text).to_string()
}
