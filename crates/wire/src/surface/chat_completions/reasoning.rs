//! The fields with which a request asks for reasoning.

use chat::Error;
use serde_json::Value;

use crate::field_reader::Field;
use crate::reasoning_effort::{EFFORTS, effort_of_budget};

/// Parses `{"type": "enabled" | "disabled"}`, and the effort of the `budget_tokens` that LiteLLM's
/// clients send. The types of other services that leave the choice to the model are `None`.
pub(super) fn parse_thinking(field: Field) -> Result<(Option<bool>, Option<String>), Error> {
    let mut object = field.object()?;
    let thinking = object.required("type")?.variant(&[
        ("enabled", Some(true)),
        ("disabled", Some(false)),
        ("auto", None),
        ("adaptive", None),
    ])?;
    // DeepSeek has no budgets, and ignores one of any type.
    let budget = object.optional("budget_tokens").and_then(|budget| budget.value().as_i64());
    let effort = budget.filter(|_| thinking == Some(true)).map(|budget| effort_of_budget(budget).to_owned());
    Ok((thinking, effort))
}

/// Parses how much to think.
pub(crate) fn parse_reasoning_effort(field: Field) -> Result<String, Error> {
    Ok(field.variant(&EFFORTS.map(|word| (word, word)))?.to_owned())
}

/// The effort of OpenRouter's object `reasoning`: its `effort`, the one for its `max_tokens`, or
/// whether it is `enabled`.
pub(super) fn openrouter_effort(reasoning: &Value) -> Option<String> {
    let effort = reasoning["effort"].as_str().filter(|effort| EFFORTS.contains(effort));
    let budget = || reasoning["max_tokens"].as_i64().map(effort_of_budget);
    let enabled = || reasoning["enabled"].as_bool().map(|is_on| if is_on { "medium" } else { "none" });
    effort.or_else(budget).or_else(enabled).map(str::to_owned)
}
