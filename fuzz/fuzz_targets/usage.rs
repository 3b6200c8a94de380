//! Input: JSON as the usage of a provider. The scanner, the event reader and the whole-body scan of
//! its dialect find the same counts: those written, or a mark for invalid counts, which the gateway
//! treats as implausible.
#![no_main]

extern crate self as store;

use chat::{Chat, Delta, Usage};
use fuzzing::within_time_limit;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use wire::passthrough::ApiEndpoint;
use wire::passthrough::usage_scanner::{self, SseScanner};
use wire::upstream::Dialect;

#[expect(dead_code, reason = "a part of it is checked")]
#[path = "../../crates/gateway/src/billing/plausibility.rs"]
mod plausibility;

// The store's constants: the whole store would be too much code to instrument.
pub const MAX_COST: i64 = 1_000_000_000_000_000;
pub const MAX_TOKENS: i64 = 1 << 32;

const CHAT: &str = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}],"usage":USAGE}"#;
const START: &str = r#"{"type":"message_start","message":{"usage":USAGE}}"#;
const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":USAGE}"#;
const MESSAGE: &str = r#"{"type":"message","content":[],"stop_reason":"end_turn","usage":USAGE}"#;
const CONTENT: &str =
    r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}],"usageMetadata":USAGE}"#;
const IMAGE: &str = r#"{"type":"image_generation.completed","usage":USAGE}"#;

fuzz_target!(|input: &[u8]| within_time_limit(input.len(), || check(input)));

fn check(input: &[u8]) {
    // Line breaks end events; in JSON they are white space.
    let text = String::from_utf8_lossy(input).replace(['\n', '\r'], " ");
    let is_json = serde_json::from_str::<&RawValue>(&text).is_ok();
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
        let scanned = (!events.is_empty()).then(|| scan_events(endpoint, &events));
        let read = dialect.filter(|_| !events.is_empty()).map(|dialect| read_events(dialect, &events));
        if is_json {
            assert!(scanned.is_none_or(|scanned| scanned == whole), "{endpoint:?}: {scanned:?} {whole:?}");
            // Event readers return zeros without a count.
            let counted = whole.unwrap_or_default();
            assert!(read.is_none_or(|read| read == Some(counted)), "{endpoint:?}: {read:?} {counted:?}");
        }
        for usage in [whole, scanned.flatten(), read.flatten()].into_iter().flatten() {
            check_plausibility(usage);
            if is_json
                && let Some(written) = &written
            {
                written.check(endpoint, usage);
            }
        }
    }
}

/// The usage that the scanner finds in events.
fn scan_events(endpoint: ApiEndpoint, events: &[String]) -> Option<Usage> {
    let mut scanner = SseScanner::new(endpoint, false);
    for event in events {
        scanner.feed(format!("data: {event}\n\n").as_bytes());
    }
    let _ = scanner.finish();
    scanner.progress().usage
}

/// The usage that the event reader finds; `None` for invalid events.
fn read_events(dialect: Dialect, events: &[String]) -> Option<Usage> {
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

/// Checks that implausible counts are named, and that the parts of others are limited
/// to their wholes.
fn check_plausibility(usage: Usage) {
    let limit = plausibility::MAX_TOKENS_UNKNOWN_CONTEXT;
    let implausible = plausibility::UsageBounds::new(None, None, 1).implausible_count(&usage);
    assert_eq!(implausible.is_some(), counts(&usage).iter().any(|count| *count > limit), "{usage:?}");
    assert!(implausible.is_none_or(|(name, count)| !name.is_empty() && count > limit));
    let clamped = plausibility::clamp_parts(usage);
    let parts = clamped.cached_tokens.checked_add(clamped.cache_write_tokens);
    assert!(parts.is_some_and(|parts| parts <= clamped.prompt_tokens));
    assert_eq!((clamped.prompt_tokens, clamped.completion_tokens), (usage.prompt_tokens, usage.completion_tokens));
}

/// The counts in the input, read in a simple way.
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
        let is_valid = self.0.is_object()
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
            endpoint if endpoint.media_name().is_some() => {
                (self.sum(&["/input_tokens"]), self.sum(&["/output_tokens"]))
            }
            _ => (self.sum(&["/prompt_tokens"]), self.sum(&["/completion_tokens"])),
        };
        let counted = (usage.prompt_tokens, usage.completion_tokens);
        if self.0.is_null() {
            assert_eq!(counted, (0, 0));
        } else if is_valid {
            assert_eq!(counted, (prompt, completion), "{endpoint:?}");
        } else {
            // Details that are not an object: the usage is invalid, or the details are ignored.
            assert!(usage.prompt_tokens == Usage::INVALID_COUNT || counted == (prompt, completion), "{endpoint:?}");
        }
    }
}
