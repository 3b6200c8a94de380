use super::*;
use proptest::prelude::*;

const STREAM: &str = ": keep-alive\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{}\"},\"finish_reason\":null}]}\r\n\r\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":null}]}\n\n\
    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn pass(text: &str, hide_usage: bool, cut: usize) -> (Seen, String) {
    let (mut events, mut out) = (Events::new(Passage::ChatCompletions, hide_usage), Vec::new());
    for bytes in text.as_bytes().chunks(cut.max(1)) {
        out.extend(events.pass(bytes).unwrap_or_else(|| bytes.to_vec()));
    }
    out.extend(events.rest());
    (events.seen, String::from_utf8(out).unwrap())
}

fn seen() -> Seen {
    let usage = Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 2, ..Usage::default() };
    // Two words, and the end that brings none but looks like one.
    Seen { usage: Some(usage), finish: Some(FinishReason::Length), pieces: 3, failure: None, done: true }
}

proptest! {
    #[test]
    fn all_is_seen_however_the_bytes_are_cut(cut in 1usize..80) {
        let text = [STREAM, USAGE, DONE].concat();
        prop_assert_eq!(pass(&text, false, cut), (seen(), text.clone()));
        prop_assert_eq!(pass(&text, true, cut), (seen(), [STREAM, DONE].concat()));
    }

    #[test]
    fn any_bytes_pass(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1usize..20) {
        let mut events = Events::default();
        for bytes in bytes.chunks(cut) {
            prop_assert!(events.pass(bytes).is_none());
        }
        let (mut events, mut out) = (Events::new(Passage::ChatCompletions, true), Vec::new());
        for bytes in bytes.chunks(cut) {
            out.extend(events.pass(bytes).unwrap());
        }
        out.extend(events.rest());
        prop_assert_eq!(out, bytes);
    }
}

#[test]
fn a_last_event_without_its_empty_line_counts() {
    let cut = USAGE.trim_end();
    assert_eq!(pass(cut, true, 1000).1, "");
    assert!(pass(cut, false, 7).0.usage.is_some());
}

#[test]
fn usage_beside_choices_is_not_hidden() {
    let text = "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
    let (seen, out) = pass(text, true, 1000);
    assert!(seen.usage.is_some() && out == text);
}

#[test]
fn a_failure_is_seen() {
    let (seen, _) = pass("data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n", false, 1000);
    assert_eq!(seen.failure.as_deref(), Some("out of memory"));
}

#[test]
fn a_whole_answer_is_seen() {
    let body = br#"{"choices":[{"message":{"content":"\"finish_reason\":\"stop\""},"finish_reason": "tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    let seen = whole(Passage::ChatCompletions, body);
    assert_eq!((seen.finish, seen.usage.unwrap().prompt_tokens), (Some(FinishReason::ToolCalls), 3));
    assert_eq!(whole(Passage::ChatCompletions, b"nonsense").usage, None);
}

#[test]
fn anthropics_events_are_seen_too() {
    let text = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n\
        event: ping\ndata: {\"type\":\"ping\"}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":7}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let mut events = Events::new(Passage::Messages, false);
    assert!(events.pass(text.as_bytes()).is_none());
    let usage = Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 7, ..Usage::default() };
    let finish = Some(FinishReason::ToolCalls);
    assert_eq!(events.seen, Seen { usage: Some(usage), finish, pieces: 1, failure: None, done: true });
    let mut events = Events::new(Passage::Messages, false);
    events.pass(b"data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n");
    assert_eq!(events.seen.failure.as_deref(), Some("Overloaded"));
    let body = br#"{"content":[],"stop_reason":"max_tokens","usage":{"input_tokens":3,"output_tokens":1}}"#;
    let seen = whole(Passage::Messages, body);
    assert_eq!((seen.finish, seen.usage.unwrap().prompt_tokens), (Some(FinishReason::Length), 3));
}

#[test]
fn geminis_events_are_seen_too() {
    let text = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"usageMetadata\":{\"promptTokenCount\":9}}\r\n\r\n\
        data: {\"candidates\":[{\"finishReason\":\"MAX_TOKENS\"}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":2,\"thoughtsTokenCount\":3}}\r\n\r\n";
    let mut events = Events::new(Passage::GenerateContent, false);
    assert!(events.pass(text.as_bytes()).is_none() && !events.seen.done);
    assert!(events.rest().is_empty());
    let usage = Usage { prompt_tokens: 9, completion_tokens: 5, reasoning_tokens: Some(3), ..Usage::default() };
    let finish = Some(FinishReason::Length);
    let seen = Seen { usage: Some(usage), finish, pieces: 2, failure: None, done: true };
    assert_eq!(events.seen, seen);
    let last = text.rsplit("data: ").next().unwrap().trim_end();
    assert_eq!(whole(Passage::GenerateContent, last.as_bytes()), Seen { pieces: 1, ..seen });

    let mut cut = Events::new(Passage::GenerateContent, false);
    cut.pass(text.split_inclusive("\r\n\r\n").next().unwrap().as_bytes());
    cut.rest();
    assert!(!cut.seen.done && cut.seen.finish.is_none());
    let mut failed = Events::new(Passage::GenerateContent, false);
    failed.pass(b"data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded\"}}\n\n");
    assert_eq!(failed.seen.failure.as_deref(), Some("The model is overloaded"));
}

#[test]
fn embeddings_have_usage_and_no_reason() {
    let seen = whole(Passage::Embeddings, br#"{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#);
    assert_eq!((seen.finish, seen.usage.unwrap().prompt_tokens), (Some(FinishReason::Stop), 8));
}

/// The bound that `piece` exceeds when it is repeated without end, and the most bytes held until then.
fn endless(passage: Passage, hide_usage: bool, piece: &str) -> (Option<Exceeded>, usize) {
    let (mut events, mut most) = (Events::new(passage, hide_usage), 0);
    let bytes = piece.repeat((64 << 10) / piece.len());
    for _ in 0..1000 {
        events.pass(bytes.as_bytes());
        if events.exceeded.is_some() {
            break;
        }
        most = most.max(events.held());
    }
    (events.exceeded, most)
}

#[test]
fn nothing_is_held_for_ever() {
    for (passage, hides) in [(Passage::ChatCompletions, true), (Passage::GenerateContent, false)] {
        for hide_usage in [false, hides] {
            for (piece, exceeded) in [
                ("x", Exceeded::Line),
                ("data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", Exceeded::Event),
                (": c\n\n", Exceeded::Idle),
                ("\n", Exceeded::Idle),
                ("event: x\n\n", Exceeded::Idle),
            ] {
                let (found, held) = endless(passage, hide_usage, piece);
                assert_eq!(found, Some(exceeded), "{passage:?} {piece:?}");
                assert!(held <= EVENT_BYTES + LINE_BYTES, "{held}");
            }
        }
    }
    // What brings something of the answer may go on for ever, for it is not held.
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    assert_eq!(endless(Passage::ChatCompletions, true, word), (None, 0));
    let nothing = "data: {}\n\n";
    assert_eq!(endless(Passage::ChatCompletions, false, nothing).0, Some(Exceeded::Empty));
    assert_eq!(endless(Passage::Speech, false, "x"), (None, 0));
}

#[test]
fn an_answer_of_many_fields_or_candidates_takes_no_memory() {
    let fields: Vec<String> = (0..200_000).map(|n| format!("\"k{n}\":0")).collect();
    let body = format!("{{{},\"usage\":{{\"prompt_tokens\":3}}}}", fields.join(","));
    assert_eq!(whole(Passage::ChatCompletions, body.as_bytes()).usage.unwrap().prompt_tokens, 3);
    let body = format!("{{\"candidates\":[{}{{\"finishReason\":\"STOP\"}}]}}", "{},".repeat(200_000));
    assert_eq!(whole(Passage::GenerateContent, body.as_bytes()).finish, Some(FinishReason::Stop));
}
