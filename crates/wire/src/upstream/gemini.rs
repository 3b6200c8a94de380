//! Gemini's `generateContent`, asked and heard (API document 3): the mirror of
//! `surface::gemini::parse_request` and `surface::gemini::GenerateContentRenderer`.

use std::collections::HashMap;

use chat::{Chat, Delta, Error, FinishReason, Input, Message, Part, ResponseFormat, Role, ToolChoice, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{EventReader, Image, SignatureStore, SignedReasoning, image_of, invalid_event, provider_error};
use crate::json::parse_tool_arguments;
use crate::token_count::{ProviderUsage, TokenCount};

/// Most stop sequences that the API takes.
pub(super) const MAX_STOP_SEQUENCES: usize = 5;

/// The body of a request.
pub(super) fn request_body(chat: &Chat, signatures: &dyn SignatureStore) -> Result<String, Error> {
    let Input::Messages(messages) = &chat.input else {
        return Err(Error::invalid(format!("The model `{}` answers chats, not text completions", chat.model)));
    };
    let first = messages.iter().position(|message| !is_system(message)).unwrap_or(messages.len());
    let (system, rest) = messages.split_at(first);
    let mut body = Map::from_iter([("contents".to_owned(), Value::from(alternating_contents(rest, signatures)?))]);
    if !system.is_empty() {
        let text = system.iter().map(Message::text).collect::<Vec<_>>().join("\n\n");
        body.insert("systemInstruction".into(), json!({"parts": [{"text": text}]}));
    }
    let config = generation_config(chat);
    if !config.is_empty() {
        body.insert("generationConfig".into(), config.into());
    }
    if !chat.tools.is_empty() {
        let functions: Vec<_> = chat.tools.iter().map(function_declaration).collect();
        body.insert("tools".into(), json!([{"functionDeclarations": functions}]));
    }
    if let Some(choice) = &chat.tool_choice {
        let config = match choice {
            ToolChoice::Auto => json!({"mode": "AUTO"}),
            ToolChoice::None => json!({"mode": "NONE"}),
            ToolChoice::Required => json!({"mode": "ANY"}),
            ToolChoice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
        };
        body.insert("toolConfig".into(), json!({"functionCallingConfig": config}));
    }
    Ok(Value::Object(body).to_string())
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// Contents in which the roles alternate.
fn alternating_contents(messages: &[Message], signatures: &dyn SignatureStore) -> Result<Vec<Value>, Error> {
    let mut turns = Vec::<(&str, Vec<Value>)>::new();
    // The names of the calls so far by their ids: the latest message counts, and its
    // first call of an id.
    let mut call_names = HashMap::<&str, &str>::new();
    for message in messages {
        let role = if message.role == Role::Assistant { "model" } else { "user" };
        let parts = message_parts(message, &call_names, signatures)?;
        call_names.extend(message.calls().iter().rev().map(|call| (call.id.as_str(), call.name.as_str())));
        match turns.last_mut() {
            None if role == "model" => turns.extend([("user", vec![json!({"text": "."})]), (role, parts)]),
            Some((last, earlier)) if *last == role => earlier.extend(parts),
            _ => turns.push((role, parts)),
        }
    }
    Ok(turns.into_iter().map(|(role, parts)| json!({"role": role, "parts": parts})).collect())
}

fn message_parts(
    message: &Message,
    call_names: &HashMap<&str, &str>,
    signatures: &dyn SignatureStore,
) -> Result<Vec<Value>, Error> {
    let mut parts = Vec::new();
    match message.role {
        Role::System | Role::Developer => {
            parts.push(json!({"text": format!("<system>{}</system>", message.text())}));
        }
        Role::Tool => {
            let id = message.tool_call_id.as_deref().unwrap_or_default();
            let name = call_names.get(id).copied().or(message.name.as_deref()).unwrap_or("function");
            let text = message.text();
            let response = match serde_json::from_str(&text) {
                Ok(object @ Value::Object(_)) => object,
                _ => json!({ "result": text }),
            };
            parts.push(json!({"functionResponse": {"id": id, "name": name, "response": response}}));
        }
        Role::User | Role::Assistant => {
            // Beside something else, empty text is refused.
            let non_empty_parts =
                message.content.iter().flatten().filter(|part| !matches!(part, Part::Text(text) if text.is_empty()));
            for part in non_empty_parts {
                parts.push(self::part_body(part)?);
            }
            for call in message.calls() {
                let mut part = json!({"functionCall": {"id": call.id, "name": call.name, "args": parse_tool_arguments(&call.arguments)}});
                if let Some(signature) = signatures.find(&signature_key(&call.id)) {
                    part["thoughtSignature"] = signature.into();
                }
                parts.push(part);
            }
        }
    }
    if parts.is_empty() {
        parts.push(json!({"text": ""}));
    }
    Ok(parts)
}

fn part_body(part: &Part) -> Result<Value, Error> {
    let (kind, value) = match part {
        Part::Text(text) => return Ok(json!({ "text": text })),
        Part::Other { kind, value } => (kind, value),
    };
    Ok(match image_of(kind, value)? {
        Image::Data { kind, base64 } => json!({"inlineData": {"mimeType": kind, "data": base64}}),
        Image::Url(url) => json!({"fileData": {"fileUri": url, "mimeType": image_mime_type(url)}}),
    })
}

/// The kind of an image by the end of its path.
fn image_mime_type(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let kinds = [(".png", "image/png"), (".webp", "image/webp"), (".gif", "image/gif"), (".heic", "image/heic")];
    kinds.iter().find(|(end, _)| path.ends_with(end)).map_or("image/jpeg", |(_, kind)| kind)
}

fn generation_config(chat: &Chat) -> Map<String, Value> {
    let mut config = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(key.into(), value);
        }
    };
    let sampling = &chat.sampling;
    set("maxOutputTokens", chat.max_output_tokens().map(Value::from));
    set("temperature", sampling.temperature.map(Value::from));
    set("topP", sampling.top_p.map(Value::from));
    set("seed", sampling.seed.map(Value::from));
    set("presencePenalty", sampling.presence_penalty.map(Value::from));
    set("frequencyPenalty", sampling.frequency_penalty.map(Value::from));
    set("candidateCount", chat.n.map(Value::from));
    set("responseLogprobs", chat.logprobs.map(Value::from));
    set("logprobs", chat.top_logprobs.map(Value::from));
    let stops: Vec<&String> = chat.stop.iter().take(MAX_STOP_SEQUENCES).collect();
    set("stopSequences", (!stops.is_empty()).then(|| json!(stops)));
    match &chat.response_format {
        ResponseFormat::Text | ResponseFormat::Unknown(_) => {}
        ResponseFormat::JsonObject => set("responseMimeType", Some("application/json".into())),
        ResponseFormat::JsonSchema(format) => {
            set("responseMimeType", Some("application/json".into()));
            set("responseJsonSchema", format.get("schema").cloned());
        }
    }
    set(
        "thinkingConfig",
        match chat.thinking {
            Some(true) => Some(json!({"includeThoughts": true})),
            Some(false) => Some(json!({"thinkingBudget": 0})),
            None => None,
        },
    );
    config
}

fn function_declaration(tool: &chat::Tool) -> Value {
    let mut function = json!({"name": tool.name});
    if let Some(description) = tool.function.get("description") {
        function["description"] = description.clone();
    }
    if let Some(schema) = tool.function.get("parameters") {
        function["parametersJsonSchema"] = schema.clone();
    }
    function
}

/// Under what the signature of a call is kept: calls come without reasoning of their own.
fn signature_key(id: &str) -> String {
    format!("call {id}")
}

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(super) struct GeminiEventReader {
    started: bool,
    call_count: usize,
    signed_reasoning: Vec<SignedReasoning>,
    finish_reason: Option<FinishReason>,
    usage: Option<GeminiUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(default)]
    candidates: Vec<Candidate>,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
    prompt_feedback: Option<PromptFeedback>,
    response_id: Option<String>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PromptFeedback {
    pub(crate) block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<PartBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartBody {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    thought_signature: Option<String>,
    function_call: Option<CallBody>,
}

#[derive(Deserialize)]
struct CallBody {
    id: Option<String>,
    name: String,
    args: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GeminiUsage {
    prompt_token_count: TokenCount,
    cached_content_token_count: TokenCount,
    candidates_token_count: TokenCount,
    thoughts_token_count: TokenCount,
}

impl ProviderUsage for GeminiUsage {
    const INVALID: Self = Self {
        prompt_token_count: TokenCount::INVALID,
        cached_content_token_count: TokenCount::ABSENT,
        candidates_token_count: TokenCount::ABSENT,
        thoughts_token_count: TokenCount::ABSENT,
    };
}

impl From<GeminiUsage> for Usage {
    fn from(body: GeminiUsage) -> Self {
        let thoughts = body.thoughts_token_count.or_zero();
        Self {
            prompt_tokens: body.prompt_token_count.or_zero(),
            cached_tokens: body.cached_content_token_count.or_zero(),
            cache_write_tokens: 0,
            completion_tokens: body.candidates_token_count.or_zero().saturating_add(thoughts),
            reasoning_tokens: (thoughts > 0).then_some(thoughts),
        }
    }
}

impl EventReader for GeminiEventReader {
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        let event: Event = serde_json::from_str(data).map_err(|error| invalid_event(&error))?;
        if let Some(error) = event.error {
            let body = json!({ "error": error }).to_string();
            return Err(provider_error(
                super::error_message(body.as_bytes()).unwrap_or_else(|| "The provider broke off".into()),
            ));
        }
        if !std::mem::replace(&mut self.started, true) {
            out.push(Delta::Start(Usage::default()));
        }
        self.usage = GeminiUsage::parse_optional(event.usage_metadata).or(self.usage);
        if event.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some()) {
            self.finish_reason = Some(FinishReason::ContentFilter);
        }
        let Some(candidate) = event.candidates.into_iter().next() else { return Ok(()) };
        for part in candidate.content.into_iter().flat_map(|content| content.parts) {
            self.read_part(part, event.response_id.as_deref().unwrap_or("0"), out);
        }
        if let Some(reason) = candidate.finish_reason {
            self.finish_reason = Some(self::finish_reason(&reason, self.call_count > 0));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error> {
        let finish = self
            .finish_reason
            .take()
            .ok_or_else(|| provider_error("The provider's answer broke off before its end"))?;
        out.push(Delta::Finish(finish));
        out.extend(self.usage.map(|usage| Delta::Usage(usage.into())));
        Ok(())
    }

    fn take_signed(&mut self) -> Vec<SignedReasoning> {
        std::mem::take(&mut self.signed_reasoning)
    }
}

impl GeminiEventReader {
    fn read_part(&mut self, part: PartBody, response: &str, out: &mut Vec<Delta>) {
        let logprobs = Vec::new();
        if let Some(text) = part.text.filter(|text| !text.is_empty()) {
            out.push(match part.thought {
                true => Delta::Reasoning { text, logprobs },
                false => Delta::Text { text, logprobs },
            });
        }
        let Some(call) = part.function_call else { return };
        let index = self.call_count;
        self.call_count += 1;
        // The id of the response keeps calls of different turns apart.
        let id = call.id.unwrap_or_else(|| format!("call_{index:02}_{response}"));
        self.signed_reasoning
            .extend(part.thought_signature.map(|signature| SignedReasoning { text: signature_key(&id), signature }));
        out.push(Delta::ToolCall { index, id, name: call.name });
        let text = call.args.filter(|args| !args.is_null()).unwrap_or_else(|| json!({})).to_string();
        out.push(Delta::Arguments { index, text });
    }
}

/// Why an answer ended that `calls`.
pub(crate) fn finish_reason(reason: &str, calls: bool) -> FinishReason {
    match reason {
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" => {
            FinishReason::ContentFilter
        }
        "STOP" if calls => FinishReason::ToolCalls,
        _ => FinishReason::Stop,
    }
}
