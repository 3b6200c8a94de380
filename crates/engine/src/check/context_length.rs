//! The limit on prompt and answer together, once the length of the prompt is known.

use chat::{Chat, Error, Input};

use super::completion;
use super::rules::{Profile, ValidationRules};

/// The limit of one answer.
pub(crate) struct OutputLimit {
    /// Maximum number of tokens of the answer; prompt and answer fit the context.
    pub(crate) max_new_tokens: usize,
    /// The caller's own `max_tokens` was cut.
    pub(crate) note: Option<String>,
}

/// The limit of an answer, given the length of its prompt. A default is cut to what is left of the
/// context; the lenient profile also cuts the caller's own `max_tokens`, with a note.
///
/// # Errors
/// [`context_length_error`] when the prompt exceeds the context, or in the DeepSeek profile the
/// prompt and the caller's own `max_tokens`.
pub(crate) fn output_limit(chat: &Chat, rules: &ValidationRules, prompt_tokens: usize) -> Result<OutputLimit, Error> {
    let context = rules.context as usize;
    let explicit = explicit_max_tokens(chat);
    let left = context.saturating_sub(prompt_tokens);
    let exceeds = explicit.is_some_and(|tokens| tokens > left);
    let has_no_room = prompt_tokens > context || (left == 0 && explicit != Some(0));
    if has_no_room || (exceeds && rules.profile == Profile::DeepSeek) {
        return Err(context_length_error(rules, prompt_tokens, refusable_max_tokens(chat, rules)));
    }
    let default = match (&chat.input, chat.thinking) {
        (Input::Messages(_), Some(true)) => 32768,
        (Input::Messages(_), _) => 4096,
        _ => completion::default_max_tokens(chat),
    };
    let paid = chat.affordable_tokens.map_or(usize::MAX, |tokens| usize::try_from(tokens).unwrap_or(0));
    let note = exceeds.then(|| format!("`max_tokens` is cut to {left}, what the prompt leaves of the context"));
    Ok(OutputLimit { max_new_tokens: explicit.unwrap_or(default).min(left).min(paid), note })
}

/// The caller's own `max_tokens` where it can be a reason to refuse the request.
fn refusable_max_tokens(chat: &Chat, rules: &ValidationRules) -> Option<usize> {
    explicit_max_tokens(chat).filter(|_| rules.profile == Profile::DeepSeek)
}

fn explicit_max_tokens(chat: &Chat) -> Option<usize> {
    chat.max_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(0))
}

/// The error of a prompt that exceeds the context. `max_tokens` is the caller's own if it counts.
///
/// LiteLLM recognises it by its beginning.
pub(crate) fn context_length_error(rules: &ValidationRules, prompt_tokens: usize, max_tokens: Option<usize>) -> Error {
    build_context_length_error(rules, "", prompt_tokens, max_tokens)
}

/// The error of a prompt whose encoding was stopped after `at_least` tokens.
pub(crate) fn uncounted_context_length_error(chat: &Chat, rules: &ValidationRules, at_least: usize) -> Error {
    build_context_length_error(rules, "at least ", at_least, refusable_max_tokens(chat, rules))
}

/// Builds the error. In the lenient profile it has the code of OpenAI's API, on which agents
/// compact their conversation.
fn build_context_length_error(
    rules: &ValidationRules,
    at_least: &str,
    prompt_tokens: usize,
    max_tokens: Option<usize>,
) -> Error {
    let (context, completion) = (rules.context, max_tokens.unwrap_or(0));
    let error = Error::invalid(format!(
        "This model's maximum context length is {context} tokens. However, you requested {at_least}{} tokens \
         ({prompt_tokens} in the messages, {completion} in the completion). Please reduce the length of the messages or \
         completion.",
        prompt_tokens.saturating_add(completion)
    ));
    let code = (rules.profile == Profile::Lenient).then_some("context_length_exceeded");
    Error { code, ..error }
}
