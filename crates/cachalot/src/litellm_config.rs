//! Converts LiteLLM's `config.yaml` to a `cachalot.toml`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use anyhow::{Result, anyhow, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::builtin_providers;
use crate::litellm::{provider_name, toml_quoted};

/// Prefixes of model names that LiteLLM accepts without a provider, and our name of the provider.
const MODEL_PREFIXES: [(&str, &str); 9] = [
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-", "openai"),
    ("claude-", "anthropic"),
    ("deepseek-", "deepseek"),
    ("grok-", "xai"),
];

/// LiteLLM's name of a routing strategy, and our value of `routing`.
const ROUTING_STRATEGIES: [(&str, &str); 3] =
    [("simple-shuffle", "weight"), ("latency-based-routing", "latency"), ("cost-based-routing", "price")];

#[derive(Deserialize)]
struct LiteLlmConfig {
    #[serde(default)]
    model_list: Vec<Deployment>,
    #[serde(default)]
    router_settings: RouterSettings,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RouterSettings {
    routing_strategy: Option<String>,
    model_group_alias: BTreeMap<String, Value>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Deployment {
    model_name: String,
    litellm_params: Parameters,
}

#[derive(Deserialize)]
struct Parameters {
    model: String,
    #[serde(alias = "base_url")]
    api_base: Option<String>,
    api_key: Option<String>,
    custom_llm_provider: Option<String>,
    weight: Option<f64>,
    order: Option<i64>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// The settings that all models of a `[[providers]]` block share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct BlockKey {
    preset: String,
    base_url: Option<String>,
    key_env: Option<String>,
    priority: i64,
    weight: u32,
}

/// One `[[providers]]` block.
#[derive(Debug)]
struct ProviderBlock {
    key: BlockKey,
    /// Whether it offers the provider's own list of models.
    all_models: bool,
    models: Vec<String>,
    rename: BTreeMap<String, String>,
}

/// The blocks in the order of the file, with an index by their key.
#[derive(Debug, Default)]
struct ProviderBlocks {
    blocks: Vec<ProviderBlock>,
    by_key: HashMap<BlockKey, BlockGroup>,
}

/// The blocks with one key.
#[derive(Debug, Default)]
struct BlockGroup {
    block_indices: Vec<usize>,
    /// The number of blocks that have a model of this name: always the first ones.
    blocks_with_model: HashMap<String, usize>,
}

impl ProviderBlocks {
    /// Adds a model under a name to the first block with this key that does not have the name yet.
    fn add(&mut self, key: BlockKey, name: &str, model: &str) {
        let group = self.by_key.entry(key.clone()).or_default();
        let block_number = group.blocks_with_model.get(name).copied().unwrap_or(0);
        if block_number == group.block_indices.len() {
            group.block_indices.push(self.blocks.len());
            self.blocks.push(ProviderBlock { key, all_models: false, models: Vec::new(), rename: BTreeMap::new() });
        }
        let block = &mut self.blocks[group.block_indices[block_number]];
        match model {
            // A wildcard does not have a name.
            "*" => return block.all_models = true,
            _ if model == name => block.models.push(name.into()),
            _ => _ = block.rename.insert(name.into(), model.into()),
        }
        group.blocks_with_model.insert(name.to_owned(), block_number + 1);
    }
}

/// Converts LiteLLM's configuration to ours. Comments at the top list what was not converted. API
/// keys are never copied.
///
/// # Errors
/// Text that is not LiteLLM's configuration, or without a model that can be converted.
pub fn import(text: &str) -> Result<String> {
    // The parser's own message may quote an API key.
    let file: LiteLlmConfig = serde_saphyr::from_str(text).map_err(|error| match error.location() {
        Some(at) => anyhow!("it is not LiteLLM's config.yaml: see line {}, column {}", at.line(), at.column()),
        None => anyhow!("it is not LiteLLM's config.yaml"),
    })?;
    ensure!(!file.model_list.is_empty(), "it has no `model_list`");
    let mut blocks = ProviderBlocks::default();
    let mut skipped = Vec::new();
    for Deployment { model_name, litellm_params } in &file.model_list {
        if let Err(reason) = convert_deployment(model_name, litellm_params, &mut blocks, &mut skipped) {
            skipped.push(format!("model `{model_name}`: {reason}"));
        }
    }
    let blocks = blocks.blocks;
    ensure!(!blocks.is_empty(), "none of its models can be converted: {}", skipped.join("; "));
    let routing = convert_routing(&file.router_settings, &mut skipped);
    for (section, settings) in &file.rest {
        match settings.as_object() {
            Some(settings) => skipped.extend(settings.keys().map(|key| format!("`{section}.{key}`"))),
            None => skipped.push(format!("`{section}`")),
        }
    }
    let aliases = convert_aliases(&file.router_settings, &mut skipped);

    let mut out =
        String::from("# Converted from LiteLLM's config.yaml. `cachalot key add` makes the keys of callers.\n");
    if !skipped.is_empty() {
        out.push_str("# Not converted:\n");
        skipped.iter().for_each(|item| out.push_str(&format!("#   {}\n", item.replace(char::is_control, " "))));
    }
    if let Some(routing) = routing {
        write!(out, "\n[gateway]\nrouting = {}\n", toml_quoted(routing))?;
    }
    let mut blocks_by_preset = HashMap::<&str, usize>::new();
    for block in &blocks {
        let earlier = blocks_by_preset.entry(&block.key.preset).or_default();
        write_block(block, *earlier, &mut out)?;
        *earlier += 1;
    }
    if !aliases.is_empty() {
        out.push_str("\n[aliases]\n");
        for (alias, target) in aliases {
            writeln!(out, "{} = {}", toml_quoted(alias), toml_quoted(target))?;
        }
    }
    Ok(out)
}

/// Our value of `routing`, where LiteLLM's strategy has one.
fn convert_routing(settings: &RouterSettings, skipped: &mut Vec<String>) -> Option<&'static str> {
    let strategy = settings.routing_strategy.as_deref();
    let routing = strategy.and_then(|strategy| ROUTING_STRATEGIES.iter().find(|(theirs, _)| *theirs == strategy));
    if let (Some(strategy), None) = (strategy, routing) {
        skipped.push(format!(
            "`routing_strategy: {strategy}`; among equal providers the busiest one is avoided in any case"
        ));
    }
    skipped.extend(settings.rest.keys().map(|key| format!("`router_settings.{key}`")));
    routing.map(|(_, ours)| *ours)
}

fn convert_aliases<'a>(settings: &'a RouterSettings, skipped: &mut Vec<String>) -> BTreeMap<&'a str, &'a str> {
    let mut aliases = BTreeMap::new();
    for (alias, target) in &settings.model_group_alias {
        match target.as_str().or(target["model"].as_str()) {
            Some(target) => _ = aliases.insert(alias.as_str(), target),
            None => skipped.push(format!("`model_group_alias.{alias}`")),
        }
    }
    aliases
}

/// Adds a deployment to the blocks.
///
/// # Errors
/// The reason why it cannot be converted.
fn convert_deployment(
    name: &str,
    parameters: &Parameters,
    blocks: &mut ProviderBlocks,
    skipped: &mut Vec<String>,
) -> Result<(), String> {
    let (prefix, model) = match (&parameters.custom_llm_provider, parameters.model.split_once('/')) {
        (Some(provider), _) => (provider.as_str(), parameters.model.as_str()),
        (None, Some((prefix, model))) => (prefix, model),
        (None, None) => {
            let known = MODEL_PREFIXES.iter().find(|(prefix, _)| parameters.model.starts_with(prefix));
            let known = known.map(|(_, provider)| (*provider, parameters.model.as_str()));
            known.ok_or_else(|| format!("the provider of `{}` is not named", parameters.model))?
        }
    };
    let preset = provider_name(prefix);
    if !builtin_providers::is_builtin(preset) {
        return Err(format!(
            "the provider `{prefix}` is not built in; if it supports chat completions, add it by its `base_url` and `dialect`"
        ));
    }
    if builtin_providers::is_cloud(preset) {
        return Err(format!(
            "the provider `{prefix}` is a cloud: its block needs an address of your own (docs/gateway.md)"
        ));
    }
    let key_env = match parameters.api_key.as_deref() {
        None => None,
        Some(key) => match key.strip_prefix("os.environ/") {
            Some(variable) => Some(variable.to_owned()),
            // LiteLLM's file has a dummy key for engines that need none.
            None if builtin_providers::needs_no_key(preset) => None,
            None => {
                let variable = format!("{}_API_KEY", preset.to_uppercase().replace('-', "_"));
                skipped.push(format!("the key of `{name}`, which the file holds: put it into `{variable}`"));
                Some(variable)
            }
        },
    };
    skipped.extend(parameters.rest.keys().map(|key| format!("`{key}` of the model `{name}`")));
    let weight = parameters.weight.unwrap_or(1.0).clamp(1.0, 1e6) as u32;
    let base_url = parameters.api_base.as_deref().map(|base| versioned_base_url(preset, base));
    let key = BlockKey { preset: preset.into(), base_url, key_env, priority: parameters.order.unwrap_or(0), weight };
    blocks.add(key, name, model);
    Ok(())
}

/// The base URL with its version, which LiteLLM itself adds for some providers.
fn versioned_base_url(preset: &str, base: &str) -> String {
    let base = base.trim_end_matches('/');
    let versioned = base.ends_with("/v1") || !["anthropic", "ollama", "vllm"].contains(&preset);
    if versioned { base.into() } else { format!("{base}/v1") }
}

fn write_block(block: &ProviderBlock, earlier: usize, out: &mut String) -> std::fmt::Result {
    let ProviderBlock { key, all_models, models, rename } = block;
    let BlockKey { preset, base_url, key_env, priority, weight } = key;
    out.push_str("\n[[providers]]\n");
    match earlier {
        0 => writeln!(out, "name = {}", toml_quoted(preset))?,
        earlier => writeln!(
            out,
            "name = {}\npreset = {}",
            toml_quoted(&format!("{preset}-{}", earlier + 1)),
            toml_quoted(preset)
        )?,
    }
    if let Some(base_url) = base_url {
        writeln!(out, "base_url = {}", toml_quoted(base_url))?;
        if preset == "openai" {
            // Services that imitate OpenAI's accept more than it does.
            out.push_str("dialect = \"deepseek\"\n");
        }
        if base_url.starts_with("http:") {
            out.push_str("private = true\n");
        }
    }
    // A block must name the variable of a built-in provider to send its key to another address.
    let builtin_key_env = || builtin_providers::key_env_of(preset).filter(|_| base_url.is_some());
    if let Some(key_env) = key_env.as_deref().or_else(builtin_key_env) {
        writeln!(out, "key_env = {}", toml_quoted(key_env))?;
    }
    if *priority != 0 {
        writeln!(out, "priority = {priority}")?;
    }
    if *weight != 1 {
        writeln!(out, "weight = {weight}")?;
    }
    if !all_models {
        writeln!(out, "models = {}", Value::from(models.clone()))?;
    }
    if !rename.is_empty() {
        let pairs: Vec<_> =
            rename.iter().map(|(id, name)| format!("{} = {}", toml_quoted(id), toml_quoted(name))).collect();
        writeln!(out, "rename = {{ {} }}", pairs.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const FILE: &str = r#"
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 60}
  - model_name: fast
    litellm_params:
      model: openai/gpt-4o-mini
      api_key: os.environ/OPENAI_API_KEY
  - model_name: claude
    litellm_params: {model: claude-sonnet-4-5, api_key: "sk-ant-literal"}
  - model_name: deepseek-v3.2
    litellm_params: {model: hosted_vllm/deepseek-ai/DeepSeek-V3.2, api_base: "http://10.0.0.5:8000", api_key: none, weight: 3}
  - model_name: deepseek-v3.2
    litellm_params: {model: hosted_vllm/deepseek-ai/DeepSeek-V3.2, api_base: "http://10.0.0.6:8000/v1", order: 2}
  - model_name: "openrouter/*"
    litellm_params: {model: "openrouter/*", api_key: os.environ/OPENROUTER_API_KEY}
  - model_name: own
    litellm_params: {model: openai/own-7b, api_base: "https://llm.example.org/v1", api_key: os.environ/OWN_KEY}
  - model_name: cloud
    litellm_params: {model: bedrock/anthropic.claude, aws_region_name: us-east-1}
router_settings:
  routing_strategy: latency-based-routing
  model_group_alias: {gpt-4: gpt-4o, hidden: {model: fast, hidden: true}}
  num_retries: 2
litellm_settings:
  drop_params: true
general_settings:
  master_key: sk-1234
"#;

    #[test]
    fn a_file_of_litellm_becomes_a_cachalot_toml() {
        let text = import(FILE).unwrap();
        assert!(!text.contains("literal") && !text.contains("sk-1234"), "{text}");
        let config: Config = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let [openai, anthropic, first, second, router, own] = &config.providers[..] else { panic!("{text}") };
        assert_eq!((openai.name.as_str(), openai.key_env.as_deref()), ("openai", Some("OPENAI_API_KEY")));
        assert_eq!((openai.models.as_deref(), &*openai.rename["fast"]), (Some(&["gpt-4o".into()][..]), "gpt-4o-mini"));
        assert_eq!(
            (&*anthropic.rename["claude"], anthropic.key_env.as_deref()),
            ("claude-sonnet-4-5", Some("ANTHROPIC_API_KEY"))
        );
        assert_eq!((first.base_url.as_deref(), first.weight), (Some("http://10.0.0.5:8000/v1"), 3));
        assert_eq!((first.private, first.key_env.as_deref()), (Some(true), None));
        assert_eq!((second.name.as_str(), second.preset.as_deref(), second.priority), ("vllm-2", Some("vllm"), 2));
        assert_eq!(second.rename["deepseek-v3.2"], "deepseek-ai/DeepSeek-V3.2");
        assert_eq!((router.name.as_str(), &router.models), ("openrouter", &None));
        assert_eq!((own.name.as_str(), own.dialect), ("openai-2", Some(wire::upstream::Dialect::DeepSeek)));
        assert_eq!(config.gateway.routing, gateway::RoutingPolicy::Latency);
        assert_eq!(
            config.aliases.into_iter().collect::<Vec<_>>(),
            [("gpt-4".into(), "gpt-4o".into()), ("hidden".into(), "fast".into())]
        );
        for expected in [
            "`rpm` of the model `gpt-4o`",
            "bedrock",
            "ANTHROPIC_API_KEY",
            "`router_settings.num_retries`",
            "`litellm_settings.drop_params`",
            "`general_settings.master_key`",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        for (text, word) in [
            ("model_list: [", "config.yaml"),
            ("model_list:\n  - {model_name: x, litellm_params: sk-secret}", "line 2, column"),
            ("a: 1", "model_list"),
            ("model_list: [{model_name: x, litellm_params: {model: azure/x}}]", "azure"),
            ("model_list: [{model_name: x, litellm_params: {model: mystery}}]", "mystery"),
        ] {
            let error = format!("{:#}", import(text).expect_err(text));
            assert!(error.contains(word) && !error.contains("sk-"), "{text}: {error}");
        }
    }
}
