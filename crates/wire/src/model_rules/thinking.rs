//! The shape in which a request asks for thinking.

use serde_json::{Value, json};

use crate::model_rules::change_notes::ChangeNotes;
use crate::model_rules::origin::RequestOrigin;
use crate::model_rules::parameters::Parameters;
use crate::model_rules::row::{ModelRow, ThinkingOff, ThinkingShape};
use crate::reasoning_effort::{effort_of_budget, nearest_effort};
use crate::upstream::{Dialect, anthropic, gemini};

/// Anthropic's field for the effort.
const ANTHROPIC_EFFORT: &str = "output_config.effort";
/// The field of OpenAI's Responses API for the effort.
pub(super) const RESPONSES_EFFORT: &str = "reasoning.effort";
/// The object for reasoning of Amazon's Nova.
const NOVA_REASONING: &str = "additionalModelRequestFields.reasoningConfig";
/// Gemini's object for thinking.
const GEMINI_THINKING: &str = "generationConfig.thinkingConfig";
/// The `max_tokens` of a request without one.
const DEFAULT_MAX_TOKENS: i64 = 4096;

/// Rewrites the request for thinking to what the model takes.
pub(super) fn apply(
    row: &ModelRow,
    dialect: Dialect,
    origin: RequestOrigin<'_>,
    body: &mut Parameters<'_, '_>,
    notes: &mut ChangeNotes,
) {
    let mut request = Request { row, origin, body, notes };
    match dialect {
        Dialect::Anthropic | Dialect::Bedrock => request.change_anthropic(),
        Dialect::Gemini => request.change_gemini(),
        Dialect::Responses => request.change_effort(RESPONSES_EFFORT, "reasoning"),
        dialect if dialect.is_chat_completions() => request.change_effort("reasoning_effort", "reasoning_effort"),
        _ => {}
    }
}

struct Request<'e, 'b, 'a> {
    row: &'e ModelRow,
    origin: RequestOrigin<'e>,
    body: &'e mut Parameters<'b, 'a>,
    notes: &'e mut ChangeNotes,
}

impl Request<'_, '_, '_> {
    fn is_forwarded(&self) -> bool {
        self.origin == RequestOrigin::Forwarded
    }

    fn efforts(&self) -> &[String] {
        self.row.efforts.as_deref().unwrap_or_default()
    }

    /// Changes the effort at `path` of OpenAI's APIs. `parameter` has all that is about reasoning.
    fn change_effort(&mut self, path: &str, parameter: &str) {
        if self.row.thinking == Some(ThinkingShape::None) {
            let effort = self.body.text(path);
            if self.body.get(parameter).is_some() && effort.is_none_or(|effort| effort != "none") {
                self.notes.drop(parameter);
            }
            self.body.remove(parameter);
            return;
        }
        let Some(effort) = self.body.text(path) else { return };
        let nearest = nearest_effort(&effort, self.efforts()).to_owned();
        if nearest != effort {
            self.body.set(path, Value::from(nearest.as_str()).to_string());
            self.notes.change(format!("`{path}` {effort} to {nearest}"));
        }
    }

    fn change_anthropic(&mut self) {
        let thinking = self.body.value("thinking").unwrap_or_default();
        let kind = thinking["type"].as_str().unwrap_or_default().to_owned();
        if self.row.thinking == Some(ThinkingShape::ReasoningConfig) {
            return self.change_nova(&kind);
        }
        match (self.row.thinking, kind.as_str()) {
            (Some(ThinkingShape::None), "enabled" | "adaptive") => {
                self.body.remove("thinking");
                self.notes.drop("thinking");
            }
            (Some(ThinkingShape::Adaptive), "enabled") => self.make_adaptive(&thinking),
            (Some(ThinkingShape::AdaptiveOrBudget), "enabled") if !self.is_forwarded() => self.make_adaptive(&thinking),
            (Some(ThinkingShape::Budget), "adaptive") => self.make_budget(),
            _ => {}
        }
        if matches!(self.row.thinking, Some(ThinkingShape::Adaptive | ThinkingShape::AdaptiveOrBudget))
            && self.body.get(ANTHROPIC_EFFORT).is_none()
            && let Some(effort) = self.origin.effort()
        {
            let nearest = nearest_effort(effort, self.efforts());
            let nearest = Value::from(nearest).to_string();
            self.body.set(ANTHROPIC_EFFORT, nearest);
        }
        self.change_anthropic_effort();
        if kind == "disabled" || self.origin.turns_thinking_off() {
            self.turn_anthropic_off();
        }
    }

    /// Replaces thinking by Nova's `reasoningConfig`, which does not depend on earlier messages.
    fn change_nova(&mut self, kind: &str) {
        self.body.remove("thinking");
        if !self.origin.asks_for_thinking() && !matches!(kind, "enabled" | "adaptive") {
            return;
        }
        let wanted = self.origin.effort().or(self.row.default_effort.as_deref()).unwrap_or("medium");
        let nearest = nearest_effort(wanted, self.efforts()).to_owned();
        if nearest != wanted {
            self.notes.change(format!("`reasoning_effort` {wanted} to {nearest}"));
        }
        let config = json!({"type": "enabled", "maxReasoningEffort": nearest});
        self.body.set(NOVA_REASONING, config.to_string());
        self.notes.restore("thinking");
    }

    /// Replaces a budget by adaptive thinking with the effort that the budget stands for.
    fn make_adaptive(&mut self, old: &Value) {
        let mut thinking = json!({"type": "adaptive"});
        let display = old["display"].as_str().or(self.row.thinking_display.as_deref());
        if let Some(display) = display {
            thinking["display"] = display.into();
        }
        self.body.set("thinking", thinking.to_string());
        if !self.is_forwarded() {
            return;
        }
        if self.body.get(ANTHROPIC_EFFORT).is_none()
            && let Some(budget) = old["budget_tokens"].as_i64()
        {
            let effort = nearest_effort(effort_of_budget(budget), self.efforts()).to_owned();
            self.body.set(ANTHROPIC_EFFORT, Value::from(effort.as_str()).to_string());
            self.notes.change(format!("`thinking.budget_tokens` to adaptive thinking with the effort {effort}"));
        } else {
            self.notes.change("`thinking` to adaptive".into());
        }
    }

    /// Replaces adaptive thinking by a budget for the effort, whose default is high.
    fn make_budget(&mut self) {
        let max_tokens = self.body.value("max_tokens").and_then(|max| max.as_i64()).unwrap_or(DEFAULT_MAX_TOKENS);
        if max_tokens <= anthropic::MIN_THINKING_TOKENS {
            self.body.remove("thinking");
            self.notes.drop("thinking");
            return;
        }
        let effort = self.body.text(ANTHROPIC_EFFORT);
        let budget = anthropic::thinking_budget(Some(effort.as_deref().unwrap_or("high")), max_tokens);
        self.body.set("thinking", json!({"type": "enabled", "budget_tokens": budget}).to_string());
        self.notes.change(format!("adaptive thinking to `budget_tokens` {budget}"));
    }

    fn change_anthropic_effort(&mut self) {
        let Some(effort) = self.body.text(ANTHROPIC_EFFORT) else { return };
        let nearest = nearest_effort(&effort, self.efforts()).to_owned();
        if nearest != effort {
            self.body.set(ANTHROPIC_EFFORT, Value::from(nearest.as_str()).to_string());
            self.notes.change(format!("`{ANTHROPIC_EFFORT}` {effort} to {nearest}"));
        } else if self.row.efforts.is_none()
            && matches!(self.row.thinking, Some(ThinkingShape::None | ThinkingShape::Budget))
        {
            self.body.remove(ANTHROPIC_EFFORT);
            if self.body.get("output_config").is_some_and(|config| config.iter().all(|byte| b"{} ".contains(byte))) {
                self.body.remove("output_config");
            }
            self.notes.drop(ANTHROPIC_EFFORT);
        }
    }

    fn turn_anthropic_off(&mut self) {
        match self.row.thinking_off {
            // Without `thinking` the model does not think.
            Some(ThinkingOff::Omit) => self.body.remove("thinking"),
            Some(ThinkingOff::Disabled) => {
                self.body.set("thinking", r#"{"type":"disabled"}"#.into());
                // More effort is refused without thinking.
                if let Some(effort) =
                    self.body.text(ANTHROPIC_EFFORT).filter(|effort| ["xhigh", "max"].contains(&&**effort))
                {
                    self.body.set(ANTHROPIC_EFFORT, "\"high\"".into());
                    self.notes.change(format!("`{ANTHROPIC_EFFORT}` {effort} to high, because thinking is off"));
                }
            }
            Some(ThinkingOff::BetweenTools) => {
                self.body.set("thinking", r#"{"type":"between_tools"}"#.into());
                self.notes.change("`thinking` to between_tools, the least of this model".into());
            }
            Some(ThinkingOff::Never) => {
                self.body.remove("thinking");
                if let Some(least) = self.row.efforts.as_ref().and_then(|efforts| efforts.first()) {
                    self.body.set(ANTHROPIC_EFFORT, Value::from(least.as_str()).to_string());
                    self.notes.change(format!("`thinking` to the effort {least}, because this model always thinks"));
                }
            }
            None => {}
        }
    }

    fn change_gemini(&mut self) {
        let Some(config) = self.body.get(GEMINI_THINKING) else { return };
        let Ok(mut config) = serde_json::from_slice::<serde_json::Map<String, Value>>(&config) else { return };
        let mut take = |camel: &str, snake: &str| config.remove(camel).or_else(|| config.remove(snake));
        let budget = take("thinkingBudget", "thinking_budget").and_then(|budget| budget.as_i64());
        let level = take("thinkingLevel", "thinking_level").and_then(|level| level.as_str().map(str::to_lowercase));
        let always_thinks = self.row.thinking_off == Some(ThinkingOff::Never);
        match self.row.thinking {
            Some(ThinkingShape::None) => {
                self.body.remove(GEMINI_THINKING);
                if budget != Some(0) {
                    self.notes.drop(GEMINI_THINKING);
                }
                return;
            }
            Some(ThinkingShape::Level) => {
                let effort = match (level.as_deref(), budget) {
                    (Some(level), _) => Some(level),
                    (None, None | Some(..0)) => None,
                    (None, Some(0)) => Some("none"),
                    (None, Some(budget)) => Some(self.origin.effort().unwrap_or(match budget {
                        ..=1024 => "low",
                        1025..=8192 => "medium",
                        _ => "high",
                    })),
                };
                let Some(effort) = effort else {
                    if budget.is_some() {
                        self.set_gemini(config);
                    }
                    return;
                };
                let nearest = nearest_effort(effort, self.efforts()).to_owned();
                if level.as_deref() == Some(nearest.as_str()) {
                    return;
                }
                if always_thinks && budget == Some(0) {
                    self.notes
                        .change(format!("`thinkingBudget` 0 to the level {nearest}, because this model always thinks"));
                } else if self.is_forwarded() {
                    self.notes.change(format!("`{GEMINI_THINKING}` to the level {nearest}"));
                }
                config.insert("thinkingLevel".into(), nearest.into());
            }
            Some(ThinkingShape::Budget) => {
                let wanted = budget.or_else(|| gemini::thinking_budget(level.as_deref()).map(i64::from));
                let Some(wanted) = wanted else { return };
                let [least, most] = self.row.thinking_budget.unwrap_or([1, i64::MAX]);
                let taken = match wanted {
                    ..0 => wanted,
                    0 if always_thinks => least,
                    0 => 0,
                    wanted => wanted.clamp(least, most),
                };
                if budget == Some(taken) && level.is_none() {
                    return;
                }
                self.notes.change(format!("`{GEMINI_THINKING}` to the budget {taken}"));
                config.insert("thinkingBudget".into(), taken.into());
            }
            _ => return,
        }
        self.set_gemini(config);
    }

    fn set_gemini(&mut self, config: serde_json::Map<String, Value>) {
        if config.is_empty() {
            self.body.remove(GEMINI_THINKING);
        } else {
            self.body.set(GEMINI_THINKING, Value::Object(config).to_string());
        }
    }
}
