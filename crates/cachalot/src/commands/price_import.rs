//! `cachalot price import`: converts LiteLLM's price list to a price file.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::builtin_providers;
use crate::litellm::{self, toml_quoted};

/// Converts LiteLLM's list to the entries of a price file.
///
/// # Errors
/// Text that is not LiteLLM's list; a list in which none of the providers has a price.
pub fn import(text: &str, providers: Option<&[String]>, date: &str) -> Result<String> {
    let list: BTreeMap<String, Value> = serde_json::from_str(text).context("it is not LiteLLM's price list")?;
    let known = |name: &str| match providers {
        Some(names) => names.iter().any(|other| other == name),
        // The prices of clouds differ by region.
        None => {
            let is_priced = !builtin_providers::needs_no_key(name) && !builtin_providers::is_cloud(name);
            builtin_providers::is_builtin(name) && is_priced
        }
    };
    let mut entries = BTreeMap::new();
    for (id, model) in &list {
        let Some(provider) = model["litellm_provider"].as_str() else { continue };
        let name = litellm::provider_name(provider);
        let id = id.strip_prefix(&format!("{provider}/")).unwrap_or(id);
        // Entries such as `1024-x-1024/dall-e-3` price a model by the size of its images. They are
        // not ids of models.
        if !known(name) || id.contains("-x-") {
            continue;
        }
        if let Some(amounts) = parse_prices(model) {
            entries.insert((name, id), price_entry(name, id, model["source"].as_str(), date, &amounts));
        }
    }
    ensure!(!entries.is_empty(), "no model of these providers has a price in it");
    let head = format!(
        "# Prices of LiteLLM's list of {date}, in US dollars per million tokens. Made by `cachalot price import`.\n\n"
    );
    Ok(entries.into_values().fold(head, |file, entry| file + &entry))
}

/// Dollars by our name of the price.
type Dollars = BTreeMap<&'static str, f64>;

/// The prices and sizes of a model.
struct ModelPrices {
    base: Dollars,
    /// Prices of longer prompts, by the number of tokens above which they hold.
    above: BTreeMap<u64, Dollars>,
    /// Prices of service tiers, by their names and the number of prompt tokens above which they
    /// hold; `None` for prompts of any length.
    service: BTreeMap<(&'static str, Option<u64>), Dollars>,
    /// `context` and `max_output`, in tokens.
    sizes: BTreeMap<&'static str, u64>,
}

/// Our name of a price per token, and LiteLLM's names of it, the older one last.
const PER_TOKEN: [(&str, &[&str]); 10] = [
    ("input", &["input_cost_per_token"]),
    ("cached", &["cache_read_input_token_cost", "input_cost_per_token_cache_hit"]),
    ("cache_write", &["cache_creation_input_token_cost"]),
    ("cache_write_1h", &["cache_creation_input_token_cost_above_1hr"]),
    ("output", &["output_cost_per_token"]),
    ("reasoning", &["output_cost_per_reasoning_token"]),
    ("audio_input", &["input_cost_per_audio_token"]),
    ("image_input", &["input_cost_per_image_token"]),
    ("audio_output", &["output_cost_per_audio_token"]),
    ("image_output", &["output_cost_per_image_token"]),
];

/// The service tiers, and LiteLLM's suffixes of their prices.
const SERVICE_TIERS: [(&str, &str); 2] = [("flex", "_flex"), ("priority", "_priority")];

/// The prices of a model in the list; `None` where its unit of billing is not supported.
fn parse_prices(model: &Value) -> Option<ModelPrices> {
    // LiteLLM's prices are dollars per token, ours dollars per million tokens.
    let dollars = |key: &str| Some(per_million(model[key].as_f64()?));
    let first = |names: &[&str], suffix: &str| names.iter().find_map(|name| dollars(&format!("{name}{suffix}")));
    let tokens = |suffix: &str| -> Dollars {
        PER_TOKEN.iter().filter_map(|(ours, theirs)| Some((*ours, first(theirs, suffix)?))).collect()
    };
    let whole = |keys: &[&str]| keys.iter().find_map(|key| model[key].as_f64());
    let mut always = tokens("");
    let (mut above, mut service) = (BTreeMap::new(), BTreeMap::new());
    match model["mode"].as_str()? {
        "chat" | "completion" | "responses" | "embedding" => {
            // The price of a search with a context of medium size, which is the default.
            let search = model["search_context_cost_per_query"]["search_context_size_medium"].as_f64();
            if let Some(search) = search.filter(|search| *search > 0.0) {
                always.insert("per_search", search);
            }
            let in_tier = |base: &Dollars, size: &str, tier: &str| {
                let own = tokens(&format!("{size}{tier}"));
                own.contains_key("input").then(|| replace_prices(base, own))
            };
            for (name, suffix) in SERVICE_TIERS {
                service.extend(in_tier(&always, "", suffix).map(|prices: Dollars| ((name, None), prices)));
            }
            for key in model.as_object()?.keys() {
                let size =
                    key.strip_prefix("input_cost_per_token_above_").and_then(|size| size.strip_suffix("k_tokens"));
                let Some(thousands) = size.and_then(|size| size.parse::<u64>().ok()) else { continue };
                let larger = replace_prices(&always, tokens(&format!("_above_{thousands}k_tokens")));
                for (name, suffix) in SERVICE_TIERS {
                    let prices = in_tier(&larger, &format!("_above_{thousands}k_tokens"), suffix);
                    service.extend(prices.map(|prices| ((name, Some(thousands * 1000)), prices)));
                }
                above.insert(thousands * 1000, larger);
            }
            if let Some(part) = batch_part(model) {
                always.insert("batch", part);
            }
        }
        "image_generation" => match dollars("output_cost_per_image_token") {
            // Images that are billed by their tokens.
            Some(output) => _ = always.insert("output", output),
            None => always = BTreeMap::from([("per_call", whole(&["output_cost_per_image", "input_cost_per_image"])?)]),
        },
        "video_generation" => {
            let second = whole(&["output_cost_per_second", "output_cost_per_video_per_second"])?;
            always = BTreeMap::from([("per_second", second)]);
        }
        _ => return None,
    }
    let paid = ["input", "per_call", "per_second"].iter().any(|key| always.contains_key(key));
    paid.then(|| ModelPrices { base: always, above, service, sizes: parse_sizes(model) })
}

/// The prices with others in place of some of them. Reasoning that costs what the answer costs
/// still does.
fn replace_prices(base: &Dollars, own: Dollars) -> Dollars {
    let mut prices = base.clone();
    if base.get("reasoning") == base.get("output") {
        prices.remove("reasoning");
    }
    prices.extend(own);
    prices
}

/// The part of its prices that a model costs in a batch, for input or output, whichever is more;
/// `None` for all of it.
fn batch_part(model: &Value) -> Option<f64> {
    let price = |name: &str| model[name].as_f64().filter(|dollars| *dollars > 0.0);
    let parts = ["input", "output"].map(|kind| {
        let full = price(&format!("{kind}_cost_per_token"))?;
        Some(model[format!("{kind}_cost_per_token_batches")].as_f64().map_or(1.0, |batch| batch / full))
    });
    let part = parts.into_iter().flatten().reduce(f64::max)?;
    // Four digits, rounded up.
    let part = ((part * 1e4 * 1e6).round() / 1e6).ceil() / 1e4;
    (0.0..1.0).contains(&part).then_some(part)
}

/// The context and the longest answer of a text model, where the list has them.
fn parse_sizes(model: &Value) -> BTreeMap<&'static str, u64> {
    let is_text = matches!(model["mode"].as_str(), Some("chat" | "completion" | "responses"));
    let size = |key: &str| {
        let tokens = model[key].as_u64().or_else(|| model[key].as_f64().map(|tokens| tokens as u64));
        tokens.filter(|tokens| is_text && (1..=1 << 30).contains(tokens))
    };
    let sizes = [("context", size("max_input_tokens")), ("max_output", size("max_output_tokens"))];
    sizes.into_iter().filter_map(|(name, tokens)| Some((name, tokens?))).collect()
}

fn price_entry(provider: &str, model: &str, source: Option<&str>, date: &str, amounts: &ModelPrices) -> String {
    let pairs =
        |dollars: &Dollars| dollars.iter().map(|(key, dollars)| format!("{key} = {dollars}")).collect::<Vec<_>>();
    let mut lines = vec![
        "[[price]]".to_owned(),
        format!("provider = {}", toml_quoted(provider)),
        format!("model = {}", toml_quoted(model)),
        format!("source = {}", toml_quoted(source.unwrap_or("LiteLLM"))),
        format!("date = {}", toml_quoted(date)),
    ];
    lines.extend(amounts.sizes.iter().map(|(name, tokens)| format!("{name} = {tokens}")));
    lines.extend(pairs(&amounts.base));
    let above = amounts
        .above
        .iter()
        .map(|(size, amounts)| format!("{{ prompt_tokens = {size}, {} }}", pairs(amounts).join(", ")));
    let above = above.collect::<Vec<_>>().join(", ");
    if !above.is_empty() {
        lines.push(format!("above = [{above}]"));
    }
    let service = amounts.service.iter().map(|((tier, size), amounts)| {
        let size = size.map(|size| format!("prompt_tokens = {size}, ")).unwrap_or_default();
        format!("{{ tier = \"{tier}\", {size}{} }}", pairs(amounts).join(", "))
    });
    let service = service.collect::<Vec<_>>().join(", ");
    if !service.is_empty() {
        lines.push(format!("service = [{service}]"));
    }
    lines.join("\n") + "\n\n"
}

/// Dollars per million tokens, rounded to the digits that a float can represent.
fn per_million(dollars: f64) -> f64 {
    (dollars * 1e15).round() / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_prices_cover_the_built_in_providers() {
        let prices = crate::prices::load_prices(&crate::config::Config::default()).unwrap();
        for (provider, model) in [
            (gateway::LOCAL, "anything"),
            ("openai", "gpt-4o"),
            ("anthropic", "claude-sonnet-4-5"),
            ("gemini", "gemini-2.5-pro"),
            ("deepseek", "deepseek-chat"),
            ("mistral", "mistral-large-latest"),
        ] {
            let [input, cached, output, ..] = prices.find(provider, model).expect(model).dollars();
            assert!(0.0 < cached && cached <= input && input < output && output < 100.0, "{provider}/{model}");
        }
    }

    const LIST: &str = r#"{
        "sample_spec": {"litellm_provider": "one of https://docs", "input_cost_per_token": 0.0, "mode": "chat"},
        "deepseek/deepseek-chat": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 2.8e-07,
            "max_input_tokens": 131072, "max_output_tokens": 8192.0, "max_tokens": 1, "output_cost_per_token": 4.2e-07, "input_cost_per_token_cache_hit": 2.8e-08},
        "claude-x": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
            "input_cost_per_token_batches": 1.5e-06, "output_cost_per_token_batches": 7.8e-06,
            "cache_read_input_token_cost": 3e-07, "cache_creation_input_token_cost": 3.75e-06,
            "cache_creation_input_token_cost_above_1hr": 6e-06},
        "together_ai/org/m": {"litellm_provider": "together_ai", "mode": "chat", "input_cost_per_token": 1e-07},
        "embed": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 1e-07},
        "gemini/pro": {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
            "input_cost_per_token_above_200k_tokens": 2.5e-06, "input_cost_per_token_above_200k_tokens_priority": 4.5e-06,
            "cache_read_input_token_cost": 1.25e-07, "source": "https://example.org/pricing"},
        "voice": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "output_cost_per_reasoning_token": 1e-05,
            "input_cost_per_audio_token": 4e-05, "output_cost_per_audio_token": 8e-05, "output_cost_per_image_token": 3e-05,
            "input_cost_per_token_flex": 1e-06, "output_cost_per_token_flex": 5e-06, "output_cost_per_token_priority": 1,
            "search_context_cost_per_query": {"search_context_size_low": 0.03, "search_context_size_medium": 0.035}},
        "picture": {"litellm_provider": "openai", "mode": "image_generation", "output_cost_per_image": 0.04},
        "low/1024-x-1024/picture": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_image": 0.01},
        "drawn": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_token": 5e-06, "output_cost_per_image_token": 4e-05},
        "film": {"litellm_provider": "openai", "mode": "video_generation", "output_cost_per_video_per_second": 0.1},
        "openai/film": {"litellm_provider": "openai", "mode": "video_generation", "output_cost_per_video_per_second": 0.2},
        "speech": {"litellm_provider": "openai", "mode": "audio_speech", "input_cost_per_character": 1},
        "bedrock/x": {"litellm_provider": "bedrock", "mode": "chat", "input_cost_per_token": 1e-07}}"#;

    #[test]
    fn litellms_list_becomes_a_price_file() {
        let file = import(LIST, None, "2026-01-01").unwrap();
        let prices = gateway::Prices::parse(&file).unwrap();
        let dollars = |provider: &str, model: &str| prices.find(provider, model).map(|price| price.dollars());
        assert_eq!(dollars("deepseek", "deepseek-chat"), Some([0.28, 0.028, 0.42, 0.0, 0.0]));
        assert!(file.contains("date = \"2026-01-01\"\ncontext = 131072\nmax_output = 8192\n"), "{file}");
        assert_eq!(dollars("anthropic", "claude-x"), Some([3.0, 0.3, 15.0, 0.0, 0.0]));
        assert_eq!(dollars("together", "org/m"), Some([0.1, 0.1, 0.0, 0.0, 0.0]));
        assert_eq!(dollars("openai", "embed"), Some([0.1, 0.1, 0.0, 0.0, 0.0]));
        assert_eq!(dollars("gemini", "pro"), Some([1.25, 0.125, 10.0, 0.0, 0.0]));
        let above = "above = [{ prompt_tokens = 200000, cached = 0.125, input = 2.5, output = 10 }]";
        assert!(file.contains(above) && file.contains("source = \"https://example.org/pricing\""), "{file}");
        let service =
            "service = [{ tier = \"priority\", prompt_tokens = 200000, cached = 0.125, input = 4.5, output = 10 }]";
        assert!(file.contains(service), "{file}");
        let parts = "audio_input = 40\naudio_output = 80\nimage_output = 30\ninput = 2.5\noutput = 10\nper_search = 0.035\nreasoning = 10\n";
        let tier = |name: &str, input: f64| {
            let audio = "audio_input = 40, audio_output = 80, image_output = 30";
            format!("{{ tier = \"{name}\", {audio}, input = {input}, output = 5, per_search = 0.035 }}")
        };
        let service = format!("service = [{}]\n", tier("flex", 1.0));
        assert!(file.contains(&format!("{parts}{service}")), "{file}");
        assert_eq!(dollars("openai", "picture"), Some([0.0, 0.0, 0.0, 0.04, 0.0]));
        assert_eq!(dollars("openai", "drawn"), Some([5.0, 5.0, 40.0, 0.0, 0.0]));
        assert_eq!(dollars("openai", "film"), Some([0.0, 0.0, 0.0, 0.0, 0.2]));
        for none in ["low/1024-x-1024/picture", "speech"] {
            assert_eq!(dollars("openai", none), None);
        }
        assert_eq!(dollars("bedrock", "x"), None);
        assert!(
            file.contains("batch = 0.52\ncache_write = 3.75\ncache_write_1h = 6\n")
                && file.contains("date = \"2026-01-01\""),
            "{file}"
        );
        let only = import(LIST, Some(&["anthropic".into()]), "d").unwrap();
        assert!(only.contains("claude-x") && !only.contains("deepseek"));
    }

    #[test]
    fn other_files_are_refused() {
        assert!(import("[]", None, "d").is_err() && import("{}", None, "d").is_err());
    }
}
