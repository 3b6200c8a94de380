//! Checks and repairs of a conversation: content, results of tool calls, the last message, and
//! reasoning in the input.

use std::collections::HashSet;

use chat::{Chat, Error, Input, Message, Part, Role};

use super::errors::{array_too_long_error, empty_array_error, invalid};
use super::notes::Notes;
use super::rules::{Profile, ReasoningRules, ValidationRules};
use super::system_messages::place_system_messages;

const MAX_MESSAGES: usize = 4096;

/// Checks the messages of a chat; a chat with another kind of input passes. Each rule is checked
/// over all messages before the next rule, so the error is that of the first broken rule. The
/// lenient profile repairs some messages instead and adds notes. Reasoning that the prompt does not
/// use is removed: all except that of the current turn (V32 rules) and of a prefix, in thinking
/// mode.
pub(super) fn check_messages(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    let lenient = rules.profile == Profile::Lenient;
    if lenient {
        chat.leave_out_volatile_line();
    }
    let Input::Messages(messages) = &mut chat.input else { return Ok(()) };
    let keeps_reasoning = chat.thinking == Some(true) && rules.reasoning_rules == ReasoningRules::V32;
    let mut notes = Notes(&mut chat.notes);

    if messages.is_empty() {
        return invalid(empty_array_error("messages"));
    }
    if messages.len() > MAX_MESSAGES {
        return invalid(array_too_long_error("messages", MAX_MESSAGES, messages.len()));
    }
    if lenient {
        leave_out_attachments_of_results(messages, &mut notes);
    }
    check_text_only(messages)?;
    if lenient {
        for message in messages.iter_mut().filter(|message| message.tool_calls.as_ref().is_some_and(Vec::is_empty)) {
            message.tool_calls = None;
            notes.add("an empty `tool_calls` is treated as absent");
        }
        let answers = messages.iter_mut().filter(|message| message.role == Role::Assistant);
        for message in answers.filter(|message| message.content.is_none() && message.tool_calls.is_none()) {
            message.content = Some(Vec::new());
            notes.add("an assistant message without content is empty");
        }
        place_system_messages(messages, &mut notes);
    }
    for message in messages.iter().filter(|message| message.role == Role::Assistant) {
        if message.content.is_none() && message.tool_calls.is_none() {
            return invalid("Invalid assistant message: content or tool_calls must be set");
        }
    }
    for (index, message) in messages.iter().enumerate() {
        if message.tool_calls.as_ref().is_some_and(Vec::is_empty) {
            return invalid(empty_array_error(&format!("messages[{index}].tool_calls")));
        }
    }
    check_tool_results(messages)?;
    check_last_message(messages, &chat.model, chat.beta, lenient, &mut notes)?;
    // The current turn is everything after the last user message.
    let turn_start = messages.iter().rposition(|message| matches!(message.role, Role::User)).map_or(0, |user| user + 1);
    if keeps_reasoning {
        check_reasoning_of_calls(messages, turn_start, lenient, &mut notes)?;
    }
    let thinking = chat.thinking == Some(true);
    for (index, message) in messages.iter_mut().enumerate() {
        let visible = (keeps_reasoning && index >= turn_start) || (thinking && message.prefix);
        message.reasoning = message.reasoning.take().filter(|_| visible);
    }
    Ok(())
}

/// Replaces what is not text in results of tools: a conversation that has one goes on.
fn leave_out_attachments_of_results(messages: &mut [Message], notes: &mut Notes<'_>) {
    let results = messages.iter_mut().filter(|message| message.role == Role::Tool);
    let parts = results.flat_map(|message| message.content.iter_mut().flatten());
    for part in parts.filter(|part| matches!(part, Part::Other { .. })) {
        *part = Part::Text("[This model reads text only, and this part of the result is none.]".into());
        notes.add("images and files in results of tools are left out");
    }
}

/// Checks that all content is text.
fn check_text_only(messages: &[Message]) -> Result<(), Error> {
    for (index, message) in messages.iter().enumerate() {
        for part in message.content.iter().flatten() {
            if let Part::Other { kind, .. } = part {
                return invalid(format!(
                    "Failed to deserialize the JSON body into the target type: messages[{index}]: unknown variant {kind}, \
                     expected text"
                ));
            }
        }
    }
    Ok(())
}

/// Checks that each call has one result directly behind its message, that each result has a call,
/// and that the ids of calls and results are unique there. Uses hash sets, because a body can hold
/// half a million calls.
fn check_tool_results(messages: &[Message]) -> Result<(), Error> {
    // A run is a message and the tool messages directly behind it. Where the conversation begins
    // with tool messages, the first of them heads the run.
    let runs = || messages.chunk_by(|_, next| next.role == Role::Tool);
    for run in runs() {
        let answered: HashSet<&str> = answered_ids(run).map(|(_, id)| id).collect();
        if called_ids(run).any(|id| !answered.contains(id)) {
            return invalid(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
                 'tool_call_id'. (insufficient tool messages following tool_calls message)",
            );
        }
    }
    for run in runs() {
        let called: HashSet<&str> = called_ids(run).collect();
        if answered_ids(run).any(|(_, id)| !called.contains(id)) {
            return invalid("Messages with role 'tool' must be a response to a preceding message with 'tool_calls'");
        }
    }
    // The index of the run's first message.
    let mut first = 0;
    for run in runs() {
        let (mut called, mut answered) = (HashSet::new(), HashSet::new());
        let mut twice = called_ids(run).map(|id| (0, id)).find(|&(_, id)| !called.insert(id));
        twice = twice.or_else(|| answered_ids(run).find(|&(_, id)| !answered.insert(id)));
        if let Some((nth, id)) = twice {
            return invalid(format!("Duplicate value for 'tool_call_id' of {id} in message[{}]", first + nth));
        }
        first += run.len();
    }
    Ok(())
}

/// The call ids of the first message of a run.
fn called_ids(run: &[Message]) -> impl Iterator<Item = &str> {
    run[0].calls().iter().map(|call| call.id.as_str())
}

/// The tool messages of a run: the position of each in the run, and the call id that it answers. A
/// missing id counts as empty.
fn answered_ids(run: &[Message]) -> impl Iterator<Item = (usize, &str)> {
    let tools = run.iter().enumerate().filter(|(_, message)| message.role == Role::Tool);
    tools.map(|(nth, message)| (nth, message.tool_call_id.as_deref().unwrap_or_default()))
}

/// Checks the role of the last message, and that no other message is a prefix. The lenient profile
/// makes a last assistant message a prefix, and allows prefixes outside /beta.
fn check_last_message(
    messages: &mut [Message],
    model: &str,
    beta: bool,
    lenient: bool,
    notes: &mut Notes<'_>,
) -> Result<(), Error> {
    let (last, earlier) = messages.split_last_mut().expect("the list of messages is not empty");
    match last.role {
        Role::User | Role::Tool => {}
        Role::Assistant if last.prefix && (beta || lenient) => {
            if !beta {
                notes.add("`prefix` is accepted outside /beta");
            }
        }
        Role::Assistant if last.prefix => {
            return invalid("The prefix parameter is only available on the beta endpoint");
        }
        Role::Assistant if lenient => {
            last.prefix = true;
            notes.add("a last assistant message is treated as a prefix");
        }
        _ => {
            return invalid(format!(
                "The last message of {model} must be a user message, or an assistant message with prefix mode on (refer \
                 to https://api-docs.deepseek.com/guides/chat_prefix_completion)."
            ));
        }
    }
    if last.prefix && last.tool_calls.is_some() {
        return invalid("The prefix parameter cannot be used with tool_calls in the same message");
    }
    if earlier.iter().any(|message| message.prefix) {
        return invalid("Only the last message can set prefix");
    }
    Ok(())
}

/// Checks that messages with calls in the current turn have reasoning. The lenient profile adds an
/// empty one instead.
fn check_reasoning_of_calls(
    messages: &mut [Message],
    turn_start: usize,
    lenient: bool,
    notes: &mut Notes<'_>,
) -> Result<(), Error> {
    for (index, message) in messages.iter_mut().enumerate().skip(turn_start) {
        if message.calls().is_empty() || message.reasoning.is_some() {
            continue;
        }
        if !lenient {
            return invalid(format!(
                "Missing `reasoning_content` field in the assistant message at message index {index}. For more \
                 information, please refer to https://api-docs.deepseek.com/guides/thinking_mode#tool-calls"
            ));
        }
        message.reasoning = Some(String::new());
        notes.add("a missing `reasoning_content` of the current turn is treated as empty");
    }
    Ok(())
}
