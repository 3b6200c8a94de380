//! The client of Gemini's `generateContent`: builds requests and reads events (API document 3). It
//! is the counterpart of `surface::gemini`.

use chat::{Delta, Error, Media, MediaKind, SignatureFormat, SignedReasoning, TokenLogprob, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::positioned_text::PositionedText;
use crate::progress::{AnswerFormat, AnswerProgress, ProgressReader};
use crate::upstream::error::invalid_event;
use crate::upstream::event_reader::EventReader;
use crate::upstream::openai::forgiving;
use grounding::{Grounding, Repeated};
use logprobs::parse_logprobs;
pub(super) use request::request_body;
pub(crate) use request::thinking_budget;

mod grounding;
mod logprobs;
mod request;

/// Reads the events of one answer.
#[derive(Debug)]
pub(super) struct GeminiEventReader {
    progress: ProgressReader,
    started: bool,
    call_count: usize,
    /// The text so far, in which the places of citations are counted in bytes.
    text: PositionedText,
}

impl Default for GeminiEventReader {
    fn default() -> Self {
        let progress = ProgressReader::new(AnswerFormat::GenerateContent);
        Self { progress, started: false, call_count: 0, text: PositionedText::default() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    candidates: Option<Vec<Candidate>>,
    response_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    logprobs_result: Option<Value>,
    #[serde(default, deserialize_with = "forgiving")]
    grounding_metadata: Grounding,
    #[serde(default, deserialize_with = "forgiving")]
    citation_metadata: Repeated,
}

#[derive(Deserialize)]
struct Content {
    parts: Option<Vec<PartBody>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartBody {
    text: Option<String>,
    thought: Option<bool>,
    thought_signature: Option<String>,
    function_call: Option<CallBody>,
    #[serde(default, deserialize_with = "forgiving")]
    inline_data: Option<DataBody>,
    #[serde(default, deserialize_with = "forgiving")]
    file_data: Option<DataBody>,
    #[serde(default, deserialize_with = "forgiving")]
    executable_code: Value,
}

/// An image or a sound: its data, or its address.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DataBody {
    mime_type: String,
    #[serde(alias = "fileUri")]
    data: String,
}

#[derive(Deserialize)]
struct CallBody {
    id: Option<String>,
    #[serde(default)]
    name: String,
    args: Option<Value>,
}

impl EventReader for GeminiEventReader {
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.progress.read_event(data.as_bytes());
        self.progress.check()?;
        self.read_candidate(data, out)
    }

    fn read_body(&mut self, body: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.progress.read_body(body.as_bytes());
        self.progress.check()?;
        self.read_candidate(body, out)
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error> {
        out.push(Delta::Finish(self.progress.finish()?));
        out.extend(self.progress().usage.map(Delta::Usage));
        Ok(())
    }

    fn progress(&self) -> &AnswerProgress {
        self.progress.progress()
    }
}

impl GeminiEventReader {
    fn read_candidate(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        if data.trim() == "[DONE]" {
            return Ok(());
        }
        let event: Event = serde_json::from_str(data).map_err(|error| invalid_event(&error))?;
        if !std::mem::replace(&mut self.started, true) {
            out.push(Delta::Start(Usage::default()));
        }
        let Some(candidate) = event.candidates.into_iter().flatten().next() else { return Ok(()) };
        // Those of all tokens of the event, which go with its first text.
        let mut logprobs = candidate.logprobs_result.map(parse_logprobs).unwrap_or_default();
        for part in candidate.content.and_then(|content| content.parts).into_iter().flatten() {
            self.read_part(part, event.response_id.as_deref().unwrap_or("0"), &mut logprobs, out);
        }
        candidate.grounding_metadata.read(&self.text, out);
        candidate.citation_metadata.read(&self.text, out);
        Ok(())
    }

    fn read_part(&mut self, part: PartBody, response: &str, logprobs: &mut Vec<TokenLogprob>, out: &mut Vec<Delta>) {
        if let Some(text) = part.text.filter(|text| !text.is_empty()) {
            out.push(match part.thought == Some(true) {
                true => Delta::Reasoning { text, logprobs: Vec::new() },
                false => {
                    self.text.push(&text);
                    Delta::Text { text, logprobs: std::mem::take(logprobs) }
                }
            });
        }
        let is_thought = part.thought == Some(true);
        if let Some(DataBody { mime_type, data }) = part.inline_data {
            // Sketches of the reasoning are not part of the answer.
            let media = Media::from_data(&mime_type, &data).filter(|_| !is_thought);
            out.push(media.map_or(Delta::Dropped("inlineData"), Delta::Media));
        }
        if let Some(DataBody { mime_type, data: url }) = part.file_data {
            let kind = MediaKind::of(&mime_type).filter(|_| !is_thought);
            out.push(kind.map_or(Delta::Dropped("fileData"), |kind| Delta::Media(Media { kind, url })));
        }
        if !part.executable_code.is_null() {
            out.push(Delta::Dropped("executableCode"));
        }
        let Some(call) = part.function_call else { return };
        let index = self.call_count;
        self.call_count += 1;
        // The id of the response makes the ids of calls of different turns distinct.
        let id = call.id.unwrap_or_else(|| format!("call_{index:02}_{response}"));
        let signed = part.thought_signature.map(|signature| SignedReasoning {
            format: SignatureFormat::Gemini,
            provider: String::new(),
            text: String::new(),
            call: Some(id.clone()),
            signature,
        });
        out.push(Delta::ToolCall { index, id, name: call.name });
        let text = call.args.filter(|args| !args.is_null()).unwrap_or_else(|| json!({})).to_string();
        out.push(Delta::Arguments { index, text });
        out.extend(signed.map(Delta::Signature));
    }
}
