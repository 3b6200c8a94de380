//! Completions of raw text: no turns, no tools, no thinking.

use chat::{Chat, Error, Input};

use super::{Profile, ValidationRules, invalid};

pub(super) const MAX_TOKENS: i64 = 4096;

/// What holds of completions alone; the beta root's defaults are given to a lenient
/// caller's suffix.
pub(super) fn check_completion(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    let suffix = match &chat.input {
        Input::Messages(_) => return Ok(()),
        Input::Text { suffix, .. } => suffix.is_some(),
        Input::Tokens(_) => false,
    };
    if chat.thinking == Some(true) {
        return invalid(format!("{} does not support FIM", chat.model));
    }
    if suffix && !chat.beta && rules.profile == Profile::Lenient {
        chat.beta = true;
        chat.notes.push("`suffix` is accepted outside /beta".into());
    }
    Ok(())
}

/// How many tokens a completion may have when nobody says: 4096 as DeepSeek's beta root, 16 as
/// OpenAI's legacy one.
pub(super) fn default_max_tokens(chat: &Chat) -> usize {
    if chat.beta { 4096 } else { 16 }
}
