use chat::FinishReason;
use proptest::prelude::*;

use super::*;
use crate::provider_limits::MAX_LINE_BYTES;

const STREAM: &str = ": keep-alive\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{}\"},\"finish_reason\":null}]}\r\n\r\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":null}]}\n\n\
    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn scan(text: &str, hide_usage: bool, cut: usize) -> (AnswerProgress, String) {
    let mut scanner = SseScanner::new(ApiEndpoint::ChatCompletions, hide_usage);
    let mut out = Vec::new();
    for bytes in text.as_bytes().chunks(cut.max(1)) {
        out.extend(scanner.feed(bytes).unwrap_or_else(|| bytes.to_vec()));
    }
    out.extend(scanner.finish().0);
    (scanner.progress().clone(), String::from_utf8(out).unwrap())
}

/// Usage, finish reason, pieces, and whether the answer is complete.
type Facts = (Option<Usage>, Option<FinishReason>, u64, bool);

fn facts(progress: &AnswerProgress) -> Facts {
    assert_eq!(progress.failure, None);
    (progress.usage, progress.finish_reason, progress.pieces, progress.is_complete)
}

fn expected_facts() -> Facts {
    let usage = Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 2, ..Usage::default() };
    // The first event has only the role, the last one an empty delta.
    (Some(usage), Some(FinishReason::Length), 2, true)
}

proptest! {
    #[test]
    fn all_is_seen_however_the_bytes_are_cut(cut in 1usize..80) {
        let text = [STREAM, USAGE, DONE].concat();
        let (progress, out) = scan(&text, false, cut);
        prop_assert_eq!((facts(&progress), out), (expected_facts(), text.clone()));
        let (progress, out) = scan(&text, true, cut);
        prop_assert_eq!((facts(&progress), out), (expected_facts(), [STREAM, DONE].concat()));
    }

    #[test]
    fn any_bytes_pass(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1usize..20) {
        let mut scanner = SseScanner::default();
        for bytes in bytes.chunks(cut) {
            prop_assert!(scanner.feed(bytes).is_none());
        }
        let mut scanner = SseScanner::new(ApiEndpoint::ChatCompletions, true);
        let mut out = Vec::new();
        for bytes in bytes.chunks(cut) {
            out.extend(scanner.feed(bytes).unwrap());
        }
        out.extend(scanner.finish().0);
        prop_assert_eq!(out, bytes);
    }
}

#[test]
fn a_last_event_without_its_empty_line_counts() {
    let cut = USAGE.trim_end();
    assert_eq!(scan(cut, true, 1000).1, "");
    assert!(scan(cut, false, 7).0.usage.is_some());
}

#[test]
fn usage_beside_choices_is_not_hidden() {
    let text = "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
    let (progress, out) = scan(text, true, 1000);
    assert!(progress.usage.is_some() && out == text);
}

#[test]
fn content_is_what_a_delta_has_beside_its_role() {
    let count = |delta: &str| scan(&format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n"), false, 1000).0.pieces;
    for delta in [
        r#"{"role":"assistant","content":"word "}"#,
        r#"{"role": "", "content": [{"type": "text", "text": "a"}]}"#,
        r#"{"role":"assistant","content":"","reasoning_content":"hm"}"#,
        r#"{"reasoning":"hm"}"#,
        r#"{"role":"assistant","content":null,"tool_calls":[{"index":0,"function":{"arguments":""}}]}"#,
    ] {
        assert_eq!(count(delta), 1, "{delta}");
    }
    for delta in
        [r#"{"role":"assistant","content":""}"#, r#"{"role":"assistant"}"#, r#"{"content":null}"#, "{}", "null"]
    {
        assert_eq!(count(delta), 0, "{delta}");
    }
    let words = "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"role\\\":\"}}]}\n\n";
    assert_eq!(scan(words, false, 1000).0.pieces, 1);
}

#[test]
fn events_of_other_apis_are_read_too() {
    let text = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n\
        event: ping\ndata: {\"type\":\"ping\"}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":7}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let mut scanner = SseScanner::new(ApiEndpoint::Messages, false);
    assert!(scanner.feed(text.as_bytes()).is_none());
    let usage = Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 7, ..Usage::default() };
    assert_eq!(facts(scanner.progress()), (Some(usage), Some(FinishReason::ToolCalls), 1, true));

    let text = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"usageMetadata\":{\"promptTokenCount\":9}}\r\n\r\n\
        data: {\"candidates\":[{\"finishReason\":\"MAX_TOKENS\"}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":2,\"thoughtsTokenCount\":3}}";
    let mut scanner = SseScanner::new(ApiEndpoint::GenerateContent, false);
    assert!(scanner.feed(text.as_bytes()).is_none() && !scanner.progress().has_ended());
    assert_eq!(scanner.finish(), (vec![], Ok(())), "the last event has no empty line");
    let usage = Usage { prompt_tokens: 9, completion_tokens: 5, reasoning_tokens: Some(3), ..Usage::default() };
    assert_eq!(facts(scanner.progress()), (Some(usage), Some(FinishReason::Length), 1, true));
}

#[test]
fn a_reranking_may_have_only_a_total() {
    for (usage, prompt_tokens, completion_tokens) in [
        (r#"{"total_tokens":9}"#, 9, 0),
        (r#"{"input_tokens":4,"total_tokens":9}"#, 4, 0),
        (r#"{"output_tokens":5,"total_tokens":9}"#, 0, 5),
        (r#"{"search_units":1}"#, 0, 0),
    ] {
        let body = format!(r#"{{"results":[],"usage":{usage}}}"#);
        let counted = scan_body(ApiEndpoint::Rerank, body.as_bytes()).usage.unwrap();
        assert_eq!((counted.prompt_tokens, counted.completion_tokens), (prompt_tokens, completion_tokens), "{usage}");
    }
}

#[test]
fn embeddings_have_usage_and_no_reason() {
    let progress = scan_body(ApiEndpoint::Embeddings, br#"{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#);
    assert_eq!((progress.finish_reason, progress.usage.unwrap().prompt_tokens), (Some(FinishReason::Stop), 8));
}

/// The limit that `piece` exceeds when it is repeated, and the most bytes held until then.
fn feed_until_exceeded(endpoint: ApiEndpoint, hide_usage: bool, piece: &str) -> (Option<ProviderLimitExceeded>, usize) {
    let mut scanner = SseScanner::new(endpoint, hide_usage);
    let mut most_held = 0;
    let bytes = piece.repeat((64 << 10) / piece.len());
    for _ in 0..1000 {
        scanner.feed(bytes.as_bytes());
        if scanner.exceeded.is_some() {
            break;
        }
        most_held = most_held.max(scanner.buffered_bytes());
    }
    (scanner.exceeded, most_held)
}

#[test]
fn nothing_is_held_for_ever() {
    for (endpoint, hides) in [(ApiEndpoint::ChatCompletions, true), (ApiEndpoint::GenerateContent, false)] {
        for hide_usage in [false, hides] {
            for (piece, exceeded) in [
                ("x", ProviderLimitExceeded::Line),
                (
                    "data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
                    ProviderLimitExceeded::Event,
                ),
                (": c\n\n", ProviderLimitExceeded::Idle),
                ("\n", ProviderLimitExceeded::Idle),
                ("event: x\n\n", ProviderLimitExceeded::Idle),
            ] {
                let (found, held) = feed_until_exceeded(endpoint, hide_usage, piece);
                assert_eq!(found, Some(exceeded), "{endpoint:?} {piece:?}");
                assert!(held <= MAX_EVENT_BYTES + MAX_LINE_BYTES, "{held}");
            }
        }
    }
    // Content events are not limited, because they are not held.
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    assert_eq!(feed_until_exceeded(ApiEndpoint::ChatCompletions, true, word), (None, 0));
    let nothing = "data: {}\n\n";
    assert_eq!(
        feed_until_exceeded(ApiEndpoint::ChatCompletions, false, nothing).0,
        Some(ProviderLimitExceeded::EmptyEvents)
    );
    assert_eq!(feed_until_exceeded(ApiEndpoint::Speech, false, "x"), (None, 0));
}

#[test]
fn an_answer_of_many_fields_or_candidates_takes_no_memory() {
    let fields: Vec<String> = (0..200_000).map(|n| format!("\"k{n}\":0")).collect();
    let body = format!("{{{},\"usage\":{{\"prompt_tokens\":3}}}}", fields.join(","));
    assert_eq!(scan_body(ApiEndpoint::ChatCompletions, body.as_bytes()).usage.unwrap().prompt_tokens, 3);
    let body = format!("{{\"candidates\":[{}{{\"finishReason\":\"STOP\"}}]}}", "{},".repeat(200_000));
    assert_eq!(scan_body(ApiEndpoint::GenerateContent, body.as_bytes()).finish_reason, Some(FinishReason::Stop));
}
