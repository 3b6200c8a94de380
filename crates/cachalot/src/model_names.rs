//! Names that name no model here: of which other program or provider they are, and the nearest name
//! that works.

use crate::builtin_providers::is_builtin;

/// Releases of the family by the names that people give them, each with its name on the hub.
const RELEASES: [(&str, &str); 9] = [
    ("deepseek-v3.2-exp", "deepseek-ai/DeepSeek-V3.2-Exp"),
    ("deepseek-v3.2-speciale", "deepseek-ai/DeepSeek-V3.2-Speciale"),
    ("deepseek-v3.2", "deepseek-ai/DeepSeek-V3.2"),
    ("deepseek-v3.1-terminus", "deepseek-ai/DeepSeek-V3.1-Terminus"),
    ("deepseek-v3.1", "deepseek-ai/DeepSeek-V3.1"),
    ("deepseek-v3-0324", "deepseek-ai/DeepSeek-V3-0324"),
    ("deepseek-v3", "deepseek-ai/DeepSeek-V3"),
    ("deepseek-r1-0528", "deepseek-ai/DeepSeek-R1-0528"),
    ("deepseek-r1", "deepseek-ai/DeepSeek-R1"),
];

/// Beginnings of providers' model ids.
const PROVIDER_MODELS: [(&str, &str); 10] = [
    ("gpt", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("chatgpt", "openai"),
    ("claude", "anthropic"),
    ("gemini", "gemini"),
    ("deepseek-chat", "deepseek"),
    ("deepseek-reasoner", "deepseek"),
    ("grok", "xai"),
];

/// Explains a name that is neither a folder nor `ORG/NAME`, as the rest of a sentence that begins
/// with it; `None` where it is not known.
pub(crate) fn explain(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if let Some(id) = id_of_address(name) {
        return Some(format!("is an address: give the model's name, `{id}`"));
    }
    if lower.ends_with(".gguf") {
        return Some(format!(
            "does not exist, and would be a GGUF file, which is for llama.cpp and Ollama: this program reads checkpoints of safetensors files, such as those of `cachalot pull {}`",
            release_in(&lower).unwrap_or("deepseek-ai/DeepSeek-V3.2")
        ));
    }
    if name.contains('/') {
        return None;
    }
    if let Some((model, _)) = lower.split_once(':') {
        let nearest = release_in(model).map_or_else(String::new, |id| format!(": the nearest is `cachalot pull {id}`"));
        return Some(format!("is a name of Ollama's library, whose models this program does not read{nearest}"));
    }
    if let Some((_, provider)) = PROVIDER_MODELS.into_iter().find(|(start, _)| begins_with(&lower, start)) {
        return Some(format!("is a model of the provider `{provider}`: {}", provider_remedy(provider)));
    }
    let id = RELEASES.into_iter().find(|(release, _)| *release == lower).map(|(_, id)| id)?;
    Some(format!("is not a folder; on the hub the model is `{id}`: `cachalot pull {id}`"))
}

/// The hint for a name `ORG/NAME` whose first part is a provider's name.
pub(crate) fn provider_hint(org: &str) -> Option<String> {
    is_builtin(org).then(|| format!("`{org}` is also a provider: {}", provider_remedy(org)))
}

fn provider_remedy(provider: &str) -> String {
    format!(
        "add `[[providers]]` with `name = \"{provider}\"` to cachalot.toml and run `cachalot serve --model none` (docs/gateway.md)"
    )
}

/// Whether a model id is `start`, or goes on with a hyphen behind it.
fn begins_with(id: &str, start: &str) -> bool {
    id.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The release that a name contains; the longest where there are several.
fn release_in(lower: &str) -> Option<&'static str> {
    RELEASES.into_iter().find(|(release, _)| lower.contains(release)).map(|(_, id)| id)
}

/// The name in an address of a hub's page, such as `https://huggingface.co/ORG/NAME/tree/main`.
fn id_of_address(text: &str) -> Option<String> {
    let rest = ["https://", "http://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    let rest =
        rest.or_else(|| ["hf.co/", "huggingface.co/"].iter().any(|host| text.starts_with(host)).then_some(text))?;
    let mut parts = rest.split(['/', '?', '#']).skip(1);
    let id = format!("{}/{}", parts.next()?, parts.next()?);
    id.parse::<hub::ModelId>().ok().map(|id| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_programs_are_explained() {
        for (name, words) in [
            ("https://huggingface.co/deepseek-ai/DeepSeek-R1/tree/main", "`deepseek-ai/DeepSeek-R1`"),
            ("hf.co/unsloth/DeepSeek-R1-GGUF", "`unsloth/DeepSeek-R1-GGUF`"),
            ("DeepSeek-V3.1-Q4_K_M.gguf", "`cachalot pull deepseek-ai/DeepSeek-V3.1`"),
            ("models/x.gguf", "GGUF"),
            (
                "deepseek-r1:671b",
                "Ollama's library, whose models this program does not read: the nearest is `cachalot pull deepseek-ai/DeepSeek-R1`",
            ),
            ("llama3:8b", "Ollama"),
            ("gpt-5.2", "the provider `openai`"),
            ("claude-opus-4-7", "name = \"anthropic\""),
            ("deepseek-chat", "the provider `deepseek`"),
            ("DeepSeek-V3.2", "`cachalot pull deepseek-ai/DeepSeek-V3.2`"),
            ("deepseek-r1-0528", "deepseek-ai/DeepSeek-R1-0528"),
        ] {
            let explanation = explain(name).unwrap_or_default();
            assert!(explanation.contains(words), "{name}: {explanation}");
        }
        for name in ["deepseek-ai/DeepSeek-V3.2", "none-such", "o1abc", "models/fixture", ""] {
            assert_eq!(explain(name), None, "{name}");
        }
    }

    #[test]
    fn every_provider_named_is_built_in() {
        for (_, provider) in PROVIDER_MODELS {
            assert!(provider_hint(provider).is_some_and(|hint| hint.contains(provider)), "{provider}");
        }
        assert_eq!(provider_hint("deepseek-ai"), None);
    }
}
