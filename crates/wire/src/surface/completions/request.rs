//! The request body of `POST /completions`.

use chat::{Chat, Error, Input};
use serde_json::Value;

use crate::field_reader::{Field, Object};
use crate::json;
use crate::surface::chat_completions::common_fields;

/// Maximum number of prompts of one request.
const MAX_PROMPTS: usize = 16;
/// Maximum size in bytes of the other fields of a request with several prompts: each prompt gets a
/// copy of them.
const MAX_COPIED_BYTES: usize = 256 << 10;

/// A parsed request.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionRequest {
    /// One chat for each prompt, at least one. They differ only in their input.
    pub chats: Vec<Chat>,
    pub stream: bool,
    pub include_usage: bool,
    /// The prompts, if the answers are to repeat them (`echo`) and the provider does not do it
    /// ([`Chat::echo_prompt`]); otherwise empty.
    pub echo: Vec<String>,
}

impl CompletionRequest {
    /// The approximate number of bytes that the request takes.
    pub fn memory_bytes(&self) -> usize {
        self.chats.iter().map(Chat::memory_bytes).sum::<usize>() + self.echo.iter().map(String::len).sum::<usize>()
    }
}

/// Parses a request body. Unknown fields are ignored; null means absent.
///
/// # Errors
/// `InvalidRequest`: bytes that are not strict JSON, a field of the wrong type, too many prompts,
/// `echo` with `suffix`.
pub fn parse_request(body: &[u8]) -> Result<CompletionRequest, Error> {
    request_from_json(json::parse(body)?)
}

/// Converts a parsed body.
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
    let stream_options = common_fields(&mut chat, &mut object)?;
    take_special_tokens(&mut chat, &mut object);
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
    // Only the provider knows the text of tokens and the log-probabilities of a prompt.
    let texts = inputs.iter().map(|input| match input {
        Input::Text { prefix, .. } if chat.logprobs != Some(true) => Some(prefix.clone()),
        _ => None,
    });
    let texts: Option<Vec<String>> = if echo { texts.collect() } else { Some(Vec::new()) };
    chat.echo_prompt = texts.is_none();
    let echo = texts.unwrap_or_default();
    if inputs.len() > 1 && chat.memory_bytes() > MAX_COPIED_BYTES {
        return Err(Error::invalid(format!(
            "Invalid prompt: beside several prompts the request may hold {MAX_COPIED_BYTES} bytes"
        )));
    }
    let chats = inputs.into_iter().map(|input| Chat { input, ..chat.clone() }).collect();
    Ok(CompletionRequest { chats, stream: stream_options.stream, include_usage: stream_options.include_usage, echo })
}

/// Takes the switches of other engines for control tokens in a prompt's text: llama.cpp's
/// `parse_special`, and `add_special_tokens: false`, with which the clients of vLLM say that a text
/// already has those of its template.
fn take_special_tokens(chat: &mut Chat, object: &mut Object) {
    for (name, value) in [("parse_special", true), ("add_special_tokens", false)] {
        if object.optional(name).is_some_and(|field| field.value().as_bool() == Some(value)) {
            chat.engine_fields.parse_special = true;
            chat.engine_fields.names.push(name);
        }
    }
}

/// Parses one prompt, which is a string or a list of token ids, or a list of such prompts.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            "model": "m", "prompt": "a", "max_tokens": 5, "stop": "x", "stream": true, "seed": 3,
            "stream_options": { "include_usage": true }, "logprobs": 2, "temperature": 0
        });
        let request = parse(body).unwrap();
        assert_eq!((request.stream, request.include_usage, request.echo), (true, true, vec![]));
        let chat = &request.chats[0];
        assert_eq!((chat.max_tokens, &chat.stop, chat.sampling.seed), (Some(5), &vec!["x".to_owned()], Some(3)));
        assert_eq!((chat.logprobs, chat.top_logprobs), (Some(true), Some(2)));
    }

    #[test]
    fn the_provider_repeats_what_only_it_knows() {
        for (body, by_provider, texts) in [
            (json!({ "prompt": "a" }), false, vec![]),
            (json!({ "prompt": ["a", "b"], "echo": true }), false, vec!["a".to_owned(), "b".to_owned()]),
            (json!({ "prompt": "a", "echo": true, "logprobs": 0 }), true, vec![]),
            (json!({ "prompt": [[1, 2]], "echo": true, "max_tokens": 0 }), true, vec![]),
            (json!({ "prompt": "a", "logprobs": 1 }), false, vec![]),
        ] {
            let mut body = body;
            body["model"] = "m".into();
            let request = parse(body).unwrap();
            assert_eq!((request.chats[0].echo_prompt, request.echo), (by_provider, texts));
        }
    }

    #[test]
    fn control_tokens_in_text_are_asked_for() {
        for (body, names) in [
            (json!({ "parse_special": true }), vec!["parse_special"]),
            (json!({ "add_special_tokens": false }), vec!["add_special_tokens"]),
            (json!({ "parse_special": false, "add_special_tokens": true }), vec![]),
            (json!({ "parse_special": "yes", "add_special_tokens": null }), vec![]),
        ] {
            let mut body = body;
            body["model"] = "m".into();
            let fields = parse(body).unwrap().chats[0].engine_fields.clone();
            assert_eq!((fields.parse_special, &fields.names), (!names.is_empty(), &names));
        }
    }
}
