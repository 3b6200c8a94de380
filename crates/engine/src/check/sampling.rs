//! The number of choices and tokens, sampling parameters, log-probabilities and `logit_bias`.

use chat::{Chat, Error, Input};

use super::completion;
use super::errors::invalid;
use super::rules::{Profile, ValidationRules};

const MAX_STOPS: usize = 16;

pub(super) fn check_length(chat: &mut Chat) -> Result<(), Error> {
    if chat.n.is_some_and(|n| n != 1) {
        return invalid("Invalid n value (currently only n = 1 is supported)");
    }
    let name = if chat.max_tokens.is_some() { "max_tokens" } else { "max_completion_tokens" };
    let alias = chat.max_completion_tokens.take();
    chat.max_tokens = chat.max_tokens.or(alias);
    let most = match (&chat.input, chat.thinking) {
        (Input::Messages(_), Some(true)) => 65536,
        (Input::Messages(_), _) => 8192,
        _ => completion::MAX_TOKENS,
    };
    if chat.clamp_max_tokens {
        chat.max_tokens = chat.max_tokens.map(|tokens| tokens.min(most));
    }
    match chat.max_tokens {
        Some(tokens) if !(1..=most).contains(&tokens) => {
            invalid(format!("Invalid {name} value, the valid range of {name} is [1, {most}]"))
        }
        _ => Ok(()),
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
