//! Text completions: OpenAI's legacy shape, and DeepSeek's fill-in-the-middle in it (API document 1.12 and 2.1).

use chat::{Chat, Delta, Error, FinishReason, Input, Reply, TokenLogprob, Usage};
use serde_json::{Map, Value, json};

use crate::deepseek::common;
use crate::reader::Field;
use crate::reply::{UsageBody, finite};
use crate::{Envelope, Render, json, sse};

/// What a caller asked for, and how it wants the answer sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub chat: Chat,
    pub stream: bool,
    pub include_usage: bool,
    /// The prompt, where it is to stand in front of the answer.
    pub echo: Option<String>,
}

/// Reads a request body. Unknown fields are ignored, null is absence.
///
/// # Errors
/// `Invalid`: bytes that are not strict JSON, a field of the wrong type, several prompts, `echo` with `suffix`.
pub fn parse_request(body: &[u8]) -> Result<Request, Error> {
    let mut object = Field::root(json::parse(body)?).object()?;
    let mut chat = Chat { model: object.required("model")?.text()?, ..Chat::default() };
    let suffix = object.optional("suffix").map(Field::text).transpose()?;
    let echo = object.optional("echo").map(Field::bool).transpose()?.unwrap_or(false);
    if echo && suffix.is_some() {
        return Err(Error::invalid("echo is not supported with suffix"));
    }
    chat.input = match object.optional("prompt") {
        None => Input::Text { prefix: "Once upon a time,".into(), suffix },
        Some(prompt) => self::prompt(prompt, suffix)?,
    };
    let echo = match &chat.input {
        Input::Text { prefix, .. } if echo => Some(prefix.clone()),
        _ if echo => return Err(Error::invalid("echo is not supported with a prompt of tokens")),
        _ => None,
    };
    let sent = common(&mut chat, &mut object)?;
    let best_of = object.optional("best_of").map(Field::integer).transpose()?;
    if best_of.is_some_and(|n| n != 1) {
        return Err(Error::invalid("Invalid best_of value (currently only best_of = 1 is supported)"));
    }
    if let Some(top) = object.optional("logprobs").map(Field::integer).transpose()? {
        if !(0..=20).contains(&top) {
            return Err(Error::invalid("Invalid logprobs value, the valid range of logprobs is [0, 20]"));
        }
        (chat.logprobs, chat.top_logprobs) = (Some(true), Some(top));
    }
    Ok(Request { chat, stream: sent.stream, include_usage: sent.include_usage, echo })
}

/// A string, a list of one string, a list of token ids, or a list of one such list.
fn prompt(field: Field, suffix: Option<String>) -> Result<Input, Error> {
    let Value::Array(items) = field.value() else { return Ok(Input::Text { prefix: field.text()?, suffix }) };
    if items.iter().all(Value::is_number) && !items.is_empty() {
        let id = |field: Field| {
            let id = field.value().as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| field.mismatch("a token id"))
        };
        if suffix.is_some() {
            return Err(Error::invalid("suffix is not supported with a prompt of tokens"));
        }
        return Ok(Input::Tokens(field.list()?.map(id).collect::<Result<_, _>>()?));
    }
    if items.len() != 1 {
        return Err(Error::invalid("Invalid prompt: one prompt a request, send several requests for several prompts"));
    }
    let only = field.list()?.next().expect("a list of one");
    match only.value() {
        Value::Array(ids) if ids.is_empty() || !ids.iter().all(Value::is_number) => Err(only.mismatch("token ids")),
        _ => prompt(only, suffix),
    }
}

/// Renders one text completion.
pub struct Completions {
    envelope: Envelope,
    include_usage: bool,
    /// Stands in front of the answer; none once it has been said.
    echo: Option<String>,
    /// Characters said so far.
    offset: usize,
    finish: Option<FinishReason>,
}

impl Completions {
    pub fn new(envelope: Envelope, include_usage: bool, echo: Option<String>) -> Self {
        Self { envelope, include_usage, echo, offset: 0, finish: None }
    }

    fn completion(&self, choices: Vec<Value>, usage: Option<Option<&Usage>>) -> Value {
        let mut completion = json!({
            "id": self.envelope.id, "object": "text_completion", "created": self.envelope.created,
            "model": self.envelope.model, "choices": choices, "system_fingerprint": self.envelope.system_fingerprint,
        });
        if let (Some(usage), Some(completion)) = (usage, completion.as_object_mut()) {
            completion.insert("usage".into(), json!(usage.map(|usage| UsageBody::new(usage, false))));
        }
        completion
    }

    fn choice(&self, text: &str, logprobs: Option<Value>, finish: Option<FinishReason>) -> Value {
        json!({ "index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish.map(FinishReason::as_str) })
    }

    /// The logprobs of tokens that begin `offset` characters into the text.
    fn logprobs(&self, tokens: &[TokenLogprob], mut offset: usize) -> Option<Value> {
        if !self.envelope.logprobs {
            return None;
        }
        let mut offsets = Vec::new();
        for token in tokens {
            offsets.push(offset);
            offset += token.token.chars().count();
        }
        let top = |token: &TokenLogprob| -> Map<String, Value> {
            // The chosen token is there too, so there may be one more than were asked for.
            let chosen = (token.token.clone(), json!(finite(token.logprob)));
            token.top.iter().map(|top| (top.token.clone(), json!(finite(top.logprob)))).chain([chosen]).collect()
        };
        Some(json!({
            "tokens": tokens.iter().map(|token| &token.token).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|token| finite(token.logprob)).collect::<Vec<_>>(),
            "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
            "text_offset": offsets,
        }))
    }

    fn send(&self, choices: Vec<Value>, usage: Option<&Usage>, out: &mut String) {
        let usage = if self.include_usage { Some(usage) } else { usage.map(Some) };
        sse::event(&self.completion(choices, usage).to_string(), out);
    }

    fn say(&mut self, text: &str, tokens: &[TokenLogprob], out: &mut String) {
        let logprobs = self.logprobs(tokens, self.offset);
        self.offset += text.chars().count();
        self.send(vec![self.choice(text, logprobs, None)], None, out);
    }
}

impl Render for Completions {
    fn whole(&self, reply: &Reply) -> Result<String, Error> {
        let finish = reply.finish.ok_or_else(|| Error::internal("the answer ended without a finish reason"))?;
        let echo = self.echo.as_deref().unwrap_or_default();
        let logprobs = self.logprobs(&reply.logprobs, echo.chars().count());
        let choice = self.choice(&format!("{echo}{}", reply.text), logprobs, Some(finish));
        Ok(self.completion(vec![choice], reply.usage.as_ref().map(Some)).to_string())
    }

    fn push(&mut self, delta: &Delta, out: &mut String) {
        if let Some(echo) = self.echo.take() {
            self.say(&echo, &[], out);
        }
        match delta {
            Delta::Text { text, logprobs } => self.say(text, logprobs, out),
            Delta::Finish(finish) if self.include_usage => {
                self.send(vec![self.choice("", None, Some(*finish))], None, out);
            }
            Delta::Finish(finish) => self.finish = Some(*finish),
            Delta::Usage(usage) if self.include_usage => self.send(Vec::new(), Some(usage), out),
            Delta::Usage(usage) => {
                if let Some(finish) = self.finish.take() {
                    self.send(vec![self.choice("", None, Some(finish))], Some(usage), out);
                }
            }
            // A completion of raw text neither thinks nor calls.
            Delta::Start(_) | Delta::Reasoning { .. } | Delta::ToolCall { .. } | Delta::Arguments { .. } => {}
        }
    }

    fn end(&mut self, out: &mut String) {
        if let Some(finish) = self.finish.take() {
            self.send(vec![self.choice("", None, Some(finish))], None, out);
        }
        sse::event("[DONE]", out);
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        sse::event(&crate::error::body(error), out);
        sse::event("[DONE]", out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: Value) -> Result<Request, String> {
        parse_request(body.to_string().as_bytes()).map_err(|error| error.message)
    }

    fn input(body: Value) -> Input {
        parse(body).unwrap().chat.input
    }

    #[test]
    fn prompts_of_every_kind_are_read() {
        let text =
            |prefix: &str, suffix: Option<&str>| Input::Text { prefix: prefix.into(), suffix: suffix.map(Into::into) };
        assert_eq!(input(json!({ "model": "m" })), text("Once upon a time,", None));
        assert_eq!(input(json!({ "model": "m", "prompt": "a", "suffix": "b" })), text("a", Some("b")));
        assert_eq!(input(json!({ "model": "m", "prompt": ["a"] })), text("a", None));
        assert_eq!(input(json!({ "model": "m", "prompt": [1, 2] })), Input::Tokens(vec![1, 2]));
        assert_eq!(input(json!({ "model": "m", "prompt": [[1, 2]] })), Input::Tokens(vec![1, 2]));
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        for (more, text) in [
            (json!({ "prompt": ["a", "b"] }), "Invalid prompt: one prompt a request"),
            (json!({ "prompt": [] }), "Invalid prompt: one prompt a request"),
            (json!({ "prompt": [[]] }), "Failed to deserialize the JSON body into the target type: prompt[0]: "),
            (json!({ "prompt": [-1] }), "Failed to deserialize the JSON body into the target type: prompt[0]: "),
            (json!({ "prompt": "a", "suffix": "b", "echo": true }), "echo is not supported with suffix"),
            (json!({ "prompt": [1], "echo": true }), "echo is not supported with a prompt of tokens"),
            (json!({ "prompt": [1], "suffix": "b" }), "suffix is not supported with a prompt of tokens"),
            (json!({ "best_of": 2 }), "Invalid best_of value"),
            (json!({ "logprobs": 21 }), "Invalid logprobs value"),
        ] {
            let mut body = more;
            body["model"] = "m".into();
            let refused = parse(body).unwrap_err();
            assert!(refused.starts_with(text), "{refused}");
        }
    }

    #[test]
    fn options_are_read() {
        let body = json!({
            "model": "m", "prompt": "a", "echo": true, "max_tokens": 5, "stop": "x", "stream": true, "seed": 3,
            "stream_options": { "include_usage": true }, "logprobs": 2, "temperature": 0
        });
        let request = parse(body).unwrap();
        assert_eq!((request.stream, request.include_usage, request.echo.as_deref()), (true, true, Some("a")));
        let chat = request.chat;
        assert_eq!((chat.max_tokens, chat.stop, chat.sampling.seed), (Some(5), vec!["x".to_owned()], Some(3)));
        assert_eq!((chat.logprobs, chat.top_logprobs), (Some(true), Some(2)));
    }
}
