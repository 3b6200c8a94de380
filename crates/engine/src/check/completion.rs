//! Completions of raw text, which have neither turns nor tools nor thinking.

use chat::{Chat, Error, Input};

use super::errors::invalid;
use super::rules::{Profile, ValidationRules};

/// The largest `max_tokens`.
pub(super) const MAX_TOKENS: i64 = 4096;

/// Checks the rules of completions. In the lenient profile a `suffix` outside the beta root is
/// accepted, with the defaults of the beta root.
pub(super) fn check_completion(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    let suffix = match &chat.input {
        Input::Messages(_) => return Ok(()),
        Input::Text { suffix, .. } => suffix.is_some(),
        Input::Tokens(_) => false,
    };
    if chat.thinking == Some(true) && rules.profile == Profile::Lenient && !rules.supports_non_thinking {
        // The name of a model that always thinks stands for its completions of text as well.
        chat.thinking = Some(false);
    }
    // A middle is filled between texts.
    chat.parse_special &= !suffix;
    if chat.thinking == Some(true) {
        return invalid(format!("{} does not support FIM", chat.model));
    }
    if suffix && !chat.beta && rules.profile == Profile::Lenient {
        chat.beta = true;
        chat.notes.push("`suffix` is accepted outside /beta".into());
    }
    Ok(())
}

/// The default of `max_tokens`: 4096 as DeepSeek's beta root has it, else 16 as OpenAI's legacy
/// endpoint has it.
pub(super) fn default_max_tokens(chat: &Chat) -> usize {
    if chat.beta { 4096 } else { 16 }
}
