//! The fields of a request body that the price of the request depends on: the number of
//! answers, the length of a video, and the output limit. The billed number is the one that is
//! sent to the provider.

use chat::Error;
use serde::de::IgnoredAny;
use serde_json::Value;
use wire::passthrough::ApiEndpoint;
use wire::passthrough::json_fields::JsonFields;

use crate::billing::usage_estimate::{MAX_ANSWERS, UsageEstimate, out_of_range_error};
use crate::passthrough::request_fields::{MAX_INSPECTED_VALUE_BYTES, RequestFields};
use crate::pricing::Quantity;

/// The longest accepted video, in seconds.
const MAX_VIDEO_SECONDS: u64 = 10_000_000;
/// The length of a video whose request has none, in seconds.
const DEFAULT_VIDEO_SECONDS: u64 = 4;
/// The output limit of a legacy completion whose request has none, in tokens.
const DEFAULT_COMPLETION_TOKENS: u64 = 16;
/// The same for one with a suffix (fill in the middle).
const DEFAULT_INFILL_TOKENS: u64 = 4096;
/// Names of the field for the length of a video, in seconds.
const VIDEO_LENGTH_FIELDS: [&str; 4] = ["seconds", "duration", "duration_seconds", "n_seconds"];
/// Names of the field for the number of videos.
const VIDEO_COUNT_FIELDS: [&str; 2] = ["n", "n_variants"];

/// A whole number that is not negative, as a JSON number or in a string; `None` for anything else.
fn parse_whole_number(value: &Value) -> Option<u64> {
    // Above 2^53 an `f64` cannot represent every integer.
    const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;
    let integral =
        |number: f64| (number.fract() == 0.0 && (0.0..=MAX_EXACT_INTEGER).contains(&number)).then_some(number as u64);
    match value {
        Value::Number(number) => number.as_u64().or_else(|| integral(number.as_f64()?)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| integral(text.parse().ok()?))
        }
        _ => None,
    }
}

impl RequestFields<'_> {
    /// The value of a field; `None` if it is absent or null. Invalid JSON is returned as a
    /// string. A value that is too long is returned as `true` without parsing it, so that it is
    /// refused as a number.
    fn field_value(&self, key: &str) -> Option<Value> {
        match self {
            Self::Json(fields) => {
                let raw = fields.get(key)?;
                if raw.len() > MAX_INSPECTED_VALUE_BYTES {
                    return Some(Value::Bool(true));
                }
                let value = serde_json::from_slice(raw);
                let value = value.unwrap_or_else(|_| Value::from(String::from_utf8_lossy(raw)));
                (!value.is_null()).then_some(value)
            }
            Self::Form(form) => form.get(key).map(|text| Value::from(String::from_utf8_lossy(text))),
        }
    }

    /// The largest of the numbers in these fields, each of which must be from 1 to `max`.
    ///
    /// # Errors
    /// `InvalidRequest` for a field that is not such a number: the provider could use another
    /// number than the billed one.
    fn max_number(&self, names: &[&str], max: u64) -> Result<Option<u64>, Error> {
        let mut largest = None;
        for name in names {
            let Some(value) = self.field_value(name) else { continue };
            let number = parse_whole_number(&value).filter(|number| (1..=max).contains(number));
            largest = largest.max(Some(number.ok_or_else(|| out_of_range_error(name, max))?));
        }
        Ok(largest)
    }

    /// The caller's output limit: the largest, if several fields have one. An invalid limit is left
    /// to the provider.
    fn max_output_tokens(&self) -> Option<u64> {
        let limit = |key: &&str| parse_whole_number(&self.field_value(key)?).filter(|tokens| *tokens > 0);
        ["max_tokens", "max_completion_tokens", "max_output_tokens"].iter().filter_map(limit).max()
    }

    /// The estimated usage of a request to `endpoint` with this body.
    ///
    /// # Errors
    /// `InvalidRequest` for a number of answers that is out of range.
    pub(crate) fn usage_estimate(&self, endpoint: ApiEndpoint, body: &[u8]) -> Result<UsageEstimate, Error> {
        let answers = |names: &[&str]| Ok::<_, Error>(self.max_number(names, MAX_ANSWERS)?.unwrap_or(1));
        Ok(match endpoint {
            ApiEndpoint::GenerateContent => {
                let (answers, max_output_tokens) = self.gemini_answers_and_limit()?;
                UsageEstimate::from_body(body, max_output_tokens).with_answers(answers)
            }
            _ if endpoint.media_name().is_some() => {
                UsageEstimate::from_quantity(Quantity { calls: answers(&["n"])?, seconds: 0 })
            }
            ApiEndpoint::Embeddings => UsageEstimate::from_body(body, Some(0)).with_multiple_inputs(true),
            // Each prompt is answered, and with `best_of` all attempts are billed.
            ApiEndpoint::Completions => {
                let prompts = self.prompt_count();
                let answers = answers(&["n", "best_of"])?.saturating_mul(prompts);
                UsageEstimate::from_body(body, self.max_output_tokens())
                    .with_answers(answers)
                    .with_multiple_inputs(prompts > 1)
                    .with_default_output(if self.has_json_field("suffix") {
                        DEFAULT_INFILL_TOKENS
                    } else {
                        DEFAULT_COMPLETION_TOKENS
                    })
            }
            _ => UsageEstimate::from_body(body, self.max_output_tokens()).with_answers(answers(&["n"])?),
        })
    }

    /// The number of prompts. A prompt is a text or a list of tokens.
    fn prompt_count(&self) -> u64 {
        let Self::Json(fields) = self else { return 1 };
        let list = fields.get("prompt").and_then(|prompt| prompt.strip_prefix(b"["));
        let is_tokens =
            |list: &&[u8]| list.trim_ascii_start().first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-');
        if list.is_none_or(|list| is_tokens(&list)) {
            return 1;
        }
        let prompts: Result<Vec<IgnoredAny>, _> = serde_json::from_slice(fields.get("prompt").unwrap_or_default());
        prompts.map_or(1, |prompts| prompts.len().max(1) as u64)
    }

    /// Whether a JSON body has the field, even as null. Always false for forms.
    pub(crate) fn has_json_field(&self, key: &str) -> bool {
        matches!(self, Self::Json(fields) if fields.get(key).is_some())
    }

    /// The number of answers and the output limit of a Gemini request: the larger value, if several
    /// spellings of a field have one.
    fn gemini_answers_and_limit(&self) -> Result<(u64, Option<u64>), Error> {
        let Self::Json(fields) = self else { return Ok((1, None)) };
        let mut answers = 1;
        let mut max_output_tokens = None;
        for config in ["generationConfig", "generation_config"].iter().filter_map(|name| fields.get(name)) {
            if config == b"null" {
                continue;
            }
            // A duplicate field is refused here, because the provider could read either value.
            let config = Self::Json(JsonFields::scan(config)?);
            let count = config.max_number(&["candidateCount", "candidate_count"], MAX_ANSWERS)?;
            answers = answers.max(count.unwrap_or(1));
            let limit = |key: &&str| parse_whole_number(&config.field_value(key)?).filter(|tokens| *tokens > 0);
            let limit = ["maxOutputTokens", "max_output_tokens"].iter().filter_map(limit).max();
            max_output_tokens = max_output_tokens.max(limit);
        }
        Ok((answers, max_output_tokens))
    }

    /// The quantity of a video request; its `seconds` are the total of all videos. `parent_seconds`
    /// is the length of the video that the request continues.
    ///
    /// # Errors
    /// `InvalidRequest` for a length or a number that is out of range.
    pub(crate) fn video_quantity(&self, parent_seconds: Option<u64>) -> Result<Quantity, Error> {
        let seconds = self
            .max_number(&VIDEO_LENGTH_FIELDS, MAX_VIDEO_SECONDS)?
            .or(parent_seconds)
            .unwrap_or(DEFAULT_VIDEO_SECONDS);
        let calls = self.max_number(&VIDEO_COUNT_FIELDS, MAX_ANSWERS)?.unwrap_or(1);
        Ok(Quantity { calls, seconds: seconds.saturating_mul(calls) })
    }

    /// Whether the body has the length of the video.
    pub(crate) fn has_video_length(&self) -> bool {
        VIDEO_LENGTH_FIELDS.iter().any(|name| self.field_value(name).is_some())
    }
}

/// A copy of the body with the default length of a video. Only for a body without a length.
pub(crate) fn with_default_video_length(request_fields: &RequestFields<'_>) -> Vec<u8> {
    match request_fields {
        RequestFields::Json(fields) => fields.with_changes(&[("seconds", format!("\"{DEFAULT_VIDEO_SECONDS}\""))]),
        RequestFields::Form(form) => form.with_added_field("seconds", &DEFAULT_VIDEO_SECONDS.to_string()),
    }
}

/// The field to replace in a Gemini body, as its name and its new JSON value, so that the output
/// limit is `max_tokens`.
///
/// # Errors
/// `InvalidRequest` for a generation config that is not an object.
pub(crate) fn gemini_config_with_output_limit(
    fields: &JsonFields<'_>,
    max_tokens: u64,
) -> Result<(&'static str, String), Error> {
    let name = match (fields.get("generationConfig"), fields.get("generation_config")) {
        (None | Some(b"null"), Some(_)) => "generation_config",
        _ => "generationConfig",
    };
    let config = fields.get(name).filter(|config| *config != b"null").unwrap_or(b"{}");
    let config = JsonFields::scan(config)?;
    let key = if config.get("max_output_tokens").is_some() { "max_output_tokens" } else { "maxOutputTokens" };
    let config = String::from_utf8_lossy(&config.with_changes(&[(key, max_tokens.to_string())])).into_owned();
    Ok((name, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage_estimate(endpoint: ApiEndpoint, body: &str) -> Result<UsageEstimate, Error> {
        RequestFields::Json(JsonFields::scan(body.as_bytes()).unwrap()).usage_estimate(endpoint, body.as_bytes())
    }

    fn video(body: &str) -> Result<(u64, u64), Error> {
        let quantity = RequestFields::Json(JsonFields::scan(body.as_bytes()).unwrap()).video_quantity(None)?;
        Ok((quantity.calls, quantity.seconds))
    }

    #[test]
    fn the_billed_number_is_the_number_in_the_body() {
        for (n, answers) in
            [("1", 1), ("129", 129), ("\"7\"", 7), ("3.0", 3), ("\" 5 \"", 5), ("1e3", 1000), ("null", 1)]
        {
            let images = usage_estimate(ApiEndpoint::ImageGenerations, &format!(r#"{{"n":{n}}}"#)).unwrap();
            assert_eq!(images.quantity.calls, answers, "{n}");
            assert_eq!(
                usage_estimate(ApiEndpoint::ChatCompletions, &format!(r#"{{"n":{n}}}"#)).unwrap().answers,
                answers,
                "{n}"
            );
        }
        for bad in
            ["0", "-1", "1.5", "10001", "9223372036854775808", "1e30", "1e400", "\"x\"", "[]", "{}", "true", "\"\""]
        {
            for endpoint in [ApiEndpoint::ImageGenerations, ApiEndpoint::ChatCompletions, ApiEndpoint::Completions] {
                let error = usage_estimate(endpoint, &format!(r#"{{"n":{bad}}}"#)).unwrap_err();
                assert!(error.message.contains("'n'") && error.message.contains("10000"), "{bad}: {error}");
            }
            let gemini = format!(r#"{{"generationConfig":{{"candidateCount":{bad}}}}}"#);
            assert!(
                usage_estimate(ApiEndpoint::GenerateContent, &gemini).unwrap_err().message.contains("'candidateCount'"),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_larger_of_two_values_counts() {
        let gemini = |body: &str| {
            usage_estimate(ApiEndpoint::GenerateContent, body)
                .map(|estimate| (estimate.answers, estimate.max_output_tokens))
        };
        let both = r#"{"generationConfig":{"candidateCount":2,"candidate_count":3,"maxOutputTokens":5},"generation_config":{"candidate_count":4,"max_output_tokens":"9"}}"#;
        assert_eq!(gemini(both).unwrap(), (4, Some(9)));
        assert_eq!(gemini(r#"{"generationConfig":null}"#).unwrap(), (1, None));
        assert!(gemini(r#"{"generationConfig":{"candidateCount":1,"candidateCount":100}}"#).is_err());
        let completions = |body: &str| usage_estimate(ApiEndpoint::Completions, body).unwrap().answers;
        assert_eq!(completions(r#"{"prompt":["a","b","c"],"n":2,"best_of":4}"#), 12);
        assert_eq!((completions(r#"{"prompt":[1,2,3]}"#), completions(r#"{"prompt":[[1],[2]]}"#)), (1, 2));
        let chat =
            usage_estimate(ApiEndpoint::ChatCompletions, r#"{"max_tokens":5,"max_completion_tokens":"700"}"#).unwrap();
        assert_eq!(chat.max_output_tokens, Some(700));
        assert_eq!(
            usage_estimate(ApiEndpoint::ChatCompletions, r#"{"max_tokens":-1}"#).unwrap().max_output_tokens,
            None
        );
    }

    #[test]
    fn the_longest_length_of_a_video_counts() {
        assert_eq!(video("{}"), Ok((1, 4)));
        assert_eq!(video(r#"{"seconds":"12"}"#), Ok((1, 12)));
        assert_eq!(video(r#"{"seconds":1000000}"#), Ok((1, 1_000_000)));
        assert_eq!(video(r#"{"seconds":"4","duration":60,"n_variants":2}"#), Ok((2, 120)));
        assert_eq!(video(r#"{"seconds":null,"duration_seconds":8.0}"#), Ok((1, 8)));
        for bad in ["-1", "0", "4.5", "\"4.5\"", "\"NaN\"", "\"inf\"", "10000001", "[]", "{}", "true", "\"\""] {
            for name in VIDEO_LENGTH_FIELDS {
                let error = video(&format!(r#"{{"{name}":{bad}}}"#)).unwrap_err();
                assert!(error.message.contains(&format!("'{name}'")), "{bad}: {error}");
            }
        }
    }

    #[test]
    fn an_output_limit_is_set_in_a_gemini_body() {
        let limited = |body: &str| {
            let fields = JsonFields::scan(body.as_bytes()).unwrap();
            String::from_utf8(fields.with_changes(&[gemini_config_with_output_limit(&fields, 7).unwrap()])).unwrap()
        };
        assert_eq!(limited(r#"{"a":1}"#), r#"{"a":1,"generationConfig":{"maxOutputTokens":7}}"#);
        assert_eq!(limited(r#"{"generationConfig":null}"#), r#"{"generationConfig":{"maxOutputTokens":7}}"#);
        let snake = r#"{"generation_config":{"max_output_tokens":-1, "x":2}}"#;
        assert_eq!(limited(snake), r#"{"generation_config":{"max_output_tokens":7, "x":2}}"#);
    }
}
