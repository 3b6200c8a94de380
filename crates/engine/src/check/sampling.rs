//! The number of choices and tokens, sampling parameters, log-probabilities and `logit_bias`.

use chat::{Chat, Error, Input};

use super::completion;
use super::errors::invalid;
use super::rules::{Profile, ValidationRules};

const MAX_CHOICES: i64 = 8;
const MAX_STOPS: usize = 16;

/// Checks the number of choices and `max_tokens`. The lenient profile has no upper limit: what is
/// left of the context is known with the prompt ([`super::output_limit`]).
pub(super) fn check_length(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    check_choice_count(chat, rules)?;
    let name = if chat.max_tokens.is_some() { "max_tokens" } else { "max_completion_tokens" };
    let alias = chat.max_completion_tokens.take();
    chat.max_tokens = chat.max_tokens.or(alias);
    let most = match (&chat.input, chat.thinking) {
        (Input::Messages(_), Some(true)) => 65536,
        (Input::Messages(_), _) => 8192,
        _ => completion::MAX_TOKENS,
    };
    let lenient = rules.profile == Profile::Lenient;
    if chat.clamp_max_tokens && !lenient {
        chat.max_tokens = chat.max_tokens.map(|tokens| tokens.min(most));
    }
    let most = if lenient { rules.context.into() } else { most };
    // A completion of text may be asked for the numbers of its prompt alone.
    let least = i64::from(!lenient || matches!(chat.input, Input::Messages(_)));
    if least == 0 && chat.max_tokens == Some(0) {
        chat.notes.push("`max_tokens` of 0 computes the prompt alone".into());
    }
    match chat.max_tokens {
        Some(tokens) if lenient && tokens > most => Ok(()),
        Some(tokens) if !(least..=most).contains(&tokens) => {
            invalid(format!("Invalid {name} value, the valid range of {name} is [{least}, {most}]"))
        }
        _ => Ok(()),
    }
}

/// Checks `n`. In the lenient profile each of several choices is a chat of its own.
fn check_choice_count(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    match chat.n {
        None | Some(1) => Ok(()),
        Some(n) if rules.profile == Profile::Lenient && !(1..=MAX_CHOICES).contains(&n) => {
            invalid(format!("Invalid n value, the valid range of n is [1, {MAX_CHOICES}]"))
        }
        Some(_) if rules.profile == Profile::Lenient && chat.choice.is_some() => {
            chat.notes.push("`n` choices are answered as requests of their own".into());
            Ok(())
        }
        Some(_) => invalid("Invalid n value (currently only n = 1 is supported)"),
    }
}

/// Checks the ranges. In thinking mode the service ignores the values, and so does its profile.
pub(super) fn check_sampling(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    let sampling = &mut chat.sampling;
    let within = |name: &str, value: Option<f64>, low: f64, high: f64| match value {
        Some(value) if !(low..=high).contains(&value) => {
            invalid(format!("Invalid {name} value, the valid range of {name} is [{low}, {high}]"))
        }
        _ => Ok(()),
    };
    within("temperature", sampling.temperature, 0.0, 2.0)?;
    if sampling.top_p.is_some_and(|top_p| !(top_p > 0.0 && top_p <= 1.0)) {
        return invalid("Invalid top_p value, the valid range of top_p is (0, 1.0]");
    }
    let most = i64::from(u32::MAX);
    if sampling.top_k.is_some_and(|top_k| !(-1..=most).contains(&top_k)) {
        return invalid(format!("Invalid top_k value, the valid range of top_k is [-1, {most}]"));
    }
    within("min_p", sampling.min_p, 0.0, 1.0)?;
    within("repetition_penalty", sampling.repetition_penalty, 0.1, 10.0)?;
    within("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0)?;
    within("presence_penalty", sampling.presence_penalty, -2.0, 2.0)?;
    if chat.thinking == Some(true) && rules.profile == Profile::DeepSeek {
        sampling.temperature = None;
        sampling.top_p = None;
        sampling.frequency_penalty = None;
        sampling.presence_penalty = None;
    }
    if chat.stop.len() > MAX_STOPS {
        return invalid("Invalid stop value, at most 16 stop sequences are supported");
    }
    if chat.stop.iter().any(|stop| !(1..=256).contains(&stop.chars().count())) {
        return invalid("Invalid stop value, a stop sequence must have 1 to 256 characters");
    }
    Ok(())
}

pub(super) fn check_logprobs(chat: &Chat) -> Result<(), Error> {
    let unsupported = |name| invalid(format!("{} does not support the parameter `{name}`", chat.model));
    let thinking = chat.thinking == Some(true);
    if thinking && chat.logprobs == Some(true) {
        return unsupported("logprobs");
    }
    let Some(top) = chat.top_logprobs else { return Ok(()) };
    if thinking {
        return unsupported("top_logprobs");
    }
    if !(0..=20).contains(&top) {
        return invalid("Invalid top_logprobs value, the valid range of top_logprobs is [0, 20]");
    }
    if chat.logprobs != Some(true) {
        return invalid("Invalid top_logprobs and logprobs value, logprobs must be set to true if top_logprobs is set");
    }
    Ok(())
}

pub(super) fn check_logit_bias(chat: &Chat, rules: &ValidationRules) -> Result<(), Error> {
    for &(token, bias) in &chat.sampling.logit_bias {
        if token >= rules.vocab_size {
            return invalid(format!("Invalid logit_bias token id {token}, ids are below {}", rules.vocab_size));
        }
        if !(-100.0..=100.0).contains(&bias) {
            return invalid("Invalid logit_bias value, the valid range of logit_bias is [-100, 100]");
        }
    }
    Ok(())
}
