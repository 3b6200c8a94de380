//! The deltas of a streamed answer, and the whole answer they fold into.

use crate::{Citation, Error, Media, SignedReasoning, ToolCall, Usage};

/// One step of a streamed answer. Order: `Start`, the prompt, all reasoning, all text, tool calls
/// one after the other, `Finish`, `Usage`. A citation comes after the text that has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The prompt has been processed and generation begins. The usage counts the prompt alone.
    Start(Usage),
    /// The prompt of a raw completion that was asked to repeat it ([`crate::Chat::echo_prompt`]).
    /// The log-probability of a token that nothing precedes is NaN.
    Prompt {
        text: String,
        logprobs: Vec<TokenLogprob>,
    },
    /// A piece of the reasoning. Never empty; consists of whole characters.
    Reasoning {
        text: String,
        logprobs: Vec<TokenLogprob>,
    },
    /// The signature of reasoning so far, or of the call that has begun last.
    Signature(SignedReasoning),
    /// A piece of the answer. Never empty; consists of whole characters.
    Text {
        text: String,
        logprobs: Vec<TokenLogprob>,
    },
    /// A source of the text so far.
    Citation(Citation),
    /// An image or a sound, whole.
    Media(Media),
    /// A part of the provider's answer that has no form here; its name for the caller.
    Dropped(&'static str),
    /// The beginning of a tool call; `index` counts from 0.
    ToolCall {
        index: usize,
        id: String,
        name: String,
    },
    /// A piece of the JSON arguments of tool call `index`.
    Arguments {
        index: usize,
        text: String,
    },
    Finish(FinishReason),
    Usage(Usage),
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The end-of-sentence token.
    Stop,
    /// The stop string at this index of `Chat::stop`.
    StopString(usize),
    /// `max_tokens` was reached.
    Length,
    /// The context is full.
    ContextFull,
    ToolCalls,
    ContentFilter,
    /// The engine had to end a running request (out of cache memory, shutdown, time limit).
    InsufficientSystemResource,
}

impl FinishReason {
    /// The `finish_reason` of the OpenAI and DeepSeek APIs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop | Self::StopString(_) => "stop",
            Self::Length | Self::ContextFull => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::InsufficientSystemResource => "insufficient_system_resource",
        }
    }
}

/// The log-probability (natural, temperature 1, before penalties) of one generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    pub token: String,
    pub logprob: f32,
    /// The UTF-8 bytes of the token; `None` for control tokens.
    pub bytes: Option<Vec<u8>>,
    /// The most likely tokens at this position.
    pub top: Vec<TopLogprob>,
}

/// One of the most likely tokens at a position.
#[derive(Clone, Debug, PartialEq)]
pub struct TopLogprob {
    pub token: String,
    pub logprob: f32,
    pub bytes: Option<Vec<u8>>,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    pub prompt: String,
    pub prompt_logprobs: Vec<TokenLogprob>,
    pub reasoning: String,
    /// The signatures of the reasoning, in its order.
    pub signatures: Vec<SignedReasoning>,
    pub text: String,
    /// The sources of the text.
    pub citations: Vec<Citation>,
    pub media: Vec<Media>,
    pub tool_calls: Vec<ToolCall>,
    pub reasoning_logprobs: Vec<TokenLogprob>,
    pub logprobs: Vec<TokenLogprob>,
    pub finish: Option<FinishReason>,
    pub usage: Option<Usage>,
}

impl Reply {
    /// Appends one delta.
    ///
    /// # Errors
    /// `Internal` when arguments belong to a call that has not begun: the provider violated the
    /// order of deltas.
    pub fn push(&mut self, delta: Delta) -> Result<(), Error> {
        match delta {
            Delta::Start(_) | Delta::Dropped(_) => {}
            Delta::Citation(citation) => self.citations.push(citation),
            Delta::Media(media) => self.media.push(media),
            Delta::Prompt { text, logprobs } => {
                self.prompt.push_str(&text);
                self.prompt_logprobs.extend(logprobs);
            }
            Delta::Reasoning { text, logprobs } => {
                self.reasoning.push_str(&text);
                self.reasoning_logprobs.extend(logprobs);
            }
            Delta::Signature(signed) => self.signatures.push(signed),
            Delta::Text { text, logprobs } => {
                self.text.push_str(&text);
                self.logprobs.extend(logprobs);
            }
            Delta::ToolCall { id, name, .. } => self.tool_calls.push(ToolCall { id, name, arguments: String::new() }),
            Delta::Arguments { index, text } => {
                let call = self.tool_calls.get_mut(index);
                let call = call.ok_or_else(|| Error::internal(format!("arguments for tool call {index} before it")))?;
                call.arguments.push_str(&text);
            }
            Delta::Finish(reason) => self.finish = Some(reason),
            Delta::Usage(usage) => self.usage = Some(usage),
        }
        Ok(())
    }
}

/// Folds the deltas of a finished stream into a reply.
///
/// # Errors
/// The first error in the stream.
pub fn fold(deltas: impl IntoIterator<Item = Result<Delta, Error>>) -> Result<Reply, Error> {
    let mut reply = Reply::default();
    for delta in deltas {
        reply.push(delta?)?;
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_fold_into_the_reply_they_spell() {
        let text = |s: &str| Ok(Delta::Text { text: s.into(), logprobs: vec![] });
        let reply = fold([
            Ok(Delta::Start(Usage::default())),
            Ok(Delta::Reasoning { text: "hm".into(), logprobs: vec![] }),
            text("a"),
            text("b"),
            Ok(Delta::ToolCall { index: 0, id: "call_00_x".into(), name: "f".into() }),
            Ok(Delta::Arguments { index: 0, text: "{".into() }),
            Ok(Delta::Arguments { index: 0, text: "}".into() }),
            Ok(Delta::Finish(FinishReason::ToolCalls)),
        ])
        .unwrap();
        assert_eq!((reply.reasoning.as_str(), reply.text.as_str()), ("hm", "ab"));
        assert_eq!(reply.tool_calls[0].arguments, "{}");
        assert_eq!(reply.finish.unwrap().as_str(), "tool_calls");
    }

    #[test]
    fn arguments_without_a_call_are_an_error() {
        assert!(fold([Ok(Delta::Arguments { index: 0, text: "{".into() })]).is_err());
    }
}
