//! Any JSON is what a provider says of tokens: every reader of its dialect finds the same counts,
//! which are those that are written, or are marked as none; what is marked is not plausible.
#![no_main]

extern crate self as store;

use chat::{Chat, Delta, Usage};
use fuzzing::bounded;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use wire::passthrough::ApiEndpoint;
use wire::passthrough::usage_scanner::{self, Events};
use wire::upstream::Dialect;

#[expect(dead_code, reason = "a part of it is checked")]
#[path = "../../crates/gateway/src/plausibility.rs"]
mod plausibility;

// As the store has them: it is too much to instrument.
pub const MOST_COST: i64 = 1_000_000_000_000_000;
pub const MOST_TOKENS: i64 = 1 << 32;

const CHAT: &str = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}],"usage":USAGE}"#;
const START: &str = r#"{"type":"message_start","message":{"usage":USAGE}}"#;
const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":USAGE}"#;
const MESSAGE: &str = r#"{"type":"message","content":[],"stop_reason":"end_turn","usage":USAGE}"#;
const CONTENT: &str =
    r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}],"usageMetadata":USAGE}"#;
const IMAGE: &str = r#"{"type":"image_generation.completed","usage":USAGE}"#;

fuzz_target!(|input: &[u8]| bounded(input.len(), || check(input)));

fn check(input: &[u8]) {
    // Lines end events; in JSON they are white space.
    let text = String::from_utf8_lossy(input).replace(['\n', '\r'], " ");
    let is_json = serde_json::from_str::<&RawValue>(&text).is_ok();
    // Events are told apart by words that stand in them.
    let is_odd = text.contains("\"usage\"") || text.contains("\"content_block_delta\"");
    let written = Written::of(&text);
    for (endpoint, dialect, whole, events) in [
        (ApiEndpoint::ChatCompletions, Some(Dialect::OpenAi), CHAT, &[CHAT][..]),
        (ApiEndpoint::Embeddings, None, CHAT, &[]),
        (ApiEndpoint::Messages, Some(Dialect::Anthropic), MESSAGE, &[START, END]),
        (ApiEndpoint::Messages, Some(Dialect::Anthropic), MESSAGE, &[START]),
        (ApiEndpoint::Messages, Some(Dialect::Anthropic), MESSAGE, &[END]),
        (ApiEndpoint::GenerateContent, Some(Dialect::Gemini), CONTENT, &[CONTENT]),
        (ApiEndpoint::ImageGenerations, None, IMAGE, &[IMAGE]),
        (ApiEndpoint::Transcriptions, None, IMAGE, &[IMAGE]),
    ] {
        let whole = usage_scanner::scan_body(endpoint, whole.replace("USAGE", &text).as_bytes()).usage;
        let events: Vec<_> = events.iter().map(|event| event.replace("USAGE", &text)).collect();
        let passed = (!events.is_empty()).then(|| passed(endpoint, &events));
        let read = dialect.filter(|_| !events.is_empty()).map(|dialect| read(dialect, &events));
        if is_json && !is_odd {
            assert!(passed.is_none_or(|passed| passed == whole), "{endpoint:?}: {passed:?} {whole:?}");
            // Readers give zeros where nothing was counted.
            let counted = whole.unwrap_or_default();
            assert!(read.is_none_or(|read| read == Some(counted)), "{endpoint:?}: {read:?} {counted:?}");
        }
        for usage in [whole, passed.flatten(), read.flatten()].into_iter().flatten() {
            plausible_or_not(usage);
            if is_json
                && !is_odd
                && let Some(written) = &written
            {
                written.check(endpoint, usage);
            }
        }
    }
}

/// The usage that is found in events that pass.
fn passed(endpoint: ApiEndpoint, events: &[String]) -> Option<Usage> {
    let mut scanner = SseScanner::new(endpoint, false);
    for event in events {
        scanner.feed(format!("data: {event}\n\n").as_bytes());
    }
    scanner.finish();
    scanner.stats.usage
}

/// The usage in events that become deltas; `None` where they cannot be read.
fn read(dialect: Dialect, events: &[String]) -> Option<Usage> {
    let (mut reader, mut deltas) = (dialect.event_reader(&Chat::default()), Vec::new());
    for event in events {
        reader.read_event(event, &mut deltas).ok()?;
    }
    if dialect == Dialect::Anthropic {
        let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
        reader.read_event(end, &mut deltas).ok()?;
        reader.read_event(r#"{"type":"message_stop"}"#, &mut deltas).ok()?;
    }
    reader.finish(&mut deltas).ok()?;
    let usage = deltas.iter().rev().find_map(|delta| match delta {
        Delta::Usage(usage) => Some(*usage),
        _ => None,
    });
    Some(usage.unwrap_or_default())
}

fn counts(usage: &Usage) -> [u64; 5] {
    let reasoning = usage.reasoning_tokens.unwrap_or(0);
    [usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.completion_tokens, reasoning]
}

/// Counts beyond what any answer has are told by name; the others are, once their parts are within
/// them, what is booked.
fn plausible_or_not(usage: Usage) {
    let most = plausibility::MOST_TOKENS;
    let fault = plausibility::Bounds::new(None, None, 1).fault(&usage);
    assert_eq!(fault.is_some(), counts(&usage).iter().any(|count| *count > most), "{usage:?}");
    assert!(fault.is_none_or(|(name, count)| !name.is_empty() && count > most));
    let booked = plausibility::contained(usage);
    assert!(
        booked.cached_tokens.checked_add(booked.cache_write_tokens).is_some_and(|parts| parts <= booked.prompt_tokens)
    );
    assert_eq!((booked.prompt_tokens, booked.completion_tokens), (usage.prompt_tokens, usage.completion_tokens));
}

/// The written counts, read in the plainest way.
struct Written(Value);

impl Written {
    fn of(text: &str) -> Option<Self> {
        wire::json::parse(text.as_bytes()).ok().map(Self)
    }

    /// A count; `None` where it is absent or null.
    fn count(&self, pointer: &str) -> Option<u64> {
        let exact = |count: &f64| count.fract() == 0.0 && *count >= 0.0 && *count <= (1u64 << 53) as f64;
        match self.0.pointer(pointer)? {
            Value::Null => None,
            Value::Number(number) => {
                let float = || number.as_f64().filter(|_| number.is_f64()).filter(exact).map(|count| count as u64);
                Some(number.as_u64().or_else(float).unwrap_or(Usage::INVALID_COUNT))
            }
            _ => Some(Usage::INVALID_COUNT),
        }
    }

    fn sum(&self, pointers: &[&str]) -> u64 {
        pointers.iter().fold(0, |sum: u64, pointer| sum.saturating_add(self.count(pointer).unwrap_or(0)))
    }

    fn check(&self, endpoint: ApiEndpoint, usage: Usage) {
        let is_read = self.0.is_object()
            && ["/prompt_tokens_details", "/completion_tokens_details"]
                .iter()
                .all(|details| self.0.pointer(details).is_none_or(|details| details.is_null() || details.is_object()));
        let (prompt, completion) = match endpoint {
            ApiEndpoint::Messages => {
                let prompt = ["/input_tokens", "/cache_read_input_tokens", "/cache_creation_input_tokens"];
                (self.sum(&prompt), self.sum(&["/output_tokens"]))
            }
            ApiEndpoint::GenerateContent => {
                (self.sum(&["/promptTokenCount"]), self.sum(&["/candidatesTokenCount", "/thoughtsTokenCount"]))
            }
            endpoint if endpoint.media_name().is_some() => (self.sum(&["/input_tokens"]), self.sum(&["/output_tokens"])),
            _ => (self.sum(&["/prompt_tokens"]), self.sum(&["/completion_tokens"])),
        };
        let counted = (usage.prompt_tokens, usage.completion_tokens);
        if self.0.is_null() {
            assert_eq!(counted, (0, 0));
        } else if is_read {
            assert_eq!(counted, (prompt, completion), "{endpoint:?}");
        } else {
            // Details that are no object: all of it is unreadable, or they are looked over.
            assert!(usage.prompt_tokens == Usage::INVALID_COUNT || counted == (prompt, completion), "{endpoint:?}");
        }
    }
}
