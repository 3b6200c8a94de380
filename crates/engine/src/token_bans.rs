//! Tokens that must not be sampled where no grammar mask applies: tool call markers, and the end of
//! an answer whose constrained part has not started.

use text::Encoding;

use crate::constraint::Constraint;

/// The bans of one answer.
#[derive(Clone, Debug)]
pub(crate) struct TokenBans {
    /// The answer is raw text, without any bans.
    pub(crate) raw: bool,
}

impl TokenBans {
    /// The tokens that must not come next. `in_answer`: the reasoning is over. `tokens` are prompt
    /// and answer so far.
    pub(crate) fn banned_tokens(
        &self,
        in_answer: bool,
        constraint: Option<&Constraint>,
        tokens: &[u32],
        encoding: &Encoding,
    ) -> Vec<u32> {
        if self.raw {
            return Vec::new();
        }
        if !in_answer {
            // An answer with a grammar must not end before its answer part.
            let must_answer = constraint.is_some_and(Constraint::awaits_answer);
            return if must_answer { vec![encoding.eos()] } else { Vec::new() };
        }
        let trigger = constraint.and_then(Constraint::trigger_token);
        let allowed_trigger = trigger.filter(|_| tokens.last().is_some_and(|&last| encoding.can_call_follow(last)));
        let is_unmasked = constraint.is_none_or(|constraint| constraint.trigger_token().is_some());
        // A mask allows the markers of its grammar.
        encoding
            .call_tokens()
            .iter()
            .copied()
            .filter(|&marker| is_unmasked && Some(marker) != allowed_trigger)
            .collect()
    }
}
