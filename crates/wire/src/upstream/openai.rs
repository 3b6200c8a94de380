//! The client of chat completions APIs: builds requests and reads events. It is the counterpart of
//! `surface::chat_completions`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use chat::{Delta, Error, TokenLogprob, ToolCall, TopLogprob, Usage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::progress::{AnswerProgress, ProgressReader};
use crate::reasoning_details::ReasoningDetails;
use crate::upstream::error::invalid_event;
use crate::upstream::event_reader::EventReader;
pub(super) use annotations::read_annotations;
pub(super) use request::{end_user, request_body};

mod annotations;
mod media;
mod request;

/// Reads `chat.completion.chunk` events. It tolerates deviations of services: calls without index
/// or id, `reasoning` instead of `reasoning_content`.
#[derive(Debug, Default)]
pub(super) struct OpenAiEventReader {
    progress: ProgressReader,
    started: bool,
    /// The calls in the order in which they began.
    calls: Vec<ToolCall>,
    /// The position in `calls` of each index of the provider.
    call_positions: HashMap<usize, usize>,
    /// The provider's index of the last call that began.
    last_provider_index: Option<usize>,
    /// The characters of the text so far.
    text_chars: usize,
}

#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default, deserialize_with = "forgiving")]
    index: u64,
    delta: Option<DeltaBody>,
    /// The delta of a whole answer.
    message: Option<DeltaBody>,
    #[serde(default, deserialize_with = "forgiving")]
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct DeltaBody {
    #[serde(default)]
    content: ContentBody,
    #[serde(default, deserialize_with = "forgiving")]
    reasoning_content: Option<String>,
    #[serde(default, deserialize_with = "forgiving")]
    reasoning: Option<String>,
    #[serde(default)]
    reasoning_details: ReasoningDetails,
    tool_calls: Option<Vec<CallBody>>,
    #[serde(default, deserialize_with = "forgiving")]
    refusal: Option<String>,
    #[serde(default, deserialize_with = "forgiving")]
    annotations: Vec<Value>,
    #[serde(default, deserialize_with = "forgiving")]
    images: Vec<Value>,
    #[serde(default, deserialize_with = "forgiving")]
    audio: Value,
}

#[derive(Deserialize)]
struct CallBody {
    #[serde(default, deserialize_with = "forgiving")]
    index: Option<usize>,
    #[serde(default, deserialize_with = "forgiving")]
    id: Option<String>,
    function: Option<FunctionBody>,
}

#[derive(Deserialize)]
struct FunctionBody {
    #[serde(default, deserialize_with = "forgiving")]
    name: Option<String>,
    /// Text, or with some services the object itself.
    #[serde(default)]
    arguments: Value,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<LogprobBody>>,
    reasoning_content: Option<Vec<LogprobBody>>,
}

#[derive(Deserialize)]
pub(super) struct LogprobBody {
    token: String,
    /// Null for a probability of 0.
    logprob: Option<f32>,
    bytes: Option<Vec<u8>>,
    #[serde(default, deserialize_with = "forgiving")]
    top_logprobs: Vec<TopBody>,
}

#[derive(Deserialize)]
struct TopBody {
    token: String,
    logprob: Option<f32>,
    bytes: Option<Vec<u8>>,
}

/// Reads a field, or its default if its value is of another type: one odd field must not fail an
/// answer that is paid for.
pub(super) fn forgiving<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(json: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(json)?).unwrap_or_default())
}

/// The content of a delta: text, or with some services a list of parts, of which those of Mistral's
/// reasoning models are thoughts.
#[derive(Default)]
struct ContentBody {
    text: String,
    reasoning: String,
}

impl<'de> Deserialize<'de> for ContentBody {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let mut content = Self::default();
        match Value::deserialize(json)? {
            Value::String(text) => content.text = text,
            Value::Array(parts) => {
                for part in &parts {
                    match part["type"].as_str() {
                        Some("thinking" | "reasoning") => append_text(&part["thinking"], &mut content.reasoning),
                        _ => append_text(part, &mut content.text),
                    }
                }
            }
            _ => {}
        }
        Ok(content)
    }
}

/// Appends a text, the text of a part, or those of a list of parts.
fn append_text(value: &Value, to: &mut String) {
    match value {
        Value::String(text) => to.push_str(text),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).for_each(|text| to.push_str(text)),
        part => to.push_str(part["text"].as_str().unwrap_or_default()),
    }
}

impl EventReader for OpenAiEventReader {
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.progress.read_event(data.as_bytes());
        self.progress.check()?;
        if data.trim() == "[DONE]" {
            return Ok(());
        }
        self.read_chunk(data, out)
    }

    fn read_body(&mut self, body: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.progress.read_body(body.as_bytes());
        self.progress.check()?;
        self.read_chunk(body, out)
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error> {
        let finish = self.progress.finish()?;
        for (index, call) in self.calls.drain(..).enumerate().skip(1) {
            out.push(Delta::ToolCall { index, id: call.id, name: call.name });
            if !call.arguments.is_empty() {
                out.push(Delta::Arguments { index, text: call.arguments });
            }
        }
        out.push(Delta::Finish(finish));
        out.extend(self.progress().usage.map(Delta::Usage));
        Ok(())
    }

    fn progress(&self) -> &AnswerProgress {
        self.progress.progress()
    }
}

impl OpenAiEventReader {
    fn read_chunk(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        let chunk: Chunk = serde_json::from_str(data).map_err(|error| invalid_event(&error))?;
        if !std::mem::replace(&mut self.started, true) {
            out.push(Delta::Start(Usage::default()));
        }
        for choice in chunk.choices.into_iter().flatten().filter(|choice| choice.index == 0) {
            self.read_choice(choice, out);
        }
        Ok(())
    }

    fn read_choice(&mut self, choice: Choice, out: &mut Vec<Delta>) {
        let logprobs = choice.logprobs.unwrap_or(Logprobs { content: None, reasoning_content: None });
        let is_whole = choice.message.is_some();
        if let Some(delta) = choice.delta.or(choice.message) {
            let non_empty_text = |text: Option<String>| text.filter(|text| !text.is_empty());
            let ContentBody { text, reasoning } = delta.content;
            let reasoning = non_empty_text(delta.reasoning_content)
                .or(non_empty_text(delta.reasoning))
                .or(non_empty_text(Some(reasoning)))
                .or(non_empty_text(Some(delta.reasoning_details.0)));
            if let Some(text) = reasoning {
                out.push(Delta::Reasoning { text, logprobs: read_logprobs(logprobs.reasoning_content) });
            }
            let transcript = delta.audio["transcript"].as_str().map(str::to_owned);
            if let Some(text) =
                non_empty_text(Some(text)).or(non_empty_text(delta.refusal)).or(non_empty_text(transcript))
            {
                self.text_chars += text.chars().count();
                out.push(Delta::Text { text, logprobs: read_logprobs(logprobs.content) });
            }
            read_annotations(&delta.annotations, 0, self.text_chars, out);
            media::read_images(&delta.images, out);
            out.extend(media::read_audio(&delta.audio, is_whole));
            for call in delta.tool_calls.into_iter().flatten() {
                self.read_tool_call(call, out);
            }
        }
    }

    /// Reads a piece of a call. A piece without an index continues the last call, unless it has
    /// an id and a name.
    ///
    /// The first call is emitted as it arrives, the others at the end: providers may interleave
    /// calls, and deltas may not.
    fn read_tool_call(&mut self, call: CallBody, out: &mut Vec<Delta>) {
        let (name, arguments) =
            call.function.map_or((None, Value::Null), |function| (function.name, function.arguments));
        let arguments = match arguments {
            Value::String(text) => Some(text),
            Value::Null => None,
            object => Some(object.to_string()),
        };
        let begins = call.id.is_some() && name.as_ref().is_some_and(|name| !name.is_empty());
        let next = if begins {
            self.last_provider_index.map_or(0, |last| last.saturating_add(1))
        } else {
            self.last_provider_index.unwrap_or(0)
        };
        let provider_index = call.index.unwrap_or(next);
        let index = match self.call_positions.entry(provider_index) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let index = *new.insert(self.calls.len());
                let id = call.id.unwrap_or_else(|| format!("call_{index}"));
                let call = ToolCall { id, name: name.unwrap_or_default(), arguments: String::new() };
                if index == 0 {
                    out.push(Delta::ToolCall { index, id: call.id.clone(), name: call.name.clone() });
                }
                self.calls.push(call);
                self.last_provider_index = Some(provider_index);
                index
            }
        };
        match arguments.filter(|text| !text.is_empty()) {
            Some(text) if index == 0 => out.push(Delta::Arguments { index, text }),
            Some(text) => self.calls[index].arguments.push_str(&text),
            None => {}
        }
    }
}

pub(super) fn read_logprobs(body: Option<Vec<LogprobBody>>) -> Vec<TokenLogprob> {
    let finite = |logprob: Option<f32>| logprob.unwrap_or(f32::NEG_INFINITY);
    let top = |top: TopBody| TopLogprob { token: top.token, logprob: finite(top.logprob), bytes: top.bytes };
    let token = |token: LogprobBody| TokenLogprob {
        token: token.token,
        logprob: finite(token.logprob),
        bytes: token.bytes,
        top: token.top_logprobs.into_iter().map(top).collect(),
    };
    body.unwrap_or_default().into_iter().map(token).collect()
}
