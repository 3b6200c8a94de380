//! The delay that a provider asks for before the next request, where only the body of its error has
//! it.

use std::time::Duration;

use serde_json::Value;

/// The longest delay that is taken.
const MAX_DELAY: Duration = Duration::from_secs(86_400);
/// The words before a delay in messages of OpenAI, Groq, Gemini and Azure.
const WORDS_BEFORE: [&str; 3] = ["try again in ", "retry in ", "retry after "];

/// The delay of an error body: Gemini's `RetryInfo`, or that in the words of the message.
pub(super) fn retry_delay(body: Option<&Value>, message: Option<&str>) -> Option<Duration> {
    let details = body.and_then(|body| body.pointer("/error/details")).and_then(Value::as_array);
    let retry_info = details.into_iter().flatten().find_map(|detail| detail["retryDelay"].as_str());
    retry_info.and_then(parse_delay).or_else(|| delay_in_words(message?)).filter(|delay| *delay <= MAX_DELAY)
}

/// The delay after words that announce one.
fn delay_in_words(message: &str) -> Option<Duration> {
    let lower = message.to_ascii_lowercase();
    let after = WORDS_BEFORE.iter().find_map(|words| lower.split_once(words))?.1;
    parse_delay(after)
}

/// Parses the delay at the beginning of a text: `34.07s`, `6m0s`, `250ms`, `20 seconds`. A number
/// without a unit is in seconds.
pub fn parse_delay(text: &str) -> Option<Duration> {
    let mut rest = text.trim_start();
    let mut seconds = None;
    loop {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(rest.len());
        // A full stop may end the sentence.
        let Ok(number) = rest[..digits].trim_end_matches('.').parse::<f64>() else { break };
        rest = &rest[digits..];
        let unit = rest.trim_start();
        let letters = unit.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(unit.len());
        let scale = match &unit[..letters] {
            "ms" | "milliseconds" => 0.001,
            "s" | "sec" | "second" | "seconds" | "" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            _ => break,
        };
        seconds = Some(seconds.unwrap_or(0.0) + number * scale);
        rest = &unit[letters..];
        if letters == 0 {
            break;
        }
    }
    Duration::try_from_secs_f64(seconds?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_delay_is_read_in_every_spelling() {
        for (text, milliseconds) in [
            ("34.074824224s", 34_074),
            ("6m0s", 360_000),
            ("1h2m3s", 3_723_000),
            ("250ms.", 250),
            ("1.2s. Visit the page", 1200),
            ("20 seconds.", 20_000),
            ("7", 7000),
            ("2.", 2000),
        ] {
            assert_eq!(parse_delay(text).map(|delay| delay.as_millis()), Some(milliseconds), "{text}");
        }
        for text in ["", "soon", "-3s", "s", "1 fortnight", "1e400"] {
            assert!(parse_delay(text).is_none_or(|delay| delay.as_secs() <= 1), "{text}");
        }
    }

    #[test]
    fn a_delay_is_found_in_a_body() {
        let gemini = json!({"error": {"code": 429, "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]}});
        assert_eq!(retry_delay(Some(&gemini), None), Some(Duration::from_secs(34)));
        let words = "Rate limit reached for gpt-5 on tokens per min. Please try again in 1.5s.";
        assert_eq!(retry_delay(None, Some(words)), Some(Duration::from_millis(1500)));
        assert_eq!(retry_delay(None, Some("Please try again later")), None);
        assert_eq!(retry_delay(None, Some("retry in 400 days")), None);
    }
}
