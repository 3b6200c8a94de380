//! The parameters of a body, under the names that rows have for them.

use std::borrow::Cow;

use serde_json::Value;

use crate::model_rules::change_notes::ChangeNotes;
use crate::passthrough::body_editor::BodyEditor;
use crate::upstream::Dialect;

/// Parameters of Anthropic's API that Bedrock's Converse has in another place.
const CONVERSE_PATHS: [(&str, &str); 6] = [
    ("max_tokens", "inferenceConfig.maxTokens"),
    ("temperature", "inferenceConfig.temperature"),
    ("top_p", "inferenceConfig.topP"),
    ("stop_sequences", "inferenceConfig.stopSequences"),
    ("tools", "toolConfig.tools"),
    ("tool_choice", "toolConfig.toolChoice"),
];
/// The fields of Converse itself.
const CONVERSE_FIELDS: [&str; 12] = [
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "inferenceConfig",
    "messages",
    "outputConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
    "system",
    "toolConfig",
];
/// The field of Converse with the parameters of a model's own API.
const CONVERSE_OWN: &str = "additionalModelRequestFields";

/// The parameters of a body. At Bedrock a parameter may be named as in Anthropic's API, so that a
/// row for Claude is the same at both: it is found where Converse has it.
pub(super) struct Parameters<'e, 'a> {
    dialect: Dialect,
    editor: &'e mut BodyEditor<'a>,
}

impl<'e, 'a> Parameters<'e, 'a> {
    pub(super) fn new(dialect: Dialect, editor: &'e mut BodyEditor<'a>) -> Self {
        Self { dialect, editor }
    }

    /// The value as JSON text; `None` if it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.editor.get_path(&self.path(name))
    }

    /// The parsed value; `None` if it is absent or null.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        serde_json::from_slice(&self.get(name)?).ok()
    }

    /// The value, if it is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_slice(&self.get(name)?).ok()
    }

    /// Replaces or adds a parameter. `json` is its new value.
    pub(super) fn set(&mut self, name: &str, json: String) {
        self.editor.set_path(&self.path(name), json);
    }

    pub(super) fn remove(&mut self, name: &str) {
        let path = self.path(name);
        match path.split_once('.') {
            // A value of null is removed as well.
            None => self.editor.remove(&path),
            Some((first, _)) => {
                self.editor.remove_path(&path);
                let is_empty = |object: &[u8]| object.iter().all(|byte| b"{} \t\r\n".contains(byte));
                if first == CONVERSE_OWN && self.editor.get(first).is_some_and(is_empty) {
                    self.editor.remove(first);
                }
            }
        }
    }

    /// Sends a parameter under another name. A value under that name wins.
    pub(super) fn rename(&mut self, from: &str, to: &str, notes: &mut ChangeNotes) {
        let Some(value) = self.get(from).map(|value| String::from_utf8_lossy(&value).into_owned()) else { return };
        self.remove(from);
        if self.get(to).is_some() {
            notes.drop(from);
            return;
        }
        self.set(to, value);
        notes.change(format!("`{from}` to `{to}`"));
    }

    /// Leaves out a parameter. Nothing is lost, and nothing noted, with a value that is the default
    /// of every provider.
    pub(super) fn drop(&mut self, name: &str, notes: &mut ChangeNotes) {
        let Some(value) = self.value(name) else { return };
        let is_default = match &value {
            Value::Number(number) => {
                let default = match name {
                    "temperature" | "top_p" | "n" => 1.0,
                    "presence_penalty" | "frequency_penalty" => 0.0,
                    _ => f64::NAN,
                };
                number.as_f64() == Some(default)
            }
            Value::Bool(value) => name == "logprobs" && !value,
            _ => false,
        };
        self.remove(name);
        // The gateway adds `stream_options` itself.
        if !is_default && name != "stream_options" {
            notes.drop(name);
        }
    }

    /// Leaves out what a list has beyond its first `most` elements.
    pub(super) fn truncate(&mut self, name: &str, most: usize, notes: &mut ChangeNotes) {
        if let Some(Value::Array(mut list)) = self.value(name)
            && list.len() > most
        {
            list.truncate(most);
            self.set(name, Value::from(list).to_string());
            notes.drop(name);
        }
    }

    /// The place of a parameter in the body.
    fn path<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.dialect != Dialect::Bedrock {
            return Cow::Borrowed(name);
        }
        let first = name.split('.').next().unwrap_or_default();
        if CONVERSE_FIELDS.contains(&first) {
            return Cow::Borrowed(name);
        }
        match CONVERSE_PATHS.iter().find(|(known, _)| *known == first) {
            Some((_, path)) => Cow::Owned(format!("{path}{}", &name[first.len()..])),
            None => Cow::Owned(format!("{CONVERSE_OWN}.{name}")),
        }
    }
}
