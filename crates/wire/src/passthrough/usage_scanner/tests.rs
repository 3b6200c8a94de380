use super::*;
use proptest::prelude::*;

const STREAM: &str = ": keep-alive\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{}\"},\"finish_reason\":null}]}\r\n\r\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":null}]}\n\n\
    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn scan(text: &str, hide_usage: bool, cut: usize) -> (ResponseStats, String) {
    let mut scanner = SseScanner::new(ApiEndpoint::ChatCompletions, hide_usage);
    let mut out = Vec::new();
    for bytes in text.as_bytes().chunks(cut.max(1)) {
        out.extend(scanner.feed(bytes).unwrap_or_else(|| bytes.to_vec()));
    }
    out.extend(scanner.finish());
    (scanner.stats, String::from_utf8(out).unwrap())
}

fn expected_stats() -> ResponseStats {
    let usage = Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 2, ..Usage::default() };
    // Two content events, and the finish event, which has an empty delta.
    ResponseStats {
        usage: Some(usage),
        finish_reason: Some(FinishReason::Length),
        content_events: 3,
        error_message: None,
        is_complete: true,
    }
}

proptest! {
    #[test]
    fn all_is_seen_however_the_bytes_are_cut(cut in 1usize..80) {
        let text = [STREAM, USAGE, DONE].concat();
        prop_assert_eq!(scan(&text, false, cut), (expected_stats(), text.clone()));
        prop_assert_eq!(scan(&text, true, cut), (expected_stats(), [STREAM, DONE].concat()));
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
        out.extend(scanner.finish());
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
    let (stats, out) = scan(text, true, 1000);
    assert!(stats.usage.is_some() && out == text);
}

#[test]
fn a_failure_is_seen() {
    let (stats, _) = scan("data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n", false, 1000);
    assert_eq!(stats.error_message.as_deref(), Some("out of memory"));
}

#[test]
fn a_whole_answer_is_seen() {
    let body = br#"{"choices":[{"message":{"content":"\"finish_reason\":\"stop\""},"finish_reason": "tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    let stats = scan_body(ApiEndpoint::ChatCompletions, body);
    assert_eq!((stats.finish_reason, stats.usage.unwrap().prompt_tokens), (Some(FinishReason::ToolCalls), 3));
    assert_eq!(scan_body(ApiEndpoint::ChatCompletions, b"nonsense").usage, None);
}

#[test]
fn anthropics_events_are_seen_too() {
    let text = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n\
        event: ping\ndata: {\"type\":\"ping\"}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":7}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let mut scanner = SseScanner::new(ApiEndpoint::Messages, false);
    assert!(scanner.feed(text.as_bytes()).is_none());
    let usage = Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 7, ..Usage::default() };
    let finish = Some(FinishReason::ToolCalls);
    assert_eq!(
        scanner.stats,
        ResponseStats {
            usage: Some(usage),
            finish_reason: finish,
            content_events: 1,
            error_message: None,
            is_complete: true
        }
    );
    let mut scanner = SseScanner::new(ApiEndpoint::Messages, false);
    scanner
        .feed(b"data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n");
    assert_eq!(scanner.stats.error_message.as_deref(), Some("Overloaded"));
    let body = br#"{"content":[],"stop_reason":"max_tokens","usage":{"input_tokens":3,"output_tokens":1}}"#;
    let stats = scan_body(ApiEndpoint::Messages, body);
    assert_eq!((stats.finish_reason, stats.usage.unwrap().prompt_tokens), (Some(FinishReason::Length), 3));
}

#[test]
fn geminis_events_are_seen_too() {
    let text = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"usageMetadata\":{\"promptTokenCount\":9}}\r\n\r\n\
        data: {\"candidates\":[{\"finishReason\":\"MAX_TOKENS\"}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":2,\"thoughtsTokenCount\":3}}\r\n\r\n";
    let mut scanner = SseScanner::new(ApiEndpoint::GenerateContent, false);
    assert!(scanner.feed(text.as_bytes()).is_none() && !scanner.stats.is_complete);
    assert!(scanner.finish().is_empty());
    let usage = Usage { prompt_tokens: 9, completion_tokens: 5, reasoning_tokens: Some(3), ..Usage::default() };
    let finish = Some(FinishReason::Length);
    let stats = ResponseStats {
        usage: Some(usage),
        finish_reason: finish,
        content_events: 2,
        error_message: None,
        is_complete: true,
    };
    assert_eq!(scanner.stats, stats);
    let last = text.rsplit("data: ").next().unwrap().trim_end();
    assert_eq!(scan_body(ApiEndpoint::GenerateContent, last.as_bytes()), ResponseStats { content_events: 1, ..stats });

    let mut cut = SseScanner::new(ApiEndpoint::GenerateContent, false);
    cut.feed(text.split_inclusive("\r\n\r\n").next().unwrap().as_bytes());
    cut.finish();
    assert!(!cut.stats.is_complete && cut.stats.finish_reason.is_none());
    let mut absent = SseScanner::new(ApiEndpoint::GenerateContent, false);
    absent.feed(b"data: {\"candidates\":null,\"usageMetadata\":{\"promptTokenCount\":9}}\n\n");
    assert_eq!((absent.stats.usage.unwrap().prompt_tokens, absent.stats.content_events), (9, 0));
    let mut failed = SseScanner::new(ApiEndpoint::GenerateContent, false);
    failed.feed(b"data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded\"}}\n\n");
    assert_eq!(failed.stats.error_message.as_deref(), Some("The model is overloaded"));
}

#[test]
fn embeddings_have_usage_and_no_reason() {
    let stats = scan_body(ApiEndpoint::Embeddings, br#"{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#);
    assert_eq!((stats.finish_reason, stats.usage.unwrap().prompt_tokens), (Some(FinishReason::Stop), 8));
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
