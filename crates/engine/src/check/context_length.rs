//! The limit on prompt and answer together, once the length of the prompt is known.

use chat::{Chat, Error, Input};

use super::completion;
use super::rules::ValidationRules;

/// The maximum number of tokens of an answer, given the length of its prompt.
///
/// # Errors
/// [`context_length_error`] when the prompt, or the prompt and an explicit `max_tokens`, exceed the
/// context. A default is cut to fit instead.
pub(crate) fn max_new_tokens(chat: &Chat, rules: &ValidationRules, prompt_tokens: usize) -> Result<usize, Error> {
    let context = rules.context as usize;
    let explicit = chat.max_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(0));
    if prompt_tokens >= context || prompt_tokens + explicit.unwrap_or(0) > context {
        return Err(context_length_error(context, prompt_tokens, explicit));
    }
    let default = match (&chat.input, chat.thinking) {
        (Input::Messages(_), Some(true)) => 32768,
        (Input::Messages(_), _) => 4096,
        _ => completion::default_max_tokens(chat),
    };
    let paid = chat.affordable_tokens.map_or(usize::MAX, |tokens| usize::try_from(tokens).unwrap_or(0));
    Ok(explicit.unwrap_or(default).min(context - prompt_tokens).min(paid))
}

/// The error of a prompt that exceeds the context. `max_tokens` is the caller's own, not a default.
///
/// LiteLLM recognises it by its beginning.
pub(crate) fn context_length_error(context: usize, prompt_tokens: usize, max_tokens: Option<usize>) -> Error {
    build_context_length_error(context, "", prompt_tokens, max_tokens)
}

/// The error of a prompt whose encoding was stopped after `at_least` tokens.
pub(crate) fn uncounted_context_length_error(chat: &Chat, context: usize, at_least: usize) -> Error {
    let explicit = chat.max_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(0));
    build_context_length_error(context, "at least ", at_least, explicit)
}

fn build_context_length_error(
    context: usize,
    at_least: &str,
    prompt_tokens: usize,
    max_tokens: Option<usize>,
) -> Error {
    let completion = max_tokens.unwrap_or(0);
    Error::invalid(format!(
        "This model's maximum context length is {context} tokens. However, you requested {at_least}{} tokens \
         ({prompt_tokens} in the messages, {completion} in the completion). Please reduce the length of the messages or \
         completion.",
        prompt_tokens + completion
    ))
}
