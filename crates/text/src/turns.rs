//! Conversations as turns: each message together with the results of its tool calls.

use std::collections::HashMap;

use chat::{Error, Message, Role};

/// A message, and the results of its tool calls in the order of the calls.
pub(crate) struct Turn<'a> {
    pub(crate) message: &'a Message,
    pub(crate) text: String,
    pub(crate) results: Vec<String>,
}

/// Groups `messages` into turns.
///
/// Prompts contain no ids, so results are sorted into the order of the calls by their
/// `tool_call_id`; results without ids keep their order. Only the last message may have unanswered
/// calls.
///
/// # Errors
/// `InvalidRequest` for a result without a call, an unanswered call, or a prefix with calls.
pub(crate) fn turns<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Result<Vec<Turn<'a>>, Error> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    let mut messages = messages.into_iter().peekable();
    while let Some(message) = messages.next() {
        if message.role == Role::Tool {
            return Err(Error::invalid(
                "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'",
            ));
        }
        if message.prefix && messages.peek().is_some() {
            return Err(Error::invalid("Only the last message can set prefix"));
        }
        if message.prefix && !message.calls().is_empty() {
            return Err(Error::invalid("The prefix parameter cannot be used with tool_calls in the same message"));
        }
        let mut turn = Turn { message, text: message.text(), results: Vec::new() };
        if !message.calls().is_empty() {
            let mut results = Vec::new();
            while let Some(result) = messages.next_if(|next| next.role == Role::Tool) {
                results.push((result.tool_call_id.as_deref(), result.text()));
            }
            let is_unanswered = results.is_empty() && messages.peek().is_none();
            if !is_unanswered {
                turn.results = order_results(message, results)?;
            }
        }
        turns.push(turn);
    }
    Ok(turns)
}

fn order_results(message: &Message, results: Vec<(Option<&str>, String)>) -> Result<Vec<String>, Error> {
    let calls = message.calls();
    if results.len() < calls.len() {
        return Err(Error::invalid(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
             (insufficient tool messages following tool_calls message)",
        ));
    }
    if results.len() > calls.len() {
        return Err(Error::invalid(
            "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'",
        ));
    }
    // The first call of an id counts.
    let call_positions: HashMap<&str, usize> =
        calls.iter().enumerate().rev().map(|(at, call)| (call.id.as_str(), at)).collect();
    let position_of = |id: Option<&str>| id.and_then(|id| call_positions.get(id).copied()).unwrap_or(calls.len());
    let mut results = results;
    results.sort_by_cached_key(|(id, _)| position_of(*id));
    Ok(results.into_iter().map(|(_, text)| text).collect())
}

#[cfg(test)]
mod tests {
    use chat::ToolCall;

    use super::*;

    fn calls(ids: &[&str]) -> Message {
        let call = |id: &&str| ToolCall { id: id.to_string(), name: "f".into(), arguments: "{}".into() };
        Message { tool_calls: Some(ids.iter().map(call).collect()), content: None, ..Message::new(Role::Assistant, "") }
    }

    fn result(id: Option<&str>, text: &str) -> Message {
        Message { tool_call_id: id.map(Into::into), ..Message::new(Role::Tool, text) }
    }

    #[test]
    fn results_come_in_the_order_of_the_calls() {
        let messages = [calls(&["a", "b"]), result(Some("b"), "B"), result(Some("a"), "A")];
        assert_eq!(turns(&messages).unwrap()[0].results, ["A", "B"]);
        let messages = [calls(&["a", "b"]), result(None, "1"), result(None, "2")];
        assert_eq!(turns(&messages).unwrap()[0].results, ["1", "2"]);
    }

    #[test]
    fn an_unanswered_call_and_a_result_without_a_call_are_refused() {
        let user = Message::new(Role::User, "u");
        let message = |messages: &[Message]| turns(messages).err().unwrap().message;
        assert!(message(&[calls(&["a", "b"]), result(Some("a"), "A")]).contains("insufficient tool messages"));
        assert!(message(&[calls(&["a"]), user.clone()]).contains("insufficient tool messages"));
        assert!(message(&[user, result(Some("a"), "A")]).contains("must be a response to a preceding message"));
        assert!(message(&[calls(&["a"]), result(Some("a"), ""), result(Some("a"), "")]).contains("must be a response"));
        assert!(turns(&[calls(&["a"])]).is_ok());
    }
}
