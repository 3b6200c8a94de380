//! The sampling parameters that a model recommends in its `generation_config.json`, for requests
//! that do not name their own.

use serde_json::{Map, Value};

/// Values for the sampling parameters that a request does not name. `None`: without effect.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplingDefaults {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    /// Number of likeliest tokens from which the next one is drawn.
    pub top_k: Option<usize>,
    /// Factor by which tokens of prompt and answer are penalized.
    pub repetition_penalty: Option<f64>,
}

/// A `generation_config.json` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GenerationConfigError {
    #[error("`generation_config.json` is not a JSON object: {reason}")]
    Json { reason: String },
    #[error(
        "`generation_config.json`: `{field}` is {found}, it must be {expected}\nhint: correct the value, or remove the field"
    )]
    Field { field: &'static str, found: String, expected: &'static str },
}

impl SamplingDefaults {
    /// Reads the bytes of a `generation_config.json`, as Hugging Face's `GenerationConfig` writes
    /// it: `temperature`, `top_p`, `top_k` and `repetition_penalty`. A field that is absent or null
    /// has no default, a `top_k` of 0 means all tokens. Other fields are not read.
    ///
    /// # Errors
    /// `Json`; `Field` for a value of another type or out of range.
    pub fn from_generation_config(bytes: &[u8]) -> Result<Self, GenerationConfigError> {
        let config: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| GenerationConfigError::Json { reason: error.to_string() })?;
        let number = |field, expected, is_valid: fn(f64) -> bool| {
            read(&config, field, expected, |value| value.as_f64().filter(|number| is_valid(*number)))
        };
        let top_k = read(&config, "top_k", "an integer from 0 to 4294967295", |value| {
            value.as_u64().and_then(|top_k| u32::try_from(top_k).ok())
        })?;
        Ok(Self {
            temperature: number("temperature", "a number from 0 to 2", |t| (0.0..=2.0).contains(&t))?,
            top_p: number("top_p", "a number above 0 and at most 1", |p| p > 0.0 && p <= 1.0)?,
            top_k: top_k.filter(|&top_k| top_k > 0).map(|top_k| top_k as usize),
            // Far outside of what anybody uses, and within what f32 can divide by.
            repetition_penalty: number("repetition_penalty", "a number from 0.1 to 10", |p| (0.1..=10.0).contains(&p))?
                .filter(|&penalty| penalty != 1.0),
        })
    }
}

/// The tokens that end an answer, from the bytes of a `generation_config.json`: its `eos_token_id`,
/// which is a token or a list of tokens. Empty if it has none.
///
/// # Errors
/// As [`SamplingDefaults::from_generation_config`].
pub fn end_tokens(bytes: &[u8]) -> Result<Vec<u32>, GenerationConfigError> {
    let config: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| GenerationConfigError::Json { reason: error.to_string() })?;
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let tokens = read(&config, "eos_token_id", "a token id, or a list of token ids", |value| match value {
        Value::Array(ids) => ids.iter().map(id).collect(),
        value => id(value).map(|id| vec![id]),
    });
    Ok(tokens?.unwrap_or_default())
}

fn read<T>(
    config: &Map<String, Value>,
    field: &'static str,
    expected: &'static str,
    parse: impl FnOnce(&Value) -> Option<T>,
) -> Result<Option<T>, GenerationConfigError> {
    let Some(value) = config.get(field).filter(|value| !value.is_null()) else { return Ok(None) };
    match parse(value) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(GenerationConfigError::Field { field, found: value.to_string(), expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<SamplingDefaults, String> {
        SamplingDefaults::from_generation_config(json.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_four_fields_are_read_and_others_passed_over() {
        let all = r#"{"temperature": 0.6, "top_p": 0.95, "top_k": 40, "repetition_penalty": 1.1, "do_sample": true, "bos_token_id": 0}"#;
        let expected = SamplingDefaults {
            temperature: Some(0.6),
            top_p: Some(0.95),
            top_k: Some(40),
            repetition_penalty: Some(1.1),
        };
        assert_eq!(parse(all), Ok(expected));
        let none = r#"{"temperature": null, "top_k": 0, "repetition_penalty": 1}"#;
        assert_eq!(parse(none), Ok(SamplingDefaults::default()));
        let zero = SamplingDefaults { temperature: Some(0.0), top_p: Some(1.0), ..SamplingDefaults::default() };
        assert_eq!(parse(r#"{"temperature": 0, "top_p": 1}"#), Ok(zero));
    }

    #[test]
    fn end_tokens_are_one_or_several() {
        let parse = |json: &str| end_tokens(json.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(parse("{}"), Ok(vec![]));
        assert_eq!(parse(r#"{"eos_token_id": null}"#), Ok(vec![]));
        assert_eq!(parse(r#"{"eos_token_id": 1}"#), Ok(vec![1]));
        assert_eq!(parse(r#"{"eos_token_id": [1, 128798]}"#), Ok(vec![1, 128798]));
        for value in ["-1", "\"1\"", "[1, null]", "4294967296"] {
            let refused = parse(&format!("{{\"eos_token_id\": {value}}}")).unwrap_err();
            assert!(refused.starts_with("`generation_config.json`: `eos_token_id` is "), "{refused}");
        }
    }

    #[test]
    fn a_bad_value_is_refused_with_file_and_field() {
        for (field, values) in [
            ("temperature", ["-0.1", "2.01", "\"0.6\"", "true"]),
            ("top_p", ["0", "1.5", "-1", "[0.9]"]),
            ("top_k", ["-1", "1.5", "\"40\"", "4294967296"]),
            ("repetition_penalty", ["0", "-1.1", "11", "{}"]),
        ] {
            for value in values {
                let refused = parse(&format!("{{\"{field}\": {value}}}")).unwrap_err();
                let begins = format!("`generation_config.json`: `{field}` is {value}, it must be ");
                assert!(refused.starts_with(&begins), "{refused}");
            }
        }
        for damaged in ["", "[]", "{\"temperature\": }"] {
            assert!(parse(damaged).unwrap_err().starts_with("`generation_config.json` is not a JSON object: "));
        }
    }
}
