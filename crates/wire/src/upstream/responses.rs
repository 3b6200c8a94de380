//! The client of OpenAI's Responses API: builds requests and reads events. It is the counterpart of
//! `surface::responses`.

use std::collections::HashMap;

use chat::{Delta, Error, Media, SignatureFormat, SignedReasoning, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::progress::{AnswerFormat, AnswerProgress, ProgressReader};
use crate::upstream::error::invalid_event;
use crate::upstream::event_reader::EventReader;
use crate::upstream::openai::{forgiving, read_annotations, read_logprobs};
use items::{Item, joined_texts, read_citations, reasoning_text};
pub(super) use request::{counted_fields, request_body};

mod items;
mod request;
#[cfg(test)]
mod tests;

/// Reads the events of one response.
#[derive(Debug)]
pub(super) struct ResponsesEventReader {
    progress: ProgressReader,
    started: bool,
    /// The items that have not ended, by their index.
    items: HashMap<u64, StreamedItem>,
    /// The index of the call whose arguments are passed on as they arrive.
    open_call: Option<u64>,
    /// Calls that ended while another one was open: deltas of calls do not alternate.
    waiting_calls: Vec<Item>,
    call_count: usize,
    /// The encrypted reasoning that belongs to the next call, if there is one.
    encrypted_reasoning: Option<SignedReasoning>,
    /// The characters of the text so far.
    text_chars: usize,
}

/// The part of an item that has arrived.
#[derive(Debug, Default)]
struct StreamedItem {
    /// Its reasoning.
    reasoning: String,
    has_content: bool,
    /// The characters of the answer's text before it.
    text_start: usize,
    has_citations: bool,
}

impl Default for ResponsesEventReader {
    fn default() -> Self {
        Self {
            progress: ProgressReader::new(AnswerFormat::Responses),
            started: false,
            items: HashMap::new(),
            open_call: None,
            waiting_calls: Vec::new(),
            call_count: 0,
            encrypted_reasoning: None,
            text_chars: 0,
        }
    }
}

/// An event. Its parts are parsed only where its type needs them, so that others may have any
/// value.
#[derive(Deserialize)]
struct Event<'a> {
    r#type: String,
    #[serde(default, deserialize_with = "forgiving")]
    output_index: u64,
    #[serde(default, deserialize_with = "forgiving")]
    summary_index: u64,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    annotation: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

impl Event<'_> {
    /// The text of a delta, unless it is empty.
    fn text(&self) -> Option<String> {
        let text: Option<String> = self.delta.and_then(|delta| serde_json::from_str(delta.get()).ok());
        text.filter(|text| !text.is_empty())
    }

    /// The item of the event.
    fn item(&self) -> Result<Item, Error> {
        let json = self.item.map_or("null", RawValue::get);
        serde_json::from_str(json).map_err(|error| invalid_event(&error))
    }
}

/// A whole response.
#[derive(Default, Deserialize)]
struct Response {
    #[serde(default)]
    output: Vec<Item>,
}

impl EventReader for ResponsesEventReader {
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        let had_started = self.progress().has_started();
        self.progress.read_event(data.as_bytes());
        self.progress.check()?;
        if data.trim() == "[DONE]" {
            return Ok(());
        }
        self.start(out);
        let event: Event = serde_json::from_str(data).map_err(|error| invalid_event(&error))?;
        let index = event.output_index;
        match event.r#type.as_str() {
            "response.output_item.added" => self.begin_item(index, event.item()?, out),
            "response.output_item.done" => self.end_item(index, event.item()?, out),
            "response.output_text.delta" | "response.refusal.delta" => {
                if let Some(text) = event.text() {
                    let logprobs = event.logprobs.and_then(|list| serde_json::from_str(list.get()).ok());
                    self.items.entry(index).or_default().has_content = true;
                    self.text_chars += text.chars().count();
                    out.push(Delta::Text { text, logprobs: read_logprobs(logprobs) });
                }
            }
            "response.output_text.annotation.added" => {
                let item = self.items.entry(index).or_default();
                item.has_citations = true;
                let annotation = event.annotation.and_then(|json| serde_json::from_str::<Value>(json.get()).ok());
                read_annotations(annotation.as_slice(), item.text_start, self.text_chars, out);
            }
            "response.reasoning_summary_part.added" if event.summary_index > 0 => {
                self.push_reasoning(index, "\n\n".into(), out);
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                if let Some(text) = event.text() {
                    self.push_reasoning(index, text, out);
                }
            }
            "response.function_call_arguments.delta" if self.open_call == Some(index) => {
                if let Some(text) = event.text() {
                    self.items.entry(index).or_default().has_content = true;
                    out.push(Delta::Arguments { index: self.call_count - 1, text });
                }
            }
            // Some services send nothing before.
            "response.completed" | "response.incomplete" if !had_started => {
                let json = event.response.map_or("null", RawValue::get);
                let response: Option<Response> = serde_json::from_str(json).map_err(|error| invalid_event(&error))?;
                self.read_output(response.unwrap_or_default(), out);
            }
            _ => {}
        }
        Ok(())
    }

    fn read_body(&mut self, body: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.progress.read_body(body.as_bytes());
        self.progress.check()?;
        self.start(out);
        let response = serde_json::from_str(body).map_err(|error| invalid_event(&error))?;
        self.read_output(response, out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error> {
        let finish = self.progress.finish()?;
        self.push_waiting_calls(out);
        out.extend(self.encrypted_reasoning.take().map(Delta::Signature));
        out.push(Delta::Finish(finish));
        out.extend(self.progress().usage.map(Delta::Usage));
        Ok(())
    }

    fn progress(&self) -> &AnswerProgress {
        self.progress.progress()
    }
}

impl ResponsesEventReader {
    fn start(&mut self, out: &mut Vec<Delta>) {
        if !std::mem::replace(&mut self.started, true) {
            out.push(Delta::Start(Usage::default()));
        }
    }

    fn read_output(&mut self, response: Response, out: &mut Vec<Delta>) {
        for (index, item) in (0..).zip(response.output) {
            self.end_item(index, item, out);
        }
    }

    fn push_reasoning(&mut self, index: u64, text: String, out: &mut Vec<Delta>) {
        self.items.entry(index).or_default().reasoning.push_str(&text);
        out.push(Delta::Reasoning { text, logprobs: Vec::new() });
    }

    fn begin_item(&mut self, index: u64, item: Item, out: &mut Vec<Delta>) {
        self.items.insert(index, StreamedItem { text_start: self.text_chars, ..StreamedItem::default() });
        if item.kind == "function_call" && self.open_call.is_none() {
            self.begin_call(item.call_id, item.name, out);
            self.open_call = Some(index);
        }
    }

    /// Reads an item that is complete: what has not arrived before.
    fn end_item(&mut self, index: u64, item: Item, out: &mut Vec<Delta>) {
        let is_new = || StreamedItem { text_start: self.text_chars, ..StreamedItem::default() };
        let streamed = self.items.remove(&index).unwrap_or_else(is_new);
        match item.kind.as_str() {
            "message" => {
                let text = joined_texts(&item.content);
                if !streamed.has_content && !text.is_empty() {
                    self.text_chars += text.chars().count();
                    out.push(Delta::Text { text, logprobs: Vec::new() });
                }
                if !streamed.has_citations {
                    read_citations(&item.content, streamed.text_start, out);
                }
            }
            "reasoning" => {
                let mut text = streamed.reasoning;
                if text.is_empty() {
                    text = reasoning_text(&item);
                    if !text.is_empty() {
                        out.push(Delta::Reasoning { text: text.clone(), logprobs: Vec::new() });
                    }
                }
                self.keep_signature(text, item.encrypted_content, out);
            }
            "function_call" if self.open_call == Some(index) => {
                let arguments = item.arguments_text();
                if !streamed.has_content && !arguments.is_empty() {
                    out.push(Delta::Arguments { index: self.call_count - 1, text: arguments });
                }
                self.open_call = None;
                self.push_waiting_calls(out);
            }
            "function_call" | "custom_tool_call" if self.open_call.is_some() => self.waiting_calls.push(item),
            "function_call" | "custom_tool_call" => self.push_call(item, out),
            "image_generation_call" => {
                let media = Media::from_data(&format!("image/{}", item.image_format()), &item.result);
                let media = media.filter(|_| !item.result.is_empty());
                out.push(media.map_or(Delta::Dropped("images"), Delta::Media));
            }
            kind if kind.ends_with("_call") => out.push(Delta::Dropped("calls of built-in tools")),
            _ => {}
        }
    }

    /// Keeps the encrypted reasoning for the call that may follow it.
    fn keep_signature(&mut self, text: String, signature: Option<String>, out: &mut Vec<Delta>) {
        let Some(signature) = signature.filter(|signature| !signature.is_empty()) else { return };
        let format = SignatureFormat::Responses;
        let signed = SignedReasoning { format, provider: String::new(), text, call: None, signature };
        out.extend(self.encrypted_reasoning.replace(signed).map(Delta::Signature));
    }

    fn begin_call(&mut self, id: String, name: String, out: &mut Vec<Delta>) {
        let signed = self.encrypted_reasoning.take();
        let signed = signed.map(|signed| SignedReasoning { call: Some(id.clone()), ..signed });
        out.push(Delta::ToolCall { index: self.call_count, id, name });
        out.extend(signed.map(Delta::Signature));
        self.call_count += 1;
    }

    fn push_call(&mut self, item: Item, out: &mut Vec<Delta>) {
        let arguments = match item.kind.as_str() {
            // A tool of free text is a function of one text here.
            "custom_tool_call" => json!({ "input": item.input }).to_string(),
            _ => item.arguments_text(),
        };
        self.begin_call(item.call_id, item.name, out);
        if !arguments.is_empty() {
            out.push(Delta::Arguments { index: self.call_count - 1, text: arguments });
        }
    }

    fn push_waiting_calls(&mut self, out: &mut Vec<Delta>) {
        for call in std::mem::take(&mut self.waiting_calls) {
            self.push_call(call, out);
        }
    }
}
