//! A row: the models that it is for, and what they take.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::model_rules::pattern::Pattern;
use crate::upstream::Dialect;

/// A row about the models whose names match. Of several rows for a model, a later one wins field by
/// field; `drop`, `keep`, `rename`, `default` and `set` are combined parameter by parameter.
///
/// Parameters are named as in the provider's API, with dots for what is inside another:
/// `generationConfig.topK`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelRow {
    /// The patterns of the provider's names for the models.
    #[serde(rename = "match", deserialize_with = "patterns")]
    pub patterns: Vec<Pattern>,
    /// The providers, by name or by the built-in provider that they are; all when empty.
    #[serde(deserialize_with = "one_or_many")]
    pub provider: Vec<String>,
    /// The dialects; all when empty.
    #[serde(deserialize_with = "one_or_many")]
    pub dialect: Vec<Dialect>,
    /// Another name of the models, such as the one that a deployment or an inference profile hides.
    /// The rows for that name apply as well.
    pub like: Option<String>,
    /// Parameters that are not sent.
    pub drop: Vec<String>,
    /// Parameters that are sent as they are, although an earlier row drops or renames them.
    pub keep: Vec<String>,
    /// Parameters that are sent under another name.
    pub rename: BTreeMap<String, String>,
    /// Values of parameters that the request does not have.
    pub default: BTreeMap<String, Value>,
    /// Values that replace those of the request.
    pub set: BTreeMap<String, Value>,
    /// Lists of parameters of which the request may have one: the first that it has is sent.
    pub exclusive: Option<Vec<Vec<String>>>,
    /// How the request asks for thinking.
    pub thinking: Option<ThinkingShape>,
    /// How the request turns thinking off.
    pub thinking_off: Option<ThinkingOff>,
    /// The value of `thinking.display` where thinking is rewritten to `adaptive`.
    pub thinking_display: Option<String>,
    /// The least and the most tokens of a budget that is not 0.
    pub thinking_budget: Option<[i64; 2]>,
    /// The words for the effort. Others become the nearest.
    pub efforts: Option<Vec<String>>,
    /// The effort of a request that names none.
    pub default_effort: Option<String>,
    /// Parameters that are not sent beside thinking.
    pub drop_with_thinking: Option<Vec<String>>,
    /// Whether the model can be forced to call a tool.
    pub forced_tool: Option<ForcedTool>,
    /// Whether messages may have the role `developer`, which otherwise becomes `system`.
    pub developer_role: Option<bool>,
    /// Whether text may be white space only, which otherwise is left out.
    pub blank_text: Option<bool>,
    /// Most bytes of the name of a tool. In converted requests longer ones are shortened.
    pub tool_name_length: Option<usize>,
    /// Most stop sequences. Further ones are left out.
    pub max_stop_sequences: Option<usize>,
    /// The endpoint that takes tools beside reasoning.
    pub tools_with_reasoning: Option<ToolsEndpoint>,
}

/// The shape of a request for thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThinkingShape {
    /// None: such a request is left out.
    None,
    /// A number of tokens: Anthropic's `budget_tokens`, Gemini's `thinkingBudget`.
    Budget,
    /// Anthropic's `thinking.type: adaptive` with `output_config.effort`.
    Adaptive,
    /// `adaptive`, or a budget that the caller has written itself.
    AdaptiveOrBudget,
    /// Gemini's `thinkingLevel`.
    Level,
    /// Nova's `reasoningConfig` with an effort.
    ReasoningConfig,
}

/// The way in which a request turns thinking off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingOff {
    /// It does not mention thinking.
    Omit,
    /// Anthropic's `thinking.type: disabled`; without it the model thinks.
    Disabled,
    /// Anthropic's `thinking.type: between_tools`, the least thinking of the model.
    BetweenTools,
    /// The model always thinks: it gets the least effort.
    Never,
}

/// When a model can be forced to call a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForcedTool {
    Always,
    /// Without thinking, which is then left out.
    WithoutThinking,
    /// Never: the choice is left to the model.
    Never,
}

/// An endpoint for tools beside reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolsEndpoint {
    /// Every endpoint.
    Any,
    /// OpenAI's `/responses` only. Elsewhere reasoning is turned off for a request with tools.
    Responses,
    /// The same for an effort that the request names, which is dropped elsewhere.
    ResponsesIfNamed,
}

impl ModelRow {
    /// Whether the row is for this model of a provider.
    pub fn matches(&self, provider: &str, preset: Option<&str>, dialect: Dialect, model: &str) -> bool {
        let is_own = |name: &String| name == provider || Some(name.as_str()) == preset;
        (self.provider.is_empty() || self.provider.iter().any(is_own))
            && (self.dialect.is_empty() || self.dialect.contains(&dialect))
            && self.patterns.iter().any(|pattern| pattern.matches(model))
    }

    /// Adds what a later row says, which wins.
    pub(super) fn add(&mut self, later: &Self) {
        for name in &later.keep {
            self.drop.retain(|known| known != name);
            self.rename.remove(name);
        }
        for name in &later.drop {
            self.rename.remove(name);
            if !self.drop.contains(name) {
                self.drop.push(name.clone());
            }
        }
        for (name, to) in &later.rename {
            self.drop.retain(|known| known != name);
            // Two rows that rename each to the other would otherwise both apply.
            self.rename.remove(to);
            self.rename.insert(name.clone(), to.clone());
        }
        self.default.extend(later.default.clone());
        self.set.extend(later.set.clone());
        replace(&mut self.like, &later.like);
        replace(&mut self.exclusive, &later.exclusive);
        replace(&mut self.thinking, &later.thinking);
        replace(&mut self.thinking_off, &later.thinking_off);
        replace(&mut self.thinking_display, &later.thinking_display);
        replace(&mut self.thinking_budget, &later.thinking_budget);
        replace(&mut self.efforts, &later.efforts);
        replace(&mut self.default_effort, &later.default_effort);
        replace(&mut self.drop_with_thinking, &later.drop_with_thinking);
        replace(&mut self.forced_tool, &later.forced_tool);
        replace(&mut self.developer_role, &later.developer_role);
        replace(&mut self.blank_text, &later.blank_text);
        replace(&mut self.tool_name_length, &later.tool_name_length);
        replace(&mut self.max_stop_sequences, &later.max_stop_sequences);
        replace(&mut self.tools_with_reasoning, &later.tools_with_reasoning);
    }
}

fn replace<T: Clone>(known: &mut Option<T>, later: &Option<T>) {
    if later.is_some() {
        known.clone_from(later);
    }
}

/// Reads one string or a list of them.
fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct OneOrMany<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            Ok(vec![T::deserialize(text.into_deserializer())?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = list.next_element()? {
                values.push(value);
            }
            Ok(values)
        }
    }
    deserializer.deserialize_any(OneOrMany(PhantomData))
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pattern>, D::Error> {
    let texts: Vec<String> = one_or_many(deserializer)?;
    texts.iter().map(|text| Pattern::parse(text).map_err(de::Error::custom)).collect()
}
