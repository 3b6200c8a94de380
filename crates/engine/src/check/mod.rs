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
mod notes;
mod response_format;
mod rules;
mod sampling;
mod system_messages;
#[cfg(test)]
mod tests;
mod tools;

use chat::{Attention, Chat, Error, Input};

pub(crate) use context_length::{OutputLimit, output_limit, uncounted_context_length_error};
use errors::{invalid, matches_name_pattern, pattern_error};
pub use rules::{Profile, ReasoningRules, ValidationRules};

/// Validates `chat` and normalizes it for the engine.
///
/// Afterwards `thinking` is set and final (tools may have switched it off), sampling fields without
/// effect are removed, an alias is moved to its proper field, and reasoning that the prompt must
/// not contain is removed. `max_tokens` stays `None` when the caller gave none: `output_limit`
/// applies the default once the prompt's length is known.
///
/// # Errors
/// `Invalid`, with the text of the API document; the first error in the document's
/// order is returned.
pub fn check(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    completion::check_completion(chat, rules)?;
    check_thinking_mode(chat, rules)?;
    sampling::check_length(chat, rules)?;
    sampling::check_sampling(chat, rules)?;
    response_format::check_response_format(chat, rules)?;
    tools::check_tools(chat, rules)?;
    sampling::check_logprobs(chat)?;
    sampling::check_logit_bias(chat, rules)?;
    check_user_id(chat)?;
    check_attention(chat, rules)?;
    if rules.profile == Profile::Lenient && !chat.uncarried.is_empty() {
        chat.notes.push(format!("ignored: {}", chat.uncarried.join(", ")));
    }
    messages::check_messages(chat, rules)
}

/// Checks that the model has the mode that the request asks for. The lenient profile answers in the
/// mode that the model has.
fn check_thinking_mode(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    let mut thinking = chat.thinking.unwrap_or(false);
    if rules.profile == Profile::Lenient && matches!(chat.input, Input::Messages(_)) {
        if !thinking && !rules.supports_non_thinking {
            chat.notes.push("this model always thinks".into());
            thinking = true;
        } else if thinking && !rules.supports_thinking {
            chat.notes.push("this model does not think".into());
            thinking = false;
        }
    }
    if rules.reasoning_rules == ReasoningRules::V32Exp && !chat.tools.is_empty() {
        thinking = false;
    }
    chat.thinking = Some(thinking);
    if rules.profile == Profile::Lenient && !matches!(chat.input, Input::Messages(_)) {
        // A completion of text has no modes.
        return Ok(());
    }
    match thinking {
        true if !rules.supports_thinking => invalid(format!("{} does not support thinking", chat.model)),
        false if !rules.supports_non_thinking => invalid(format!("{} does not support non-thinking", chat.model)),
        _ => Ok(()),
    }
}

fn check_attention(chat: &Chat, rules: &ValidationRules) -> Result<(), Error> {
    match chat.attention {
        Some(Attention::Sparse) if !rules.has_sparse_attention => invalid(format!(
            "{} has no sparse attention: leave `cachalot.attention` out, or set it to `dense`",
            chat.model
        )),
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
