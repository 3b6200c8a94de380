//! Text completions: OpenAI's legacy shape, and DeepSeek's fill-in-the-middle in it (API
//! document 1.12 and 2.1).

use chat::{Chat, Delta, Error, FinishReason, Input, Reply, TokenLogprob, Usage};
use serde_json::{Map, Value, json};

use crate::field_reader::Field;
use crate::surface::Renderer;
use crate::surface::chat_completions::Envelope;
use crate::surface::chat_completions::request::common_fields;
use crate::surface::chat_completions::response::{ChatUsage, finite_logprob};
use crate::{json, sse};

/// Most prompts of one request.
const MAX_PROMPTS: usize = 16;
/// Most bytes of all else in a request of several prompts, because each gets a copy.
const MAX_COPIED_BYTES: usize = 256 << 10;

/// What a caller asked for, and how it wants the answer sent.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionRequest {
    /// One for each prompt; there is at least one, and they differ in nothing else.
    pub chats: Vec<Chat>,
    pub stream: bool,
    pub include_usage: bool,
    /// The prompts, where they are to stand in front of the answers; otherwise empty.
    pub echo: Vec<String>,
}

impl CompletionRequest {
    /// The memory it takes, about.
    pub fn memory_bytes(&self) -> usize {
        self.chats.iter().map(Chat::memory_bytes).sum::<usize>() + self.echo.iter().map(String::len).sum::<usize>()
    }
}

/// Reads a request body. Unknown fields are ignored, null is absence.
///
/// # Errors
/// `Invalid`: bytes that are not strict JSON, a field of the wrong type, too many prompts,
/// `echo` with `suffix`.
pub fn parse_request(body: &[u8]) -> Result<CompletionRequest, Error> {
    request_from_json(json::parse(body)?)
}

/// The same of a body that is parsed.
///
/// # Errors
/// As [`parse_request`].
pub fn request_from_json(body: Value) -> Result<CompletionRequest, Error> {
    let mut object = Field::root(body).object()?;
    let mut chat = Chat { model: object.required("model")?.string()?, ..Chat::default() };
    let suffix = object.optional("suffix").map(Field::string).transpose()?;
    let echo = object.optional("echo").map(Field::bool).transpose()?.unwrap_or(false);
    if echo && suffix.is_some() {
        return Err(Error::invalid("echo is not supported with suffix"));
    }
    let inputs = match object.optional("prompt") {
        None => vec![Input::Text { prefix: "Once upon a time,".into(), suffix }],
        Some(prompt) => parse_prompts(prompt, suffix.as_deref())?,
    };
    let prompt_text = |input: &Input| match input {
        Input::Text { prefix, .. } => Ok(prefix.clone()),
        _ => Err(Error::invalid("echo is not supported with a prompt of tokens")),
    };
    let echo = if echo { inputs.iter().map(prompt_text).collect::<Result<_, _>>()? } else { Vec::new() };
    let stream_options = common_fields(&mut chat, &mut object)?;
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
    if inputs.len() > 1 && chat.memory_bytes() > MAX_COPIED_BYTES {
        return Err(Error::invalid(format!(
            "Invalid prompt: beside several prompts the request may hold {MAX_COPIED_BYTES} bytes"
        )));
    }
    let chats = inputs.into_iter().map(|input| Chat { input, ..chat.clone() }).collect();
    Ok(CompletionRequest { chats, stream: stream_options.stream, include_usage: stream_options.include_usage, echo })
}

/// One prompt: a string, or a list of token ids; or a list of such prompts.
fn parse_prompts(field: Field, suffix: Option<&str>) -> Result<Vec<Input>, Error> {
    let prompt_list = field.value().as_array().filter(|items| !items.iter().all(Value::is_number) || items.is_empty());
    match prompt_list.map(Vec::len) {
        None => Ok(vec![parse_prompt(field, suffix)?]),
        Some(2..=MAX_PROMPTS) if suffix.is_some_and(|suffix| suffix.len() > MAX_COPIED_BYTES) => {
            Err(Error::invalid(format!("Invalid suffix: with several prompts it may hold {MAX_COPIED_BYTES} bytes")))
        }
        Some(1..=MAX_PROMPTS) => field.array()?.map(|field| parse_prompt(field, suffix)).collect(),
        Some(_) => Err(Error::invalid(format!("Invalid prompt: a list holds 1 to {MAX_PROMPTS} prompts"))),
    }
}

fn parse_prompt(field: Field, suffix: Option<&str>) -> Result<Input, Error> {
    let ids = match field.value() {
        Value::Array(ids) => ids,
        _ => return Ok(Input::Text { prefix: field.string()?, suffix: suffix.map(Into::into) }),
    };
    if ids.is_empty() {
        return Err(field.type_error("token ids"));
    }
    if suffix.is_some() {
        return Err(Error::invalid("suffix is not supported with a prompt of tokens"));
    }
    let id = |field: Field| {
        let id = field.value().as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| field.type_error("a token id"))
    };
    Ok(Input::Tokens(field.array()?.map(id).collect::<Result<_, _>>()?))
}

/// Renders text completions, one choice for each prompt.
pub struct CompletionRenderer {
    envelope: Envelope,
    include_usage: bool,
    choices: Vec<Choice>,
    /// Whose deltas come.
    current_choice: usize,
    /// The last choice ended for this reason, which is said along with the usage.
    pending_finish: Option<FinishReason>,
}

#[derive(Default)]
struct Choice {
    /// Stands in front of the answer; empty once it has been said.
    echo: String,
    /// Characters said so far.
    text_offset: usize,
    ended: bool,
}

impl CompletionRenderer {
    /// `echo` is empty, or has a text for each of the `choices`.
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

    /// The logprobs of tokens that begin `offset` characters into the text.
    fn logprobs_body(&self, tokens: &[TokenLogprob], mut offset: usize) -> Option<Value> {
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
            let chosen = (token.token.clone(), json!(finite_logprob(token.logprob)));
            token
                .top
                .iter()
                .map(|top| (top.token.clone(), json!(finite_logprob(top.logprob))))
                .chain([chosen])
                .collect()
        };
        Some(json!({
            "tokens": tokens.iter().map(|token| &token.token).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|token| finite_logprob(token.logprob)).collect::<Vec<_>>(),
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

fn choice_body(index: usize, text: &str, logprobs: Option<Value>, finish: Option<FinishReason>) -> Value {
    json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": finish.map(FinishReason::as_str) })
}

impl Renderer for CompletionRenderer {
    fn body(&self, replies: &[Reply]) -> Result<String, Error> {
        let mut choices = Vec::new();
        for (index, (reply, Choice { echo, .. })) in replies.iter().zip(&self.choices).enumerate() {
            let finish = reply.finish.ok_or_else(|| Error::internal("the answer ended without a finish reason"))?;
            let logprobs = self.logprobs_body(&reply.logprobs, echo.chars().count());
            choices.push(choice_body(index, &format!("{echo}{}", reply.text), logprobs, Some(finish)));
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
            Delta::Text { text, logprobs } => self.write_text(text, logprobs, out),
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
            // A completion of raw text neither thinks nor calls.
            Delta::Start(_) | Delta::Reasoning { .. } | Delta::ToolCall { .. } | Delta::Arguments { .. } => {}
        }
    }

    fn finish(&mut self, out: &mut String) {
        if let Some(finish) = self.pending_finish.take() {
            self.write_finish(finish, None, out);
        }
        sse::write_event("[DONE]", out);
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        sse::write_event(&crate::surface::error::error_body(error), out);
        sse::write_event("[DONE]", out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: Value) -> Result<CompletionRequest, String> {
        parse_request(body.to_string().as_bytes()).map_err(|error| error.message)
    }

    fn inputs(body: Value) -> Vec<Input> {
        parse(body).unwrap().chats.into_iter().map(|chat| chat.input).collect()
    }

    #[test]
    fn prompts_of_every_kind_are_read() {
        let text =
            |prefix: &str, suffix: Option<&str>| Input::Text { prefix: prefix.into(), suffix: suffix.map(Into::into) };
        assert_eq!(inputs(json!({ "model": "m" })), [text("Once upon a time,", None)]);
        assert_eq!(inputs(json!({ "model": "m", "prompt": "a", "suffix": "b" })), [text("a", Some("b"))]);
        assert_eq!(inputs(json!({ "model": "m", "prompt": ["a"] })), [text("a", None)]);
        assert_eq!(inputs(json!({ "model": "m", "prompt": ["a", "b"] })), [text("a", None), text("b", None)]);
        assert_eq!(inputs(json!({ "model": "m", "prompt": [1, 2] })), [Input::Tokens(vec![1, 2])]);
        let lists = [Input::Tokens(vec![1, 2]), Input::Tokens(vec![3])];
        assert_eq!(inputs(json!({ "model": "m", "prompt": [[1, 2], [3]] })), lists);
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        for (more, text) in [
            (json!({ "prompt": vec!["a"; 17] }), "Invalid prompt: a list holds 1 to 16 prompts"),
            (json!({ "prompt": [] }), "Invalid prompt: a list holds 1 to 16 prompts"),
            (json!({ "prompt": ["a", 1] }), "Failed to deserialize the JSON body into the target type: prompt[1]: "),
            (json!({ "prompt": [1, "a"] }), "Failed to deserialize the JSON body into the target type: prompt[0]: "),
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
        assert_eq!((request.stream, request.include_usage, request.echo), (true, true, vec!["a".to_owned()]));
        let chat = &request.chats[0];
        assert_eq!((chat.max_tokens, &chat.stop, chat.sampling.seed), (Some(5), &vec!["x".to_owned()], Some(3)));
        assert_eq!((chat.logprobs, chat.top_logprobs), (Some(true), Some(2)));
    }
}
