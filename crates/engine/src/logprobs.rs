//! Log-probabilities of sampled tokens and of prompts, at temperature 1 and before penalties.

use chat::{TokenLogprob, TopLogprob};
use text::Tokenizer;

/// Number of likeliest tokens whose log-probabilities are returned.
const TOP_LOGPROBS: usize = 20;
/// The value of the API for all other tokens.
const OUTSIDE_TOP_LOGPROB: f32 = -9999.0;

/// The log-probability of the sampled `token`, with those of the `n` likeliest tokens.
pub(crate) fn token_logprob(logits: &[f32], token: u32, n: usize, tokenizer: &Tokenizer) -> TokenLogprob {
    let (mut logprob, is_likely) = exact_logprob(logits, token, n, tokenizer);
    if !is_likely {
        logprob.logprob = OUTSIDE_TOP_LOGPROB;
    }
    logprob
}

/// The log-probability of the prompt's `token`, exact also for an unlikely one, with those of the
/// `n` likeliest tokens.
pub(crate) fn prompt_logprob(logits: &[f32], token: u32, n: usize, tokenizer: &Tokenizer) -> TokenLogprob {
    exact_logprob(logits, token, n, tokenizer).0
}

/// The log-probability of `token`, and whether it is among the likeliest tokens.
fn exact_logprob(logits: &[f32], token: u32, n: usize, tokenizer: &Tokenizer) -> (TokenLogprob, bool) {
    let logits = &logits[..tokenizer.len().min(logits.len())];
    let max = logits.iter().copied().filter(|logit| logit.is_finite()).fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from((logit - max).exp())).filter(|weight| weight.is_finite()).sum();
    let log_sum = f64::from(max) + sum.ln();
    let logprob = |id: u32| (f64::from(logits[id as usize]) - log_sum) as f32;
    let top = top_tokens(logits, TOP_LOGPROBS);
    let name = |id: u32| String::from_utf8_lossy(tokenizer.bytes(id)).into_owned();
    let bytes = |id: u32| (!tokenizer.is_added_token(id)).then(|| tokenizer.bytes(id).to_vec());
    let others = top.iter().take(n);
    let token_logprob = TokenLogprob {
        token: name(token),
        logprob: logprob(token),
        bytes: bytes(token),
        top: others.map(|&id| TopLogprob { token: name(id), logprob: logprob(id), bytes: bytes(id) }).collect(),
    };
    (token_logprob, top.contains(&token))
}

/// The ids of the `n` greatest logits in order, lower ids first among equals.
fn top_tokens(logits: &[f32], n: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).filter(|&id| logits[id as usize].is_finite()).collect();
    let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if ids.len() > n {
        ids.select_nth_unstable_by(n, order);
        ids.truncate(n);
    }
    ids.sort_unstable_by(order);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_in_order() {
        assert_eq!(top_tokens(&[1.0, 3.0, f32::NAN, 3.0, 2.0], 3), [1, 3, 4]);
        assert_eq!(top_tokens(&[1.0, 3.0], 3), [1, 0]);
    }
}
