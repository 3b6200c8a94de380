//! The rules for one model of a provider, and their application to a request body.

use chat::Error;

use crate::model_rules::change_notes::ChangeNotes;
use crate::model_rules::origin::RequestOrigin;
use crate::model_rules::parameters::Parameters;
use crate::model_rules::row::ModelRow;
use crate::model_rules::{combinations, messages, thinking};
use crate::passthrough::body_editor::BodyEditor;
use crate::passthrough::json_fields::JsonFields;
use crate::upstream::Dialect;

/// The rules for one model of a provider: all rows for it, combined.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestRules(ModelRow);

impl RequestRules {
    /// Combines rows, of which later ones win.
    pub fn combine<'r>(rows: impl IntoIterator<Item = &'r ModelRow>) -> Self {
        let mut rules = Self::default();
        rows.into_iter().for_each(|row| rules.0.add(row));
        rules
    }

    /// Whether there is nothing to change in any body.
    pub fn is_empty(&self) -> bool {
        self.0 == ModelRow::default()
    }

    /// Most bytes of the name of a tool.
    pub fn max_tool_name_bytes(&self) -> Option<usize> {
        self.0.tool_name_length
    }

    /// Whether the messages may change, so that memory for a copy of them is needed.
    pub fn may_change_messages(&self) -> bool {
        self.0.developer_role == Some(false) || self.0.blank_text == Some(false)
    }

    /// Applies the rules to a body of this dialect.
    pub fn apply(&self, dialect: Dialect, origin: RequestOrigin<'_>, editor: &mut BodyEditor<'_>) -> ChangeNotes {
        let mut notes = ChangeNotes::default();
        let row = &self.0;
        if row.developer_role == Some(false) && messages::rename_developer(editor) {
            notes.change("the role `developer` to `system`".into());
        }
        let has_blocks = matches!(dialect, Dialect::Anthropic | Dialect::Bedrock);
        if row.blank_text == Some(false) && has_blocks && messages::drop_blank_text(editor) {
            notes.drop("text of white space only");
        }
        let body = &mut Parameters::new(dialect, editor);
        thinking::apply(row, dialect, origin, body, &mut notes);
        combinations::apply(row, dialect, body, &mut notes);
        if let (Some(most), Some(name)) = (row.max_stop_sequences, stop_parameter(dialect)) {
            body.truncate(name, most, &mut notes);
        }
        for (from, to) in &row.rename {
            body.rename(from, to, &mut notes);
        }
        for name in &row.drop {
            body.drop(name, &mut notes);
        }
        for (name, value) in &row.default {
            if body.get(name).is_none() {
                body.set(name, value.to_string());
            }
        }
        for (name, value) in &row.set {
            body.set(name, value.to_string());
        }
        notes
    }

    /// Applies the rules to a whole body, which was written for `chat`. Returns it and the notes.
    ///
    /// # Errors
    /// `Internal` for a body that is not an object.
    pub fn apply_to_body(
        &self,
        dialect: Dialect,
        origin: RequestOrigin<'_>,
        body: String,
    ) -> Result<(Vec<u8>, ChangeNotes), Error> {
        if self.is_empty() {
            return Ok((body.into_bytes(), ChangeNotes::default()));
        }
        let (edited, notes) = {
            let fields = JsonFields::scan(body.as_bytes())
                .map_err(|error| Error::internal(format!("a request is not an object: {}", error.message)))?;
            let mut editor = BodyEditor::new(&fields);
            let notes = self.apply(dialect, origin, &mut editor);
            (editor.finish(), notes)
        };
        Ok((edited.unwrap_or_else(|| body.into_bytes()), notes))
    }
}

/// The name of the stop sequences; `None` for an API without any.
fn stop_parameter(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::OpenAi | Dialect::DeepSeek => Some("stop"),
        Dialect::Anthropic | Dialect::Bedrock => Some("stop_sequences"),
        Dialect::Gemini => Some("generationConfig.stopSequences"),
        Dialect::Responses | Dialect::Midjourney | Dialect::Suno => None,
    }
}
