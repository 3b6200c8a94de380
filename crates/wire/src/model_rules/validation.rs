//! Checks of rows that their types do not make.

use crate::model_rules::row::ModelRow;
use crate::reasoning_effort::EFFORTS;

/// Fields that make the request what it is.
const RESERVED: [&str; 5] = ["model", "messages", "contents", "input", "stream"];
/// Fields of which a budget is computed before the body is changed.
const BILLED: [&str; 7] = [
    "n",
    "inferenceConfig.maxTokens",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "generationConfig.candidateCount",
    "generationConfig.maxOutputTokens",
];
/// Least length of a name, of which a hash takes a part.
const MIN_TOOL_NAME_LENGTH: usize = 16;

impl ModelRow {
    /// Checks the names of parameters and the words for efforts.
    ///
    /// # Errors
    /// The fault, and the field that has it.
    pub fn validate(&self) -> Result<(), String> {
        if self.patterns.is_empty() {
            return Err("`match` is missing: the pattern of the names of the models, such as \"gpt-5*\"".into());
        }
        self.validate_parameters()?;
        if self.like.as_ref().is_some_and(String::is_empty) {
            return Err("`like` is empty: it is the name of a model, such as \"claude-sonnet-4-5\"".into());
        }
        let efforts = self.efforts.iter().flatten().chain(&self.default_effort);
        for effort in efforts {
            if !EFFORTS.contains(&effort.as_str()) {
                return Err(format!("`{effort:.64}` is not an effort: they are {}", EFFORTS.join(", ")));
            }
        }
        if self.efforts.as_ref().is_some_and(Vec::is_empty) {
            return Err("`efforts` is empty: leave it out, or `thinking = \"none\"`".into());
        }
        if self.tool_name_length.is_some_and(|length| length < MIN_TOOL_NAME_LENGTH) {
            return Err(format!("`tool_name_length` is at least {MIN_TOOL_NAME_LENGTH}"));
        }
        if self.max_stop_sequences == Some(0) {
            return Err("`max_stop_sequences` is at least 1: leave out all with `drop`".into());
        }
        match self.thinking_budget {
            Some([least, most]) if least < 1 || least > most => {
                Err("`thinking_budget` is a list of the least and the most tokens".into())
            }
            _ => Ok(()),
        }
    }

    /// Checks the names of parameters alone.
    ///
    /// # Errors
    /// As [`ModelRow::validate`].
    pub fn validate_parameters(&self) -> Result<(), String> {
        let renamed = self.rename.iter().flat_map(|(from, to)| [("rename", from), ("rename", to)]);
        let named = named("drop", &self.drop)
            .chain(named("keep", &self.keep))
            .chain(renamed)
            .chain(named("default", self.default.keys()))
            .chain(named("set", self.set.keys()))
            .chain(self.exclusive.iter().flatten().flat_map(|names| named("exclusive", names)))
            .chain(named("drop_with_thinking", self.drop_with_thinking.iter().flatten()));
        for (field, name) in named {
            if name.is_empty() || name.split('.').any(str::is_empty) {
                return Err(format!("`{field}`: {name:?} is not the name of a parameter"));
            }
            let top = name.split('.').next().unwrap_or_default();
            if RESERVED.contains(&top) {
                return Err(format!("`{field}`: `{name:.64}` cannot be changed, the request depends on it"));
            }
            let is_billed = BILLED.contains(&name.as_str());
            if is_billed && matches!(field, "drop" | "default" | "set" | "drop_with_thinking" | "exclusive") {
                return Err(format!("`{field}`: `{name:.64}` cannot be changed, budgets are computed from it"));
            }
        }
        for (from, to) in &self.rename {
            if from.contains('.') || BILLED.contains(&from.as_str()) != BILLED.contains(&to.as_str()) {
                return Err(format!("`rename`: `{from:.64}` cannot be sent as `{to:.64}`"));
            }
        }
        Ok(())
    }
}

fn named<'a>(
    field: &'static str,
    names: impl IntoIterator<Item = &'a String>,
) -> impl Iterator<Item = (&'static str, &'a String)> {
    names.into_iter().map(move |name| (field, name))
}
