//! Responses to text completions, whole or streamed, with one choice for each prompt.

use chat::{Delta, Error, FinishReason, Reply, TokenLogprob, Usage};
use serde_json::{Map, Value, json};

use crate::sse;
use crate::surface::chat_completions::Envelope;
use crate::surface::chat_completions::response::{ChatUsage, finite_logprob};
use crate::surface::error::error_body;
use crate::surface::renderer::Renderer;

/// Renders text completions with one choice for each prompt.
pub struct CompletionRenderer {
    envelope: Envelope,
    include_usage: bool,
    choices: Vec<Choice>,
    /// The choice that the deltas belong to.
    current_choice: usize,
    /// The finish reason of the last choice, held back until the usage arrives.
    pending_finish: Option<FinishReason>,
}

#[derive(Default)]
struct Choice {
    /// The prompt to send before the answer; empty once it has been sent.
    echo: String,
    /// Number of characters sent so far.
    text_offset: usize,
    ended: bool,
}

impl CompletionRenderer {
    /// Creates a renderer. `echo` is empty or has a text for each of the `choices`.
    pub fn new(envelope: Envelope, include_usage: bool, choices: usize, echo: Vec<String>) -> Self {
        let mut echo = echo.into_iter();
        let choices = (0..choices).map(|_| Choice { echo: echo.next().unwrap_or_default(), ..Choice::default() });
        Self { envelope, include_usage, choices: choices.collect(), current_choice: 0, pending_finish: None }
    }

    fn completion_body(&self, choices: Vec<Value>, usage: Option<Option<&Usage>>) -> Value {
        let mut completion = json!({
            "id": self.envelope.id, "object": "text_completion", "created": self.envelope.created,
            "model": self.envelope.model, "choices": choices, "system_fingerprint": self.envelope.system_fingerprint,
        });
        if let (Some(usage), Some(completion)) = (usage, completion.as_object_mut()) {
            completion.insert("usage".into(), json!(usage.map(|usage| ChatUsage::new(usage, false))));
        }
        completion
    }

    /// The log-probabilities of tokens that begin `offset` characters into the text.
    fn logprobs_body(&self, tokens: &[TokenLogprob], mut offset: usize) -> Option<Value> {
        if !self.envelope.logprobs {
            return None;
        }
        let mut offsets = Vec::new();
        for token in tokens {
            offsets.push(offset);
            offset += token.token.chars().count();
        }
        let top = |token: &TokenLogprob| -> Option<Map<String, Value>> {
            // Nothing precedes the first token of a prompt.
            if token.logprob.is_nan() {
                return None;
            }
            // The chosen token is included, so there may be one more than requested.
            let chosen = (token.token.clone(), logprob_body(token.logprob));
            let others = token.top.iter().map(|top| (top.token.clone(), logprob_body(top.logprob)));
            Some(others.chain([chosen]).collect())
        };
        Some(json!({
            "tokens": tokens.iter().map(|token| &token.token).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|token| logprob_body(token.logprob)).collect::<Vec<_>>(),
            "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
            "text_offset": offsets,
        }))
    }

    fn write_chunk(&self, choices: Vec<Value>, usage: Option<&Usage>, out: &mut String) {
        let usage = if self.include_usage { Some(usage) } else { usage.map(Some) };
        sse::write_event(&self.completion_body(choices, usage).to_string(), out);
    }

    fn write_text(&mut self, text: &str, tokens: &[TokenLogprob], out: &mut String) {
        let offset = self.choices[self.current_choice].text_offset;
        self.choices[self.current_choice].text_offset += text.chars().count();
        let choice = choice_body(self.current_choice, text, self.logprobs_body(tokens, offset), None);
        self.write_chunk(vec![choice], None, out);
    }

    fn write_finish(&self, finish: FinishReason, usage: Option<&Usage>, out: &mut String) {
        self.write_chunk(vec![choice_body(self.current_choice, "", None, Some(finish))], usage, out);
    }
}

/// The value of a log-probability; null for a token that nothing precedes.
fn logprob_body(logprob: f32) -> Value {
    if logprob.is_nan() { Value::Null } else { json!(finite_logprob(logprob)) }
}

fn choice_body(index: usize, text: &str, logprobs: Option<Value>, finish: Option<FinishReason>) -> Value {
    json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": finish.map(FinishReason::as_str) })
}

impl Renderer for CompletionRenderer {
    fn body(&self, replies: &[Reply]) -> Result<String, Error> {
        let mut choices = Vec::new();
        for (index, (reply, Choice { echo, .. })) in replies.iter().zip(&self.choices).enumerate() {
            let finish = reply.finish.ok_or_else(|| Error::internal("the answer ended without a finish reason"))?;
            let tokens = [&reply.prompt_logprobs[..], &reply.logprobs].concat();
            let logprobs = self.logprobs_body(&tokens, echo.chars().count());
            let text = format!("{echo}{}{}", reply.prompt, reply.text);
            choices.push(choice_body(index, &text, logprobs, Some(finish)));
        }
        let usage = replies.iter().find_map(|reply| reply.usage.as_ref());
        Ok(self.completion_body(choices, usage.map(Some)).to_string())
    }

    fn set_choice(&mut self, index: usize) {
        self.current_choice = index;
    }

    fn push(&mut self, delta: &Delta, out: &mut String) {
        let echo = std::mem::take(&mut self.choices[self.current_choice].echo);
        if !echo.is_empty() {
            self.write_text(&echo, &[], out);
        }
        match delta {
            Delta::Prompt { text, logprobs } | Delta::Text { text, logprobs } => self.write_text(text, logprobs, out),
            Delta::Finish(finish) => {
                self.choices[self.current_choice].ended = true;
                if self.include_usage || self.choices.iter().any(|choice| !choice.ended) {
                    self.write_finish(*finish, None, out);
                } else {
                    self.pending_finish = Some(*finish);
                }
            }
            Delta::Usage(usage) if self.include_usage => self.write_chunk(Vec::new(), Some(usage), out),
            Delta::Usage(usage) => {
                if let Some(finish) = self.pending_finish.take() {
                    self.write_finish(finish, Some(usage), out);
                }
            }
            // A completion of raw text has neither reasoning nor tool calls.
            Delta::Start(_)
            | Delta::Reasoning { .. }
            | Delta::Citation(_)
            | Delta::Media(_)
            | Delta::Signature(_)
            | Delta::Dropped(_)
            | Delta::ToolCall { .. }
            | Delta::Arguments { .. } => {}
        }
    }

    fn finish(&mut self, out: &mut String) {
        if let Some(finish) = self.pending_finish.take() {
            self.write_finish(finish, None, out);
        }
        sse::write_event("[DONE]", out);
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        sse::write_event(&error_body(error), out);
        sse::write_event("[DONE]", out);
    }
}
