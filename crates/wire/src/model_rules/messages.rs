//! Changes inside the messages of a body.

use memchr::memmem;

use crate::passthrough::body_editor::BodyEditor;
use crate::passthrough::json_elements::{ElementChange, change_elements};
use crate::passthrough::json_fields::JsonFields;

/// The text of a message that has nothing else to say, which providers refuse to be empty.
const PLACEHOLDER: &str = ".";

/// Gives messages of the role `developer` the role `system`. Returns whether there are any.
pub(super) fn rename_developer(editor: &mut BodyEditor<'_>) -> bool {
    let Some(messages) = editor.get("messages") else { return false };
    // Most requests have none, and need not be scanned. Nobody writes the word with escapes.
    if memmem::find(messages, b"\"developer\"").is_none() {
        return false;
    }
    let renamed = change_elements(messages, |message| {
        let Ok(fields) = JsonFields::scan(message) else { return ElementChange::Keep };
        if fields.get("role") != Some(b"\"developer\"") {
            return ElementChange::Keep;
        }
        ElementChange::Replace(fields.with_changes(&[("role", "\"system\"".into())]))
    });
    set_list(editor, "messages", renamed)
}

/// Leaves out text of white space only, in the APIs of Anthropic and Bedrock. Returns whether there
/// is any.
pub(super) fn drop_blank_text(editor: &mut BodyEditor<'_>) -> bool {
    let messages = editor.get("messages").and_then(|messages| {
        change_elements(messages, |message| {
            let Ok(fields) = JsonFields::scan(message) else { return ElementChange::Keep };
            let Some(content) = fields.get("content").and_then(without_blank_text) else { return ElementChange::Keep };
            let content = content.unwrap_or_else(|| match fields.get("content") {
                // Bedrock's blocks have no type.
                Some(old) if old.starts_with(b"[") && memmem::find(old, b"\"type\"").is_none() => {
                    format!(r#"[{{"text":"{PLACEHOLDER}"}}]"#)
                }
                _ => format!(r#"[{{"type":"text","text":"{PLACEHOLDER}"}}]"#),
            });
            ElementChange::Replace(fields.with_changes(&[("content", content)]))
        })
    });
    let in_messages = set_list(editor, "messages", messages);
    match editor.get("system").and_then(without_blank_text) {
        None => in_messages,
        Some(Some(system)) => {
            editor.set("system", system);
            true
        }
        Some(None) => {
            editor.remove("system");
            true
        }
    }
}

/// The content without blank text: `None` if it has none, `Some(None)` if it has nothing else.
fn without_blank_text(content: &[u8]) -> Option<Option<String>> {
    if content.starts_with(b"\"") {
        return is_blank_string(content).then_some(None);
    }
    let rest = change_elements(content, |block| {
        // Every other block is longer or of another type.
        let is_blank = JsonFields::scan(block).is_ok_and(|fields| {
            matches!(fields.get("type"), None | Some(b"\"text\"")) && fields.get("text").is_some_and(is_blank_string)
        });
        if is_blank { ElementChange::Remove } else { ElementChange::Keep }
    })?;
    Some(if rest == b"[]" { None } else { Some(String::from_utf8_lossy(&rest).into_owned()) })
}

/// Whether a JSON string is empty or has white space only.
fn is_blank_string(json: &[u8]) -> bool {
    let Some(text) = json.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else { return false };
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return true,
            [b' ', rest @ ..] | [b'\\', b'n' | b't' | b'r' | b'f', rest @ ..] => rest,
            _ => return false,
        }
    }
}

fn set_list(editor: &mut BodyEditor<'_>, name: &str, list: Option<Vec<u8>>) -> bool {
    match list {
        Some(list) => {
            editor.set(name, String::from_utf8_lossy(&list).into_owned());
            true
        }
        None => false,
    }
}
