//! `cachalot price`: prices out of LiteLLM's list.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::litellm;

/// Turn LiteLLM's price list into rows for a price file
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Print rows for `[gateway] prices` out of LiteLLM's model_prices_and_context_window.json
    Import {
        /// The file; nothing is fetched
        file: PathBuf,
        /// Only these providers, by our names, separated by commas [default: all that are built in]
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        providers: Option<Vec<String>>,
        /// The day the file is of, such as 2026-11-25, for the records
        #[arg(long, value_name = "DATE")]
        date: String,
    },
}

/// One model of the list, in US dollars per token.
#[derive(Deserialize)]
struct Model {
    litellm_provider: Option<String>,
    mode: Option<String>,
    input_cost_per_token: Option<f64>,
    output_cost_per_token: Option<f64>,
    cache_read_input_token_cost: Option<f64>,
    /// The older name of the same.
    input_cost_per_token_cache_hit: Option<f64>,
    cache_creation_input_token_cost: Option<f64>,
    output_cost_per_reasoning_token: Option<f64>,
}

pub fn run(args: &Args) -> Result<()> {
    let Command::Import { file, providers, date } = &args.command;
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    write!(
        io::stdout(),
        "{}",
        import(&text, providers.as_deref(), date).with_context(|| format!("`{}`", file.display()))?
    )?;
    Ok(())
}

/// Rows of a price file.
///
/// # Errors
/// Text that is not LiteLLM's list; a list in which none of the providers has a price.
fn import(text: &str, providers: Option<&[String]>, date: &str) -> Result<String> {
    let list: BTreeMap<String, Value> = serde_json::from_str(text).context("it is not LiteLLM's price list")?;
    let known =
        |name: &str| providers.map_or_else(|| crate::provider::is_known(name), |names| names.iter().any(|n| n == name));
    let (mut out, mut rows) = (String::new(), 0);
    for (id, value) in list {
        // The list explains itself in an entry that is none.
        let Ok(model) = serde_json::from_value::<Model>(value) else { continue };
        let (Some(provider), Some(input)) = (&model.litellm_provider, model.input_cost_per_token) else { continue };
        let name = litellm::ours(provider);
        if !known(name) || model.mode.as_deref() != Some("chat") {
            continue;
        }
        let id = id.strip_prefix(&format!("{provider}/")).unwrap_or(&id);
        rows += 1;
        let quoted = |text: &str| Value::from(text).to_string();
        write!(out, "[[price]]\nprovider = {}\nmodel = {}\n", quoted(name), quoted(id))?;
        write!(out, "source = \"LiteLLM, model_prices_and_context_window.json\"\ndate = {}\n", quoted(date))?;
        let amounts = [
            ("input", Some(input)),
            ("cached", model.cache_read_input_token_cost.or(model.input_cost_per_token_cache_hit)),
            ("cache_write", model.cache_creation_input_token_cost),
            ("output", model.output_cost_per_token),
            ("reasoning", model.output_cost_per_reasoning_token),
        ];
        for (key, dollars) in amounts {
            if let Some(dollars) = dollars {
                writeln!(out, "{key} = {}", per_million(dollars))?;
            }
        }
        out.push('\n');
    }
    ensure!(rows > 0, "no chat model of these providers has a price in it");
    Ok(out)
}

/// Without the digits that a float has too many.
fn per_million(dollars: f64) -> f64 {
    (dollars * 1e15).round() / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{
        "sample_spec": {"litellm_provider": "one of https://docs", "input_cost_per_token": 0.0, "mode": "chat"},
        "deepseek/deepseek-chat": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 2.8e-07,
            "output_cost_per_token": 4.2e-07, "input_cost_per_token_cache_hit": 2.8e-08},
        "claude-x": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
            "cache_read_input_token_cost": 3e-07, "cache_creation_input_token_cost": 3.75e-06},
        "together_ai/org/m": {"litellm_provider": "together_ai", "mode": "chat", "input_cost_per_token": 1e-07},
        "embed": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 1e-07},
        "bedrock/x": {"litellm_provider": "bedrock", "mode": "chat", "input_cost_per_token": 1e-07}}"#;

    #[test]
    fn litellms_list_becomes_rows_that_are_read() {
        let rows = import(LIST, None, "2026-01-01").unwrap();
        let prices = gateway::Prices::read(&rows).unwrap();
        let dollars = |provider: &str, model: &str| prices.find(provider, model).map(|price| price.dollars());
        assert_eq!(dollars("deepseek", "deepseek-chat"), Some([0.28, 0.028, 0.42, 0.0, 0.0]));
        assert_eq!(dollars("anthropic", "claude-x"), Some([3.0, 0.3, 15.0, 0.0, 0.0]));
        assert_eq!(dollars("together", "org/m"), Some([0.1, 0.1, 0.0, 0.0, 0.0]));
        assert_eq!((dollars("openai", "embed"), dollars("bedrock", "x")), (None, None));
        assert!(rows.contains("cache_write = 3.75") && rows.contains("date = \"2026-01-01\""), "{rows}");
        let only = import(LIST, Some(&["anthropic".into()]), "d").unwrap();
        assert!(only.contains("claude-x") && !only.contains("deepseek"));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        assert!(import("[]", None, "d").is_err() && import("{}", None, "d").is_err());
    }
}
