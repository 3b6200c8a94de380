//! The nouns of answers, in each dialect that has them.

use serde_json::{Value, json};
use wire::upstream::Dialect;

use crate::nouns::merged;
use crate::surface::Surface;

/// A part of an answer.
pub(crate) struct AnswerNoun {
    pub(crate) name: &'static str,
    /// The answers without it and with it, in the formats of [`FORMATS`].
    answers: [Option<(Value, Value)>; FORMATS],
    /// The APIs that do not return it, without a note.
    dropped: Dropped,
}

/// Chat completions, messages, Gemini's format, responses and Converse.
const FORMATS: usize = 5;

/// Where a part of an answer, which is not content, is not returned.
#[derive(Clone, Copy)]
enum Dropped {
    Nowhere,
    Everywhere,
    By(&'static [Surface]),
}

impl AnswerNoun {
    /// The dialects that have this noun, with an answer without it and one with it.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (Dialect, (Value, Value))> {
        let all = [
            (Dialect::DeepSeek, 0),
            (Dialect::OpenAi, 0),
            (Dialect::Anthropic, 1),
            (Dialect::Gemini, 2),
            (Dialect::Responses, 3),
            (Dialect::Bedrock, 4),
        ];
        all.into_iter().filter_map(|(dialect, format)| Some((dialect, self.answers[format].clone()?)))
    }

    pub(crate) fn is_dropped(&self, surface: Surface) -> bool {
        match self.dropped {
            Dropped::Nowhere => false,
            Dropped::Everywhere => true,
            Dropped::By(surfaces) => surfaces.contains(&surface),
        }
    }
}

fn completion(message: Value, finish: &str, usage: Value) -> Value {
    json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage})
}

fn message(content: Value, stop_reason: &str, usage: Value) -> Value {
    json!({"type": "message", "role": "assistant", "content": content, "stop_reason": stop_reason, "usage": usage})
}

fn content(parts: Value, finish: &str, usage: Value) -> Value {
    json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": finish}], "usageMetadata": usage})
}

fn response(output: Value, status: &str, usage: Value) -> Value {
    json!({"object": "response", "status": status, "output": output, "usage": usage})
}

fn converse(content: Value, stop_reason: &str, usage: Value) -> Value {
    json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop_reason, "usage": usage})
}

/// A message with one text.
fn output_text(part: Value) -> Value {
    let mut text = json!({"type": "output_text", "text": "a", "annotations": []});
    part.as_object().unwrap().iter().for_each(|(key, value)| text[key] = value.clone());
    json!({"type": "message", "role": "assistant", "content": [text]})
}

/// Every noun of an answer.
pub(crate) fn nouns() -> Vec<AnswerNoun> {
    use Dropped::{By, Everywhere, Nowhere};
    let text = json!({"type": "text", "text": "a"});
    // An answer of each dialect without the noun: a text, its end, and two counts.
    let counts = [
        json!({"prompt_tokens": 11, "completion_tokens": 7}),
        json!({"input_tokens": 11, "output_tokens": 7}),
        json!({"promptTokenCount": 11, "candidatesTokenCount": 7}),
        json!({"input_tokens": 11, "output_tokens": 7}),
        json!({"inputTokens": 11, "outputTokens": 7}),
    ];
    let base = [
        completion(json!({"role": "assistant", "content": "a"}), "stop", counts[0].clone()),
        message(json!([text]), "end_turn", counts[1].clone()),
        content(json!([{"text": "a"}]), "STOP", counts[2].clone()),
        response(json!([output_text(json!({}))]), "completed", counts[3].clone()),
        converse(json!([{"text": "a"}]), "end_turn", counts[4].clone()),
    ];
    let said = |more: Value| {
        let mut message = json!({"role": "assistant", "content": "a"});
        more.as_object().unwrap().iter().for_each(|(key, value)| message[key] = value.clone());
        Some(completion(message, "stop", counts[0].clone()))
    };
    let blocks = |blocks: Value| Some(message(blocks, "end_turn", counts[1].clone()));
    let parts = |parts: Value| Some(content(parts, "STOP", counts[2].clone()));
    let items = |items: Value| Some(response(items, "completed", counts[3].clone()));
    let blocks_of_converse = |blocks: Value| Some(converse(blocks, "end_turn", counts[4].clone()));
    let counted = |index: usize, more: Value| {
        let mut answer = base[index].clone();
        let key = if index == 2 { "usageMetadata" } else { "usage" };
        more.as_object().unwrap().iter().for_each(|(name, value)| answer[key][name] = value.clone());
        Some(answer)
    };
    let with = |index: usize, path: &str, value: Value| {
        let mut answer = base[index].clone();
        let (parent, key) = path.rsplit_once('/').unwrap();
        answer.pointer_mut(parent).unwrap()[key] = value;
        Some(answer)
    };
    let noun = |name, with: [Option<Value>; FORMATS], dropped| {
        let mut base = base.iter().cloned();
        let answers = with.map(|with| base.next().zip(with));
        AnswerNoun { name, answers, dropped }
    };
    let wav = json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}});
    let other_wav = json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRgAA"}});
    let pcm = json!({"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": "AAE="}});
    let signed = |name, answers, dropped| AnswerNoun { name, answers, dropped };
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": ""});
    let called = json!({"functionCall": {"id": "c", "name": "f", "args": {}}});
    let encrypted = json!({"type": "reasoning", "id": "r", "summary": []});
    let function_call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"city\":\"Rome\"}"}});
    let ended = |finish: [&str; 3], incomplete: &str| {
        let mut cut = response(json!([output_text(json!({}))]), "incomplete", counts[3].clone());
        cut["incomplete_details"] = json!({"reason": incomplete});
        [
            Some(completion(json!({"role": "assistant", "content": "a"}), finish[0], counts[0].clone())),
            Some(message(json!([text]), finish[1], counts[1].clone())),
            Some(content(json!([{"text": "a"}]), finish[2], counts[2].clone())),
            Some(cut),
            Some(converse(
                json!([{"text": "a"}]),
                finish[0].replace("length", "max_tokens").replace("content_filter", "content_filtered").as_str(),
                counts[4].clone(),
            )),
        ]
    };
    let page = json!({"url": "https://example.com", "title": "t", "start_index": 0, "end_index": 1});
    let mut flat_page = page.clone();
    flat_page["type"] = "url_citation".into();
    let logprob = json!({"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []});
    vec![
        noun(
            "text",
            [
                said(json!({"content": "b"})),
                blocks(json!([{"type": "text", "text": "b"}])),
                parts(json!([{"text": "b"}])),
                items(json!([output_text(json!({"text": "b"}))])),
                blocks_of_converse(json!([{"text": "b"}])),
            ],
            Nowhere,
        ),
        noun(
            "reasoning",
            [
                said(json!({"reasoning_content": "r"})),
                blocks(json!([{"type": "thinking", "thinking": "r", "signature": ""}, text])),
                parts(json!([{"text": "r", "thought": true}, {"text": "a"}])),
                items(
                    json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "r"}]}, output_text(json!({}))]),
                ),
                blocks_of_converse(
                    json!([{"reasoningContent": {"reasoningText": {"text": "r", "signature": ""}}}, {"text": "a"}]),
                ),
            ],
            Nowhere,
        ),
        noun(
            "calls of tools",
            [
                said(json!({"tool_calls": [call]})),
                blocks(json!([text, {"type": "tool_use", "id": "c", "name": "f", "input": {"city": "Rome"}}])),
                parts(json!([{"text": "a"}, {"functionCall": {"id": "c", "name": "f", "args": {"city": "Rome"}}}])),
                items(json!([output_text(json!({})),
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"city\":\"Rome\"}"}])),
                blocks_of_converse(
                    json!([{"text": "a"}, {"toolUse": {"toolUseId": "c", "name": "f", "input": {"city": "Rome"}}}]),
                ),
            ],
            Nowhere,
        ),
        noun("end at the limit of tokens", ended(["length", "max_tokens", "MAX_TOKENS"], "max_output_tokens"), Nowhere),
        noun("end by a filter", ended(["content_filter", "refusal", "SAFETY"], "content_filter"), Nowhere),
        noun(
            "stop sequence that was met",
            [
                None,
                Some({
                    let mut answer = message(json!([text]), "stop_sequence", counts[1].clone());
                    answer["stop_sequence"] = "END".into();
                    answer
                }),
                None,
                None,
                None,
            ],
            By(&[Surface::ChatCompletions, Surface::Responses, Surface::GenerateContent]),
        ),
        noun(
            "tokens of the prompt",
            [
                counted(0, json!({"prompt_tokens": 12})),
                counted(1, json!({"input_tokens": 12})),
                counted(2, json!({"promptTokenCount": 12})),
                counted(3, json!({"input_tokens": 12})),
                counted(4, json!({"inputTokens": 12})),
            ],
            Nowhere,
        ),
        noun(
            "tokens of the answer",
            [
                counted(0, json!({"completion_tokens": 8})),
                counted(1, json!({"output_tokens": 8})),
                counted(2, json!({"candidatesTokenCount": 8})),
                counted(3, json!({"output_tokens": 8})),
                counted(4, json!({"outputTokens": 8})),
            ],
            Nowhere,
        ),
        noun(
            "tokens read from the cache",
            [
                counted(0, json!({"prompt_tokens_details": {"cached_tokens": 3}})),
                counted(1, json!({"input_tokens": 8, "cache_read_input_tokens": 3})),
                counted(2, json!({"cachedContentTokenCount": 3})),
                counted(3, json!({"input_tokens_details": {"cached_tokens": 3}})),
                counted(4, json!({"inputTokens": 8, "cacheReadInputTokens": 3})),
            ],
            Nowhere,
        ),
        noun(
            "tokens written to the cache",
            [
                None,
                counted(1, json!({"input_tokens": 8, "cache_creation_input_tokens": 3})),
                None,
                None,
                counted(4, json!({"inputTokens": 8, "cacheWriteInputTokens": 3})),
            ],
            By(&[Surface::ChatCompletions, Surface::Responses, Surface::GenerateContent]),
        ),
        noun(
            "tokens of reasoning",
            [
                counted(0, json!({"completion_tokens_details": {"reasoning_tokens": 2}})),
                None,
                counted(2, json!({"candidatesTokenCount": 5, "thoughtsTokenCount": 2})),
                counted(3, json!({"output_tokens_details": {"reasoning_tokens": 2}})),
                None,
            ],
            By(&[Surface::Messages]),
        ),
        noun(
            "log-probabilities",
            [
                with(0, "/choices/0/logprobs", json!({"content": [logprob]})),
                None,
                with(
                    2,
                    "/candidates/0/logprobsResult",
                    json!({"chosenCandidates": [{"token": "a", "logProbability": -0.5}]}),
                ),
                None,
                None,
            ],
            By(&[Surface::Messages, Surface::GenerateContent]),
        ),
        noun(
            "refusal",
            [
                said(json!({"content": null, "refusal": "no"})),
                None,
                None,
                items(
                    json!([{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]),
                ),
                None,
            ],
            Nowhere,
        ),
        noun(
            "citations of pages",
            [
                said(json!({"annotations": [{"type": "url_citation", "url_citation": page}]})),
                blocks(json!([{"type": "text", "text": "a", "citations": [{"type": "web_search_result_location",
                    "url": "https://example.com", "title": "t", "cited_text": "c", "encrypted_index": "e"}]}])),
                with(
                    2,
                    "/candidates/0/groundingMetadata",
                    json!({"groundingChunks": [{"web": {"uri": "https://example.com", "title": "t"}}],
                        "groundingSupports": [{"segment": {"endIndex": 1, "text": "a"}, "groundingChunkIndices": [0]}]}),
                ),
                items(json!([output_text(json!({"annotations": [flat_page]}))])),
                blocks_of_converse(json!([{"citationsContent": {"content": [{"text": "a"}],
                    "citations": [{"title": "t", "location": {"web": {"url": "https://example.com"}}}]}}])),
            ],
            Nowhere,
        ),
        noun(
            "citations of documents",
            [
                None,
                blocks(
                    json!([{"type": "text", "text": "a", "citations": [{"type": "char_location", "cited_text": "c", "document_index": 0, "document_title": "t", "start_char_index": 0, "end_char_index": 1}]}]),
                ),
                with(
                    2,
                    "/candidates/0/groundingMetadata",
                    json!({"groundingChunks": [{"retrievedContext": {"title": "t", "text": "c"}}]}),
                ),
                items(json!([output_text(json!({"annotations": [
                    {"type": "file_citation", "file_id": "f", "filename": "t", "index": 1}]}))])),
                blocks_of_converse(json!([{"citationsContent": {"content": [{"text": "a"}],
                    "citations": [{"title": "t", "location": {"documentChar": {"documentIndex": 0}}}]}}])),
            ],
            Nowhere,
        ),
        noun(
            "queries of a search",
            [None, None, with(2, "/candidates/0/groundingMetadata", json!({"webSearchQueries": ["q"]})), None, None],
            Nowhere,
        ),
        noun(
            "images",
            [
                said(json!({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR"}}]})),
                None,
                parts(json!([{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}])),
                items(
                    json!([output_text(json!({})), {"type": "image_generation_call", "status": "completed", "result": "iVBOR"}]),
                ),
                blocks_of_converse(json!([{"text": "a"}, {"image": {"format": "png", "source": {"bytes": "iVBOR"}}}])),
            ],
            Nowhere,
        ),
        noun(
            "audio",
            [
                said(json!({"audio": {"id": "a", "data": "UklGRg==", "transcript": "t"}})),
                None,
                parts(json!([{"text": "a"}, {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}])),
                None,
                None,
            ],
            Nowhere,
        ),
        signed(
            "further pieces of audio",
            [
                None,
                None,
                parts(json!([{"text": "a"}, wav])).zip(parts(json!([{"text": "a"}, wav, other_wav]))),
                None,
                None,
            ],
            Nowhere,
        ),
        signed(
            "further samples of audio",
            [None, None, parts(json!([{"text": "a"}, pcm])).zip(parts(json!([{"text": "a"}, pcm, pcm]))), None, None],
            Nowhere,
        ),
        noun(
            "uses of tools that the service runs",
            [
                None,
                blocks(json!([
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}, text])),
                parts(json!([{"text": "a"}, {"executableCode": {"language": "PYTHON", "code": "1"}}])),
                items(json!([{"type": "web_search_call", "id": "w", "status": "completed"}, output_text(json!({}))])),
                None,
            ],
            Nowhere,
        ),
        signed(
            "signature of thinking",
            [
                None,
                blocks(json!([thought, text])).zip(blocks(json!([merged(&thought, &json!({"signature": "s"})), text]))),
                None,
                None,
                blocks_of_converse(json!([{"reasoningContent": {"reasoningText": {"text": "hm"}}}, {"text": "a"}])).zip(
                    blocks_of_converse(
                        json!([{"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}, {"text": "a"}]),
                    ),
                ),
            ],
            By(&[Surface::Responses, Surface::GenerateContent]),
        ),
        signed(
            "encrypted reasoning before a call",
            [
                None,
                None,
                parts(json!([called])).zip(parts(json!([merged(&called, &json!({"thoughtSignature": "s"}))]))),
                items(json!([encrypted, function_call]))
                    .zip(items(json!([merged(&encrypted, &json!({"encrypted_content": "s"})), function_call]))),
                None,
            ],
            By(&[Surface::Responses, Surface::Messages, Surface::GenerateContent]),
        ),
        noun(
            "redacted reasoning",
            [
                None,
                blocks(json!([{"type": "redacted_thinking", "data": "d"}, text])),
                None,
                None,
                blocks_of_converse(json!([{"reasoningContent": {"redactedContent": "d"}}, {"text": "a"}])),
            ],
            Nowhere,
        ),
        noun(
            "service tier",
            [
                with(0, "/service_tier", json!("flex")),
                counted(1, json!({"service_tier": "batch"})),
                None,
                with(3, "/service_tier", json!("flex")),
                None,
            ],
            Everywhere,
        ),
        noun(
            "safety ratings",
            [
                None,
                None,
                with(2, "/candidates/0/safetyRatings", json!([{"category": "c", "probability": "LOW"}])),
                None,
                None,
            ],
            Everywhere,
        ),
    ]
}
