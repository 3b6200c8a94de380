//! The places of system messages. Services with several system messages take them anywhere; the
//! prompt formats of this family have no place for them behind the user's turn, where an answer
//! begins, nor between calls and their results.

use chat::{Message, Part, Role};

use super::notes::Notes;

/// Moves system messages that the prompt formats cannot place. Those between calls and their
/// results go behind the results. The last ones go to the user's turn before them, which the answer
/// follows; without such a turn they become one.
pub(super) fn place_system_messages(messages: &mut Vec<Message>, notes: &mut Notes<'_>) {
    move_behind_results(messages, notes);
    let conversation = messages.iter().rposition(|message| message.role != Role::System).map_or(0, |last| last + 1);
    if conversation == messages.len() {
        return;
    }
    if conversation == 0 {
        // Instructions alone: the last of them is what the model answers.
        messages.last_mut().expect("the list of messages is not empty").role = Role::User;
        notes.add("the only message is a system message, which is read as the user's");
        return;
    }
    let instructions = messages.split_off(conversation);
    let mut text: Vec<Part> = Vec::new();
    for message in instructions {
        text.push(Part::Text("\n\n".into()));
        text.extend(message.content.unwrap_or_default());
    }
    let last = messages.last_mut().expect("a message stands before the instructions");
    match last.role {
        Role::User | Role::Tool => last.content.get_or_insert_default().extend(text),
        _ => messages.push(Message { content: Some(text.split_off(1)), ..Message::new(Role::User, "") }),
    }
    notes.add("a system message at the end is read as part of the user's turn");
}

/// Moves each system message between calls and their results behind the results.
fn move_behind_results(messages: &mut [Message], notes: &mut Notes<'_>) {
    let mut rest = messages;
    while let Some(calling) = rest.iter().position(|message| !message.calls().is_empty()) {
        rest = &mut rest[calling + 1..];
        let run = rest.iter().take_while(|message| matches!(message.role, Role::System | Role::Tool)).count();
        let results = rest[..run].iter().filter(|message| message.role == Role::Tool).count();
        if results > 0 && rest[..results].iter().any(|message| message.role == Role::System) {
            // The sort is stable: results and system messages keep their order.
            rest[..run].sort_by_key(|message| message.role == Role::System);
            notes.add("a system message between tool calls and their results is read behind them");
        }
    }
}
