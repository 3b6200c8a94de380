//! The constraint of an answer: the grammar of its chat, compiled.

use chat::{Chat, Error, Input, ResponseFormat, ToolChoice};
use serde_json::json;
use text::{Rendered, ResponseStart};

use crate::check::Profile;
use crate::constraint::Constraint;
use crate::engine::Shared;

/// Compiles the constraint of the answer to `chat`; `None` for free text. In the lenient profile a
/// tool whose schema cannot be compiled gets arguments of any object, with a note in `chat.notes`.
///
/// # Errors
/// `InvalidRequest` when a promised schema cannot be enforced.
pub(crate) fn answer_constraint(
    shared: &Shared,
    chat: &mut Chat,
    rendered: &Rendered,
) -> Result<Option<Constraint>, Error> {
    let prefix = shared.encoding.prefilled_tokens(chat, rendered);
    let error = match compile(shared, chat, &prefix, rendered.start) {
        Err(error) if shared.validation_rules.profile == Profile::Lenient => error,
        compiled => return compiled,
    };
    let mut relaxed = Chat { input: Input::Messages(Vec::new()), ..chat.clone() };
    let mut relaxed_names = Vec::new();
    for tool in &mut relaxed.tools {
        let alone = Chat {
            tools: vec![tool.clone()],
            tool_choice: Some(ToolChoice::Required),
            response_format: ResponseFormat::Text,
            ..Chat::default()
        };
        if compile(shared, &alone, &[], rendered.start).is_err() {
            tool.function.insert("parameters".into(), json!({ "type": "object" }));
            relaxed_names.push(tool.name.clone());
        }
    }
    if relaxed_names.is_empty() {
        return Err(error);
    }
    let constraint = compile(shared, &relaxed, &prefix, rendered.start)?;
    chat.notes.push(format!("too complex to be enforced: the schema of the tool {}", relaxed_names.join(", ")));
    Ok(constraint)
}

fn compile(shared: &Shared, chat: &Chat, prefix: &[u32], start: ResponseStart) -> Result<Option<Constraint>, Error> {
    let Some(grammar) = shared.encoding.grammar(chat)? else { return Ok(None) };
    shared.grammar_compiler.compile(grammar, prefix, start).map(Some)
}
