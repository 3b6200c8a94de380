//! The control tokens that may be sampled next where no grammar mask applies. All others are
//! banned, so that an answer shows none as text: a model that samples `<｜User｜>` within an answer
//! is confused, and the next likely token is a better continuation than an end at this point.

use chat::{Chat, Input};
use text::{Decoder, Encoding};

use crate::constraint::Constraint;

/// The end token and `</think>`, within the reasoning of an answer that must not end before its
/// grammar matches: a model that would end the answer ends its reasoning instead.
pub(crate) fn end_redirect(
    decoder: &Decoder,
    constraint: Option<&Constraint>,
    encoding: &Encoding,
) -> Option<(u32, u32)> {
    let owes_answer = decoder.is_reasoning() && constraint.is_some_and(Constraint::awaits_answer);
    let end_think = encoding.think_tokens().1.filter(|_| owes_answer)?;
    Some((encoding.eos(), end_think))
}

/// The rules for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenBans {
    /// An answer may contain the markers of its format: where reasoning begins and ends, where a
    /// call begins, also one that ends the reasoning, and the end.
    Chat,
    /// The completion of a text is text up to its end.
    Text,
    /// The completion of tokens, which may be a conversation, may also begin and end reasoning. The
    /// decoder does not show these markers.
    Tokens,
}

impl TokenBans {
    /// The rules for an answer to `chat`.
    pub(crate) fn of(chat: &Chat) -> Self {
        match chat.input {
            Input::Messages(_) => Self::Chat,
            // A text with control tokens may be a conversation as well.
            Input::Text { .. } if chat.parse_special => Self::Tokens,
            Input::Text { .. } => Self::Text,
            Input::Tokens(_) => Self::Tokens,
        }
    }

    /// The control tokens that may come next; `None` where a grammar mask decides. `tokens` are
    /// prompt and answer so far, `decoder` has decoded the answer.
    pub(crate) fn allowed_control_tokens(
        self,
        decoder: &Decoder,
        constraint: Option<&Constraint>,
        tokens: &[u32],
        encoding: &Encoding,
    ) -> Option<Vec<u32>> {
        let mut allowed = [&[encoding.eos()], decoder.more_end_tokens()].concat();
        match self {
            Self::Text => {}
            Self::Tokens => {
                let (think, end_think) = encoding.think_tokens();
                allowed.extend(think.into_iter().chain(end_think));
            }
            Self::Chat if decoder.is_reasoning() => {
                // An answer with a grammar must not end before its answer part.
                if constraint.is_some_and(Constraint::awaits_answer) {
                    allowed.clear();
                }
                allowed.extend(decoder.allowed_think_tokens());
                let call_marker = constraint.and_then(Constraint::call_marker);
                allowed.extend(call_marker.filter(|_| decoder.can_call_end_reasoning()));
            }
            Self::Chat => {
                let trigger = match constraint {
                    Some(constraint) => Some(constraint.trigger_token()?),
                    None => None,
                };
                let can_call = || tokens.last().is_some_and(|&last| encoding.can_call_follow(last));
                allowed.extend(trigger.filter(|_| can_call()));
                allowed.extend(decoder.allowed_think_tokens());
            }
        }
        Some(allowed)
    }
}
