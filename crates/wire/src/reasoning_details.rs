//! OpenRouter's `reasoning_details`, in answers and in the histories that clients send back.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The text of a list of parts, of which some are encrypted. A value of another type has none.
#[derive(Debug, Default)]
pub(crate) struct ReasoningDetails(pub(crate) String);

impl<'de> Deserialize<'de> for ReasoningDetails {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        Ok(Self(reasoning_of_details(&Value::deserialize(json)?).unwrap_or_default()))
    }
}

/// The text of `reasoning_details`; `None` without any.
pub(crate) fn reasoning_of_details(details: &Value) -> Option<String> {
    let text = |part: &Value| part["text"].as_str().or(part["summary"].as_str()).map(str::to_owned);
    let text: String = details.as_array()?.iter().filter_map(text).collect();
    Some(text).filter(|text| !text.is_empty())
}
