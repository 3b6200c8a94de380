//! The nouns of answers, in each dialect that has them.

use serde_json::{Value, json};
use wire::upstream::Dialect;

use crate::surface::Surface;

/// A part of an answer.
pub(crate) struct AnswerNoun {
    pub(crate) name: &'static str,
    /// The answers without it and with it, in chat completions, messages, and Gemini's format.
    chat_completions: Option<(Value, Value)>,
    messages: Option<(Value, Value)>,
    generate_content: Option<(Value, Value)>,
    /// The APIs that do not return it.
    dropped: Dropped,
}

/// Where a part of an answer is not returned.
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
            (Dialect::DeepSeek, &self.chat_completions),
            (Dialect::OpenAi, &self.chat_completions),
            (Dialect::Anthropic, &self.messages),
            (Dialect::Gemini, &self.generate_content),
        ];
        all.into_iter().filter_map(|(dialect, answers)| Some((dialect, answers.clone()?)))
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

/// Every noun of an answer.
pub(crate) fn nouns() -> Vec<AnswerNoun> {
    use Dropped::{By, Everywhere, Nowhere};
    let text = json!({"type": "text", "text": "a"});
    // An answer of each dialect without the noun: a text, its end, and two counts.
    let counts = [
        json!({"prompt_tokens": 11, "completion_tokens": 7}),
        json!({"input_tokens": 11, "output_tokens": 7}),
        json!({"promptTokenCount": 11, "candidatesTokenCount": 7}),
    ];
    let base = [
        completion(json!({"role": "assistant", "content": "a"}), "stop", counts[0].clone()),
        message(json!([text]), "end_turn", counts[1].clone()),
        content(json!([{"text": "a"}]), "STOP", counts[2].clone()),
    ];
    let said = |more: Value| {
        let mut message = json!({"role": "assistant", "content": "a"});
        more.as_object().unwrap().iter().for_each(|(key, value)| message[key] = value.clone());
        Some(completion(message, "stop", counts[0].clone()))
    };
    let blocks = |blocks: Value| Some(message(blocks, "end_turn", counts[1].clone()));
    let parts = |parts: Value| Some(content(parts, "STOP", counts[2].clone()));
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
    let noun = |name, with: [Option<Value>; 3], dropped| {
        let [chat_completions, messages, generate_content] = with;
        let pair = |index: usize, with: Option<Value>| with.map(|with| (base[index].clone(), with));
        AnswerNoun {
            name,
            chat_completions: pair(0, chat_completions),
            messages: pair(1, messages),
            generate_content: pair(2, generate_content),
            dropped,
        }
    };
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"city\":\"Rome\"}"}});
    let ended = |finish: [&str; 3]| {
        [
            Some(completion(json!({"role": "assistant", "content": "a"}), finish[0], counts[0].clone())),
            Some(message(json!([text]), finish[1], counts[1].clone())),
            Some(content(json!([{"text": "a"}]), finish[2], counts[2].clone())),
        ]
    };
    let logprob = json!({"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []});
    vec![
        noun(
            "text",
            [
                said(json!({"content": "b"})),
                blocks(json!([{"type": "text", "text": "b"}])),
                parts(json!([{"text": "b"}])),
            ],
            Nowhere,
        ),
        noun(
            "reasoning",
            [
                said(json!({"reasoning_content": "r"})),
                blocks(json!([{"type": "thinking", "thinking": "r", "signature": ""}, text])),
                parts(json!([{"text": "r", "thought": true}, {"text": "a"}])),
            ],
            Nowhere,
        ),
        noun(
            "calls of tools",
            [
                said(json!({"tool_calls": [call]})),
                blocks(json!([text, {"type": "tool_use", "id": "c", "name": "f", "input": {"city": "Rome"}}])),
                parts(json!([{"text": "a"}, {"functionCall": {"id": "c", "name": "f", "args": {"city": "Rome"}}}])),
            ],
            Nowhere,
        ),
        noun("end at the limit of tokens", ended(["length", "max_tokens", "MAX_TOKENS"]), Nowhere),
        noun("end by a filter", ended(["content_filter", "refusal", "SAFETY"]), Nowhere),
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
            ],
            By(&[Surface::ChatCompletions, Surface::Responses, Surface::GenerateContent]),
        ),
        noun(
            "tokens of the prompt",
            [
                counted(0, json!({"prompt_tokens": 12})),
                counted(1, json!({"input_tokens": 12})),
                counted(2, json!({"promptTokenCount": 12})),
            ],
            Nowhere,
        ),
        noun(
            "tokens of the answer",
            [
                counted(0, json!({"completion_tokens": 8})),
                counted(1, json!({"output_tokens": 8})),
                counted(2, json!({"candidatesTokenCount": 8})),
            ],
            Nowhere,
        ),
        noun(
            "tokens read from the cache",
            [
                counted(0, json!({"prompt_tokens_details": {"cached_tokens": 3}})),
                counted(1, json!({"input_tokens": 8, "cache_read_input_tokens": 3})),
                counted(2, json!({"cachedContentTokenCount": 3})),
            ],
            Nowhere,
        ),
        noun(
            "tokens written to the cache",
            [None, counted(1, json!({"input_tokens": 8, "cache_creation_input_tokens": 3})), None],
            By(&[Surface::ChatCompletions, Surface::Responses, Surface::GenerateContent]),
        ),
        noun(
            "tokens of reasoning",
            [
                counted(0, json!({"completion_tokens_details": {"reasoning_tokens": 2}})),
                None,
                counted(2, json!({"candidatesTokenCount": 5, "thoughtsTokenCount": 2})),
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
            ],
            By(&[Surface::Messages, Surface::GenerateContent]),
        ),
        noun("refusal", [said(json!({"content": null, "refusal": "no"})), None, None], Nowhere),
        noun(
            "citations",
            [
                said(
                    json!({"annotations": [{"type": "url_citation", "url_citation": {"url": "https://example.com", "title": "t", "start_index": 0, "end_index": 1}}]}),
                ),
                blocks(
                    json!([{"type": "text", "text": "a", "citations": [{"type": "char_location", "cited_text": "c", "document_index": 0, "start_char_index": 0, "end_char_index": 1}]}]),
                ),
                with(2, "/candidates/0/groundingMetadata", json!({"webSearchQueries": ["q"]})),
            ],
            Everywhere,
        ),
        noun(
            "images",
            [
                said(json!({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR"}}]})),
                None,
                parts(json!([{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}])),
            ],
            Everywhere,
        ),
        noun(
            "audio",
            [
                said(json!({"audio": {"id": "a", "data": "UklGRg==", "transcript": "t"}})),
                None,
                parts(json!([{"text": "a"}, {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}])),
            ],
            Everywhere,
        ),
        noun(
            "uses of tools that the service runs",
            [
                None,
                blocks(json!([
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}, text])),
                parts(json!([{"text": "a"}, {"executableCode": {"language": "PYTHON", "code": "1"}}])),
            ],
            Everywhere,
        ),
        noun(
            "redacted reasoning",
            [None, blocks(json!([{"type": "redacted_thinking", "data": "d"}, text])), None],
            Everywhere,
        ),
        noun(
            "service tier",
            [with(0, "/service_tier", json!("flex")), counted(1, json!({"service_tier": "batch"})), None],
            Everywhere,
        ),
        noun(
            "safety ratings",
            [None, None, with(2, "/candidates/0/safetyRatings", json!([{"category": "c", "probability": "LOW"}]))],
            Everywhere,
        ),
    ]
}
