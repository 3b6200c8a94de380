//! `response_format`: JSON output and JSON schemas.

use chat::{Chat, Error, Input, Message, Part, ResponseFormat, Role};
use serde_json::Value;
use text::format_schema;

use super::errors::{invalid, matches_name_pattern};
use super::notes::unenforced_note;
use super::rules::{Profile, ValidationRules};

/// Checks the format. A prompt for JSON output must contain the word "json": without an instruction
/// the model may write white space up to the limit.
pub(super) fn check_response_format(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    match &chat.response_format {
        ResponseFormat::Text => Ok(()),
        ResponseFormat::Unknown(_) => invalid("This response_format type is unavailable now"),
        ResponseFormat::JsonSchema(format) => {
            let name = format.get("name").and_then(Value::as_str).unwrap_or_default();
            if !matches_name_pattern(name) || name.len() > 64 {
                return invalid(
                    "Invalid 'response_format.json_schema.name': expected a string that matches the pattern \
                     '^[a-zA-Z0-9_-]{1,64}$'.",
                );
            }
            let lenient = rules.profile == Profile::Lenient;
            let schema = format_schema(format, lenient)?;
            chat.lenient_schemas = lenient;
            if lenient {
                chat.notes.extend(unenforced_note("response_format", schema.unenforced()));
            }
            Ok(())
        }
        ResponseFormat::JsonObject => {
            let Input::Messages(messages) = &mut chat.input else { return Ok(()) };
            if messages.is_empty() || messages.iter().any(|message| message.text().to_lowercase().contains("json")) {
                return Ok(());
            }
            if rules.profile == Profile::DeepSeek {
                return invalid(
                    "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.",
                );
            }
            add_json_instruction(messages);
            chat.notes.push("`json_object` without the word json in the prompt: an instruction was added".into());
            Ok(())
        }
    }
}

fn add_json_instruction(messages: &mut Vec<Message>) {
    const JSON_INSTRUCTION: &str = "Respond with one JSON object.";
    match messages.iter_mut().find(|message| message.role == Role::System) {
        Some(system) => system.content.get_or_insert_default().push(Part::Text(format!("\n\n{JSON_INSTRUCTION}"))),
        None => messages.insert(0, Message::new(Role::System, JSON_INSTRUCTION)),
    }
}
