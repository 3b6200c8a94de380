//! OpenRouter's `reasoning_details`, in answers and in the histories that clients send back: the
//! pieces of the reasoning, with the signatures that their provider requires.

use chat::{SignatureFormat, SignedReasoning};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The words for the formats of signatures. Other services have more.
const FORMATS: [(&str, SignatureFormat); 3] = [
    ("anthropic-claude-v1", SignatureFormat::Anthropic),
    ("openai-responses-v1", SignatureFormat::Responses),
    ("google-gemini-v1", SignatureFormat::Gemini),
];

/// The text of a list of details, of which some are encrypted. A value of another type has none.
#[derive(Debug, Default)]
pub(crate) struct ReasoningDetails(pub(crate) String);

impl<'de> Deserialize<'de> for ReasoningDetails {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        Ok(Self(reasoning_of_details(&Value::deserialize(json)?).unwrap_or_default()))
    }
}

/// The text of `reasoning_details`; `None` without any.
pub(crate) fn reasoning_of_details(details: &Value) -> Option<String> {
    let text: String = details.as_array()?.iter().filter_map(text_of_detail).collect();
    Some(text).filter(|text| !text.is_empty())
}

fn text_of_detail(detail: &Value) -> Option<&str> {
    detail["text"].as_str().or(detail["summary"].as_str())
}

/// The signatures in `reasoning_details`. A signature belongs to the text since the one before, or
/// to `reasoning` where the details have no text.
pub(crate) fn signatures_of_details(details: &Value, mut reasoning: Option<&str>) -> Vec<SignedReasoning> {
    let mut signatures = Vec::new();
    let mut unsigned = String::new();
    for detail in details.as_array().into_iter().flatten() {
        // Claude's is the default of OpenRouter.
        let word = detail["format"].as_str().unwrap_or(FORMATS[0].0);
        let known = FORMATS.iter().find(|(known, _)| *known == word);
        let format = known.map_or(SignatureFormat::Other, |(_, format)| *format);
        unsigned.push_str(text_of_detail(detail).unwrap_or_default());
        if let Some(signature) = non_empty(&detail["signature"]) {
            let mut text = std::mem::take(&mut unsigned);
            if text.is_empty() {
                text.push_str(reasoning.take().unwrap_or_default());
            }
            // Without a text it is of no use to anyone.
            let format = if text.is_empty() { SignatureFormat::Other } else { format };
            let signature = signature.to_owned();
            signatures.push(SignedReasoning { format, provider: String::new(), text, call: None, signature });
        }
        if let Some(data) = non_empty(&detail["data"]) {
            let (provider, signature) = match format {
                SignatureFormat::Anthropic => ("", data),
                _ => data.split_once('.').unwrap_or(("", data)),
            };
            signatures.push(SignedReasoning {
                format,
                provider: provider.to_owned(),
                text: String::new(),
                call: non_empty(&detail["id"]).map(str::to_owned),
                signature: signature.to_owned(),
            });
        }
    }
    signatures
}

fn non_empty(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// A detail with a signature.
#[derive(Serialize)]
pub(crate) struct ReasoningDetail<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// The call that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    format: &'static str,
    index: usize,
}

impl<'a> ReasoningDetail<'a> {
    /// The detail at this place. Encrypted reasoning is preceded by the tag of its provider, the
    /// only one that can decrypt it.
    pub(crate) fn new(index: usize, signed: &'a SignedReasoning) -> Self {
        let format = FORMATS.iter().find(|(_, format)| *format == signed.format).map_or("unknown", |(word, _)| word);
        let plain =
            Self { r#type: "reasoning.encrypted", text: None, signature: None, data: None, id: None, format, index };
        match signed.format {
            SignatureFormat::Anthropic if !signed.is_redacted() => {
                Self { r#type: "reasoning.text", text: Some(&signed.text), signature: Some(&signed.signature), ..plain }
            }
            SignatureFormat::Anthropic => Self { data: Some(signed.signature.clone()), ..plain },
            _ => Self {
                data: Some(format!("{}.{}", signed.provider, signed.signature)),
                id: signed.call.as_deref(),
                ..plain
            },
        }
    }

    /// The details of a whole answer.
    pub(crate) fn all_of(signatures: &'a [SignedReasoning]) -> Vec<Self> {
        signatures.iter().enumerate().map(|(index, signed)| Self::new(index, signed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signed(format: SignatureFormat, text: &str, call: Option<&str>, signature: &str) -> SignedReasoning {
        let provider = if format == SignatureFormat::Anthropic { "" } else { "0a1b" };
        let (provider, text, signature) = (provider.into(), text.into(), signature.into());
        SignedReasoning { format, provider, text, call: call.map(str::to_owned), signature }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let signatures = [
            signed(SignatureFormat::Anthropic, "one", None, "s1"),
            signed(SignatureFormat::Anthropic, "", None, "redacted"),
            signed(SignatureFormat::Anthropic, "two", None, "s2"),
            signed(SignatureFormat::Responses, "", Some("call_1"), "e.e"),
            signed(SignatureFormat::Gemini, "", Some("call_2"), "t"),
        ];
        let details = serde_json::to_value(ReasoningDetail::all_of(&signatures)).unwrap();
        let first = json!({"type": "reasoning.text", "text": "one", "signature": "s1", "format": "anthropic-claude-v1", "index": 0});
        assert_eq!(details[0], first);
        let encrypted = json!({"type": "reasoning.encrypted", "data": "0a1b.e.e", "id": "call_1",
            "format": "openai-responses-v1", "index": 3});
        assert_eq!(details[3], encrypted);
        assert_eq!(signatures_of_details(&details, None), signatures);
        assert_eq!(reasoning_of_details(&details).as_deref(), Some("onetwo"));
    }

    #[test]
    fn pieces_of_a_stream_and_odd_values_are_read() {
        let pieces = json!([{"type": "reasoning.text", "text": "a"}, {"type": "reasoning.text", "text": "b"},
            {"type": "reasoning.text", "signature": "s", "format": null}]);
        let one = |text: &str| [signed(SignatureFormat::Anthropic, text, None, "s")];
        assert_eq!(signatures_of_details(&pieces, Some("ab")), one("ab"));
        let alone = json!([{"type": "reasoning.text", "signature": "s"}]);
        assert_eq!(signatures_of_details(&alone, Some("kept elsewhere")), one("kept elsewhere"));
        let other = json!([{"type": "reasoning.encrypted", "data": "x", "format": "xai-responses-v1"}]);
        assert_eq!(signatures_of_details(&other, None)[0].format, SignatureFormat::Other);
        for odd in [json!(null), json!("a"), json!([5, null, {"signature": 5, "data": {}, "text": []}])] {
            assert!(signatures_of_details(&odd, None).is_empty(), "{odd}");
        }
    }
}
