//! The structure of a conversation: who may speak when, which calls must be answered, which reasoning counts.

use chat::{Chat, Error, Input, Message, Part, Role};

use super::{Limits, Profile, ReasoningRules, empty, refuse, too_long};

const MAX_MESSAGES: usize = 4096;

/// The structure of the conversation: rule by rule, each over all messages.
pub(super) fn messages(chat: &mut Chat, limits: &Limits) -> Result<(), Error> {
    let Input::Messages(messages) = &mut chat.input else { return Ok(()) };
    let lenient = limits.profile == Profile::Lenient;
    let reasons = chat.thinking == Some(true) && limits.rules == ReasoningRules::V32;
    let mut notes = Notes(&mut chat.notes);

    if messages.is_empty() {
        return refuse(empty("messages"));
    }
    if messages.len() > MAX_MESSAGES {
        return refuse(too_long("messages", MAX_MESSAGES, messages.len()));
    }
    text_only(messages)?;
    if lenient {
        for message in messages.iter_mut().filter(|message| message.tool_calls.as_ref().is_some_and(Vec::is_empty)) {
            message.tool_calls = None;
            notes.add("an empty `tool_calls` is treated as absent");
        }
    }
    for message in messages.iter().filter(|message| message.role == Role::Assistant) {
        if message.content.is_none() && message.tool_calls.is_none() {
            return refuse("Invalid assistant message: content or tool_calls must be set");
        }
    }
    for (index, message) in messages.iter().enumerate() {
        if message.tool_calls.as_ref().is_some_and(Vec::is_empty) {
            return refuse(empty(&format!("messages[{index}].tool_calls")));
        }
    }
    tool_runs(messages)?;
    last(messages, &chat.model, chat.beta, lenient, &mut notes)?;
    let turn = messages.iter().rposition(|message| matches!(message.role, Role::User)).map_or(0, |user| user + 1);
    if reasons {
        reasoning_of_calls(messages, turn, lenient, &mut notes)?;
    }
    let thinking = chat.thinking == Some(true);
    for (index, message) in messages.iter_mut().enumerate() {
        let seen = (reasons && index >= turn) || (thinking && message.prefix);
        message.reasoning = message.reasoning.take().filter(|_| seen);
    }
    Ok(())
}

/// Notes, each said once.
struct Notes<'a>(&'a mut Vec<String>);

impl Notes<'_> {
    fn add(&mut self, note: &str) {
        if !self.0.iter().any(|said| said == note) {
            self.0.push(note.into());
        }
    }
}

fn text_only(messages: &[Message]) -> Result<(), Error> {
    for (index, message) in messages.iter().enumerate() {
        for part in message.content.iter().flatten() {
            if let Part::Other { kind, .. } = part {
                return refuse(format!(
                    "Failed to deserialize the JSON body into the target type: messages[{index}]: unknown variant {kind}, \
                     expected text"
                ));
            }
        }
    }
    Ok(())
}

/// Every call is answered once, at once, and nothing else is answered.
fn tool_runs(messages: &[Message]) -> Result<(), Error> {
    let run_after = |index: usize| messages[index + 1..].iter().take_while(|message| message.role == Role::Tool);
    let answers = |message: &Message, id: &str| message.tool_call_id.as_deref() == Some(id);
    for (index, message) in messages.iter().enumerate() {
        if message.calls().iter().any(|call| !run_after(index).any(|answer| answers(answer, &call.id))) {
            return refuse(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
                 'tool_call_id'. (insufficient tool messages following tool_calls message)",
            );
        }
    }
    let caller = |index: usize| messages[..index].iter().rposition(|message| message.role != Role::Tool);
    for (index, message) in messages.iter().enumerate().filter(|(_, message)| message.role == Role::Tool) {
        let calls = caller(index).map(|caller| messages[caller].calls()).unwrap_or_default();
        if !calls.iter().any(|call| answers(message, &call.id)) {
            return refuse("Messages with role 'tool' must be a response to a preceding message with 'tool_calls'");
        }
    }
    let duplicate =
        |id: &str, index: usize| refuse(format!("Duplicate value for 'tool_call_id' of {id} in message[{index}]"));
    for (index, message) in messages.iter().enumerate() {
        for (nth, call) in message.calls().iter().enumerate() {
            if message.calls()[..nth].iter().any(|other| other.id == call.id) {
                return duplicate(&call.id, index);
            }
        }
        if message.role == Role::Tool {
            let first = caller(index).map_or(0, |caller| caller + 1);
            let id = message.tool_call_id.as_deref().unwrap_or_default();
            if messages[first..index].iter().any(|earlier| answers(earlier, id)) {
                return duplicate(id, index);
            }
        }
    }
    Ok(())
}

/// Who may speak last, and where a prefix may stand.
fn last(messages: &mut [Message], model: &str, beta: bool, lenient: bool, notes: &mut Notes<'_>) -> Result<(), Error> {
    let (last, earlier) = messages.split_last_mut().expect("the list of messages is not empty");
    match last.role {
        Role::User | Role::Tool => {}
        Role::Assistant if last.prefix && (beta || lenient) => {
            if !beta {
                notes.add("`prefix` is accepted outside /beta");
            }
        }
        Role::Assistant if last.prefix => {
            return refuse("The prefix parameter is only available on the beta endpoint");
        }
        Role::Assistant if lenient => {
            last.prefix = true;
            notes.add("a last assistant message is treated as a prefix");
        }
        _ => {
            return refuse(format!(
                "The last message of {model} must be a user message, or an assistant message with prefix mode on (refer \
                 to https://api-docs.deepseek.com/guides/chat_prefix_completion)."
            ));
        }
    }
    if last.prefix && last.tool_calls.is_some() {
        return refuse("The prefix parameter cannot be used with tool_calls in the same message");
    }
    if earlier.iter().any(|message| message.prefix) {
        return refuse("Only the last message can set prefix");
    }
    Ok(())
}

/// Inside a turn, calls come back together with the reasoning that led to them.
fn reasoning_of_calls(
    messages: &mut [Message],
    turn: usize,
    lenient: bool,
    notes: &mut Notes<'_>,
) -> Result<(), Error> {
    for (index, message) in messages.iter_mut().enumerate().skip(turn) {
        if message.calls().is_empty() || message.reasoning.is_some() {
            continue;
        }
        if !lenient {
            return refuse(format!(
                "Missing `reasoning_content` field in the assistant message at message index {index}. For more \
                 information, please refer to https://api-docs.deepseek.com/guides/thinking_mode#tool-calls"
            ));
        }
        message.reasoning = Some(String::new());
        notes.add("a missing `reasoning_content` of the current turn is treated as empty");
    }
    Ok(())
}
