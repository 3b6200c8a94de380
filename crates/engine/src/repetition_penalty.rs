//! The repetition penalty: lowers the logits of all tokens that prompt and answer contain.

use text::Tokenizer;

/// The penalty, and the tokens that it applies to.
///
/// Control tokens are exempt: the end token of earlier answers and `</think>` are in every longer
/// prompt, and a penalty on them would keep answers and reasoning from ending.
///
/// Source: Hugging Face's `RepetitionPenaltyLogitsProcessor`, which has no such exemption.
pub(crate) struct RepetitionPenalty {
    penalty: f32,
    /// The distinct tokens so far.
    tokens: Vec<u32>,
    /// Whether a token is in `tokens`, or exempt; by id.
    is_settled: Vec<bool>,
}

impl RepetitionPenalty {
    /// A penalty above 1 discourages repetitions, one below 1 encourages them.
    pub(crate) fn new(penalty: f32, prompt: &[u32], tokenizer: &Tokenizer) -> Self {
        let is_settled = (0..tokenizer.len() as u32).map(|id| tokenizer.is_added_token(id)).collect();
        let mut new = Self { penalty, tokens: Vec::new(), is_settled };
        for &token in prompt {
            new.record(token);
        }
        new
    }

    /// Adds a token of the answer.
    pub(crate) fn record(&mut self, token: u32) {
        if let Some(settled) = self.is_settled.get_mut(token as usize).filter(|settled| !**settled) {
            *settled = true;
            self.tokens.push(token);
        }
    }

    /// Divides the positive logits of the tokens by the penalty, and multiplies the negative ones.
    pub(crate) fn apply(&self, logits: &mut [f32]) {
        for &token in &self.tokens {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit < 0.0 { *logit * self.penalty } else { *logit / self.penalty };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token for every byte from id 3 on, after three control tokens.
    fn tokenizer() -> Tokenizer {
        Tokenizer::from_json(&testkit::tokenizer_json()).unwrap()
    }

    #[test]
    fn each_token_of_prompt_and_answer_is_penalized_once() {
        let mut penalty = RepetitionPenalty::new(2.0, &[5, 7, 5], &tokenizer());
        let penalized = |penalty: &RepetitionPenalty| {
            let mut logits = vec![1.0, 1.0, 1.0, 1.0, -1.0, 3.0, f32::NEG_INFINITY, -3.0, 0.0];
            penalty.apply(&mut logits);
            logits
        };
        let infinite = f32::NEG_INFINITY;
        assert_eq!(penalized(&penalty), [1.0, 1.0, 1.0, 1.0, -1.0, 1.5, infinite, -6.0, 0.0]);
        for token in [4, 6, 4, 8, 300] {
            penalty.record(token);
        }
        assert_eq!(penalized(&penalty), [1.0, 1.0, 1.0, 1.0, -2.0, 1.5, infinite, -6.0, 0.0]);
    }

    #[test]
    fn control_tokens_are_exempt() {
        let mut penalty = RepetitionPenalty::new(2.0, &[0, 1, 1, 3], &tokenizer());
        penalty.record(2);
        let mut logits = [4.0; 4];
        penalty.apply(&mut logits);
        assert_eq!(logits, [4.0, 4.0, 4.0, 2.0]);
    }
}
