//! Validates a chat as DeepSeek's own service does, before it is queued: value ranges in the order
//! of the API document, then the structure of the conversation. Neither the rendered prompt nor its
//! tokens are known yet.
//!
//! The lenient profile accepts some requests that the service refuses, rewrites them into the
//! accepted form and adds a note.

mod completion;
mod context_length;
mod errors;
mod messages;
mod response_format;
mod rules;
mod sampling;
#[cfg(test)]
mod tests;
mod tools;

use chat::{Chat, Error};

pub(crate) use context_length::{max_new_tokens, uncounted_context_length_error};
use errors::{invalid, matches_name_pattern, pattern_error};
pub use rules::{Profile, ReasoningRules, ValidationRules};

/// Validates `chat` and normalizes it for the engine.
///
/// Afterwards `thinking` is set and final (tools may have switched it off), sampling fields without
/// effect are removed, an alias is moved to its proper field, and reasoning that the prompt must
/// not contain is removed. `max_tokens` stays `None` when the caller gave none: `max_new_tokens`
/// applies the default once the prompt's length is known.
///
/// # Errors
/// `Invalid`, with the text of the API document; the first error in the document's
/// order is returned.
pub fn check(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    completion::check_completion(chat, rules)?;
    check_thinking_mode(chat, rules)?;
    sampling::check_length(chat)?;
    sampling::check_sampling(chat, rules)?;
    response_format::check_response_format(chat, rules)?;
    tools::check_tools(chat, rules)?;
    sampling::check_logprobs(chat)?;
    sampling::check_logit_bias(chat, rules)?;
    check_user_id(chat)?;
    messages::check_messages(chat, rules)
}

fn check_thinking_mode(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    let mut thinking = chat.thinking.unwrap_or(false);
    if rules.reasoning_rules == ReasoningRules::V32Exp && !chat.tools.is_empty() {
        thinking = false;
    }
    chat.thinking = Some(thinking);
    match thinking {
        true if !rules.supports_thinking => invalid(format!("{} does not support thinking", chat.model)),
        false if !rules.supports_non_thinking => invalid(format!("{} does not support non-thinking", chat.model)),
        _ => Ok(()),
    }
}

fn check_user_id(chat: &mut Chat) -> Result<(), Error> {
    let Some(id) = chat.user_id.take() else { return Ok(()) };
    if !matches_name_pattern(&id) {
        return invalid(pattern_error("user_id"));
    }
    if id.len() > 512 {
        return invalid(format!(
            "Invalid 'user_id': string too long. Expected a string with maximum length 512, but got a string with length \
             {} instead.",
            id.len()
        ));
    }
    chat.user = Some(id);
    Ok(())
}
