//! Single parameters that are renamed or left out.

use serde_json::Value;

use crate::model_rules::change_notes::ChangeNotes;
use crate::passthrough::body_editor::BodyEditor;

/// Sends a parameter under another name. A value under that name wins.
pub(super) fn rename_parameter(from: &str, to: &str, editor: &mut BodyEditor<'_>, notes: &mut ChangeNotes) {
    let Some(value) = editor.get(from).map(|value| String::from_utf8_lossy(value).into_owned()) else { return };
    editor.remove(from);
    if editor.get(to).is_some() {
        notes.drop(from);
        return;
    }
    editor.set(to, value);
    notes.change(format!("`{from}` to `{to}`"));
}

/// Leaves out a parameter. Nothing is lost, and nothing noted, with a value that is the default of
/// every provider.
pub(super) fn drop_parameter(name: &str, editor: &mut BodyEditor<'_>, notes: &mut ChangeNotes) {
    let Some(value) = editor.get_path(name) else { return };
    let is_default = match serde_json::from_slice::<Value>(&value) {
        Ok(Value::Number(number)) => {
            let default = match name {
                "temperature" | "top_p" | "n" => 1.0,
                "presence_penalty" | "frequency_penalty" => 0.0,
                _ => f64::NAN,
            };
            number.as_f64() == Some(default)
        }
        Ok(Value::Bool(value)) => name == "logprobs" && !value,
        _ => false,
    };
    drop(value);
    editor.remove_path(name);
    // The gateway adds `stream_options` itself.
    if !is_default && name != "stream_options" {
        notes.drop(name);
    }
}
