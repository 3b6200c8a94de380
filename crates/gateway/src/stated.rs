//! The fields of a body that its price depends on: the numbers of answers and of seconds, and the output bound. The billed number
//! is the one that is sent to the provider.

use chat::Error;
use serde::de::IgnoredAny;
use serde_json::Value;
use wire::passthrough::ApiEndpoint;
use wire::passthrough::json_fields::JsonFields;

use crate::price::Units;
use crate::relay::{SHORT_VALUE, Said};
use crate::size::{MOST_ANSWERS, Size, out_of_range};

/// Most seconds of a video.
const MOST_SECONDS: u64 = 10_000_000;
/// Seconds of a video whose request states no length.
const SECONDS: u64 = 4;
/// Tokens of a legacy completion without a bound, and of one that fills the middle.
const COMPLETION: u64 = 16;
const MIDDLE: u64 = 4096;
/// Names of the fields for the length of a video, in seconds, and for the number of videos.
const LENGTHS: [&str; 4] = ["seconds", "duration", "duration_seconds", "n_seconds"];
const VARIANTS: [&str; 2] = ["n", "n_variants"];

/// A whole number, as JSON or in quotes; `None` for what is none.
fn whole(value: &Value) -> Option<u64> {
    // Beyond 2^53 a float no longer says which integer it means.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let integral = |number: f64| (number.fract() == 0.0 && (0.0..=EXACT).contains(&number)).then_some(number as u64);
    match value {
        Value::Number(number) => number.as_u64().or_else(|| integral(number.as_f64()?)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| integral(text.parse().ok()?))
        }
        _ => None,
    }
}

impl Said<'_> {
    /// A field that is there and not null. What is no JSON that can be read is text, and what is long is no number.
    fn stated(&self, key: &str) -> Option<Value> {
        match self {
            Self::Json(fields) => {
                let raw = fields.get(key)?;
                if raw.len() > SHORT_VALUE {
                    return Some(Value::Bool(true));
                }
                let value = serde_json::from_slice(raw);
                let value = value.unwrap_or_else(|_| Value::from(String::from_utf8_lossy(raw)));
                (!value.is_null()).then_some(value)
            }
            Self::Form(form) => form.get(key).map(|text| Value::from(String::from_utf8_lossy(text))),
        }
    }

    /// The largest of the numbers under these names, each of which has to be from 1 to `most`.
    ///
    /// # Errors
    /// `Invalid`, naming the field: what is billed would not be what is sent.
    fn number_of(&self, names: &[&str], most: u64) -> Result<Option<u64>, Error> {
        let mut largest = None;
        for name in names {
            let Some(value) = self.stated(name) else { continue };
            let number = whole(&value).filter(|number| (1..=most).contains(number));
            largest = largest.max(Some(number.ok_or_else(|| out_of_range(name, most))?));
        }
        Ok(largest)
    }

    /// The caller's own bound of an answer: the largest, where several fields say one. A bound that is none is judged by the
    /// provider.
    fn allowed(&self) -> Option<u64> {
        let bound = |key: &&str| whole(&self.stated(key)?).filter(|most| *most > 0);
        ["max_tokens", "max_completion_tokens"].iter().filter_map(bound).max()
    }

    /// # Errors
    /// `Invalid` for a number of answers that cannot be.
    pub(crate) fn size(&self, passage: ApiEndpoint, body: &[u8]) -> Result<Size, Error> {
        let answers = |names: &[&str]| Ok::<_, Error>(self.number_of(names, MOST_ANSWERS)?.unwrap_or(1));
        Ok(match passage {
            ApiEndpoint::GenerateContent => {
                let (answers, allowed) = self.generation()?;
                Size::of_body(body, allowed).times(answers)
            }
            _ if passage.media_name().is_some() => Size::of_units(Units { calls: answers(&["n"])?, seconds: 0 }),
            ApiEndpoint::Embeddings => Size::of_body(body, Some(0)).batch(true),
            // Each of several prompts is answered, and all attempts of which the best is returned are paid for.
            ApiEndpoint::Completions => {
                let prompts = self.prompts();
                let answers = answers(&["n", "best_of"])?.saturating_mul(prompts);
                Size::of_body(body, self.allowed()).times(answers).batch(prompts > 1).usually(if self.has("suffix") {
                    MIDDLE
                } else {
                    COMPLETION
                })
            }
            _ => Size::of_body(body, self.allowed()).times(answers(&["n"])?),
        })
    }

    /// How many prompts there are: texts, or lists of tokens.
    fn prompts(&self) -> u64 {
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

    /// The field is there, if only as null.
    pub(crate) fn has(&self, key: &str) -> bool {
        matches!(self, Self::Json(fields) if fields.get(key).is_some())
    }

    /// How many answers Gemini is asked for, and the bound of each: the larger, where both spellings say one.
    fn generation(&self) -> Result<(u64, Option<u64>), Error> {
        let Self::Json(fields) = self else { return Ok((1, None)) };
        let (mut answers, mut allowed) = (1, None);
        for config in ["generationConfig", "generation_config"].iter().filter_map(|name| fields.get(name)) {
            if config == b"null" {
                continue;
            }
            // What is no object is refused by the provider; one that says something twice may be read either way.
            let config = Self::Json(JsonFields::scan(config)?);
            let count = config.number_of(&["candidateCount", "candidate_count"], MOST_ANSWERS)?;
            answers = answers.max(count.unwrap_or(1));
            let bound = |key: &&str| whole(&config.stated(key)?).filter(|most| *most > 0);
            allowed = allowed.max(["maxOutputTokens", "max_output_tokens"].iter().filter_map(bound).max());
        }
        Ok((answers, allowed))
    }

    /// The units of a video. `parent` is the length of the one it is made from.
    ///
    /// # Errors
    /// `Invalid` for a length or a number that cannot be.
    pub(crate) fn video(&self, parent: Option<u64>) -> Result<Units, Error> {
        let seconds = self.number_of(&LENGTHS, MOST_SECONDS)?.or(parent).unwrap_or(SECONDS);
        let calls = self.number_of(&VARIANTS, MOST_ANSWERS)?.unwrap_or(1);
        Ok(Units { calls, seconds: seconds.saturating_mul(calls) })
    }

    /// The body says how long its video is to be.
    pub(crate) fn states_length(&self) -> bool {
        LENGTHS.iter().any(|name| self.stated(name).is_some())
    }
}

/// The body with the length that is billed.
pub(crate) fn with_length(said: &Said<'_>) -> Vec<u8> {
    match said {
        Said::Json(fields) => fields.with_changes(&[("seconds", format!("\"{SECONDS}\""))]),
        Said::Form(form) => form.with_added_field("seconds", &SECONDS.to_string()),
    }
}

/// The field of Gemini's body that bounds its answers, and its new value.
///
/// # Errors
/// `Invalid` for a configuration that is none.
pub(crate) fn output_bound(fields: &JsonFields<'_>, most: u64) -> Result<(&'static str, String), Error> {
    let name = match (fields.get("generationConfig"), fields.get("generation_config")) {
        (None | Some(b"null"), Some(_)) => "generation_config",
        _ => "generationConfig",
    };
    let config = fields.get(name).filter(|config| *config != b"null").unwrap_or(b"{}");
    let config = JsonFields::scan(config)?;
    let key = if config.get("max_output_tokens").is_some() { "max_output_tokens" } else { "maxOutputTokens" };
    let config = String::from_utf8_lossy(&config.with_changes(&[(key, most.to_string())])).into_owned();
    Ok((name, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(passage: ApiEndpoint, body: &str) -> Result<Size, Error> {
        Said::Json(JsonFields::scan(body.as_bytes()).unwrap()).size(passage, body.as_bytes())
    }

    fn video(body: &str) -> Result<(u64, u64), Error> {
        let units = Said::Json(JsonFields::scan(body.as_bytes()).unwrap()).video(None)?;
        Ok((units.calls, units.seconds))
    }

    #[test]
    fn what_is_billed_is_what_is_stated() {
        for (n, answers) in
            [("1", 1), ("129", 129), ("\"7\"", 7), ("3.0", 3), ("\" 5 \"", 5), ("1e3", 1000), ("null", 1)]
        {
            let images = size(ApiEndpoint::ImageGenerations, &format!(r#"{{"n":{n}}}"#)).unwrap();
            assert_eq!(images.units.calls, answers, "{n}");
            assert_eq!(size(ApiEndpoint::ChatCompletions, &format!(r#"{{"n":{n}}}"#)).unwrap().answers, answers, "{n}");
        }
        for odd in
            ["0", "-1", "1.5", "10001", "9223372036854775808", "1e30", "1e400", "\"x\"", "[]", "{}", "true", "\"\""]
        {
            for passage in [ApiEndpoint::ImageGenerations, ApiEndpoint::ChatCompletions, ApiEndpoint::Completions] {
                let error = size(passage, &format!(r#"{{"n":{odd}}}"#)).unwrap_err();
                assert!(error.message.contains("'n'") && error.message.contains("10000"), "{odd}: {error}");
            }
            let gemini = format!(r#"{{"generationConfig":{{"candidateCount":{odd}}}}}"#);
            assert!(
                size(ApiEndpoint::GenerateContent, &gemini).unwrap_err().message.contains("'candidateCount'"),
                "{odd}"
            );
        }
    }

    #[test]
    fn the_larger_counts_of_what_is_said_twice() {
        let gemini = |body: &str| size(ApiEndpoint::GenerateContent, body).map(|size| (size.answers, size.allowed));
        let both = r#"{"generationConfig":{"candidateCount":2,"candidate_count":3,"maxOutputTokens":5},"generation_config":{"candidate_count":4,"max_output_tokens":"9"}}"#;
        assert_eq!(gemini(both).unwrap(), (4, Some(9)));
        assert_eq!(gemini(r#"{"generationConfig":null}"#).unwrap(), (1, None));
        assert!(gemini(r#"{"generationConfig":{"candidateCount":1,"candidateCount":100}}"#).is_err());
        let completions = |body: &str| size(ApiEndpoint::Completions, body).unwrap().answers;
        assert_eq!(completions(r#"{"prompt":["a","b","c"],"n":2,"best_of":4}"#), 12);
        assert_eq!((completions(r#"{"prompt":[1,2,3]}"#), completions(r#"{"prompt":[[1],[2]]}"#)), (1, 2));
        let chat = size(ApiEndpoint::ChatCompletions, r#"{"max_tokens":5,"max_completion_tokens":"700"}"#).unwrap();
        assert_eq!(chat.allowed, Some(700));
        assert_eq!(size(ApiEndpoint::ChatCompletions, r#"{"max_tokens":-1}"#).unwrap().allowed, None);
    }

    #[test]
    fn a_video_is_as_long_as_any_field_says() {
        assert_eq!(video("{}"), Ok((1, 4)));
        assert_eq!(video(r#"{"seconds":"12"}"#), Ok((1, 12)));
        assert_eq!(video(r#"{"seconds":1000000}"#), Ok((1, 1_000_000)));
        assert_eq!(video(r#"{"seconds":"4","duration":60,"n_variants":2}"#), Ok((2, 120)));
        assert_eq!(video(r#"{"seconds":null,"duration_seconds":8.0}"#), Ok((1, 8)));
        for odd in ["-1", "0", "4.5", "\"4.5\"", "\"NaN\"", "\"inf\"", "10000001", "[]", "{}", "true", "\"\""] {
            for name in LENGTHS {
                let error = video(&format!(r#"{{"{name}":{odd}}}"#)).unwrap_err();
                assert!(error.message.contains(&format!("'{name}'")), "{odd}: {error}");
            }
        }
    }

    #[test]
    fn a_bound_finds_its_place_in_geminis_body() {
        let bounded = |body: &str| {
            let fields = JsonFields::scan(body.as_bytes()).unwrap();
            String::from_utf8(fields.with_changes(&[output_bound(&fields, 7).unwrap()])).unwrap()
        };
        assert_eq!(bounded(r#"{"a":1}"#), r#"{"a":1,"generationConfig":{"maxOutputTokens":7}}"#);
        assert_eq!(bounded(r#"{"generationConfig":null}"#), r#"{"generationConfig":{"maxOutputTokens":7}}"#);
        let snake = r#"{"generation_config":{"max_output_tokens":-1, "x":2}}"#;
        assert_eq!(bounded(snake), r#"{"generation_config":{"max_output_tokens":7, "x":2}}"#);
    }
}
