//! Requests for the number of tokens of a prompt, where a dialect has them.

use chat::{Chat, Error};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::upstream::dialect::Dialect;
use crate::upstream::responses;
use crate::upstream::signatures::SignatureStore;

/// The fields of a message that Anthropic counts.
const COUNTED: [&str; 6] = ["model", "messages", "system", "thinking", "tools", "tool_choice"];

/// A request for a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountRequest {
    /// The path below the base URL.
    pub path: String,
    pub body: String,
}

/// The answer, in either dialect.
#[derive(Deserialize)]
struct CountBody {
    #[serde(alias = "totalTokens")]
    input_tokens: u64,
}

impl Dialect {
    /// The request that counts the tokens of `chat`; `None` for a dialect that cannot. `change`
    /// changes the body of the chat to what the model takes.
    ///
    /// # Errors
    /// As [`Dialect::write_request`].
    pub fn count_request(
        self,
        chat: &Chat,
        model: &str,
        signatures: &dyn SignatureStore,
        change: impl FnOnce(String) -> Result<Vec<u8>, Error>,
    ) -> Result<Option<CountRequest>, Error> {
        if !matches!(self, Self::Responses | Self::Anthropic | Self::Gemini) {
            return Ok(None);
        }
        let body = change(self.write_request(chat, model, signatures)?.body)?;
        let mut fields: Map<String, Value> = serde_json::from_slice(&body)
            .map_err(|error| Error::internal(format!("a request is not an object: {error}")))?;
        Ok(Some(match self {
            Self::Responses => {
                responses::counted_fields(&mut fields);
                CountRequest { path: "responses/input_tokens".into(), body: Value::Object(fields).to_string() }
            }
            Self::Anthropic => {
                fields.retain(|name, _| COUNTED.contains(&name.as_str()));
                CountRequest { path: "messages/count_tokens".into(), body: Value::Object(fields).to_string() }
            }
            _ => {
                fields.insert("model".into(), format!("models/{model}").into());
                let body = json!({ "generateContentRequest": fields });
                CountRequest { path: format!("models/{model}:countTokens"), body: body.to_string() }
            }
        }))
    }
}

/// The count in an answer to a [`CountRequest`]; `None` if it has none.
pub fn parse_token_count(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<CountBody>(body).ok().map(|body| body.input_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_what_is_counted() {
        let body = json!({"model": "m", "max_tokens": 9, "temperature": 0.5, "system": "s", "stream": true,
            "messages": [{"role": "user", "content": "hi"}]});
        let chat = crate::surface::anthropic::parse_request(body.to_string().as_bytes(), false).unwrap().chat;
        let request =
            |dialect: Dialect| dialect.count_request(&chat, "claude", &(), |body| Ok(body.into_bytes())).unwrap();
        let body = |request: &CountRequest| serde_json::from_str::<Value>(&request.body).unwrap();
        let anthropic = request(Dialect::Anthropic).unwrap();
        assert_eq!(anthropic.path, "messages/count_tokens");
        let user = json!({"role": "user", "content": [{"type": "text", "text": "hi"}]});
        assert_eq!(body(&anthropic), json!({"model": "claude", "system": "s", "messages": [user]}));
        let gemini = request(Dialect::Gemini).unwrap();
        assert_eq!(gemini.path, "models/claude:countTokens");
        let inner = &body(&gemini)["generateContentRequest"];
        assert_eq!(
            (inner["model"].as_str(), &inner["contents"][0]["parts"]),
            (Some("models/claude"), &json!([{"text": "hi"}]))
        );
        let responses = request(Dialect::Responses).unwrap();
        assert_eq!(responses.path, "responses/input_tokens");
        let user = json!({"type": "message", "role": "user", "content": "hi"});
        assert_eq!(body(&responses), json!({"model": "claude", "instructions": "s", "input": [user]}));
        assert_eq!((request(Dialect::OpenAi), request(Dialect::DeepSeek)), (None, None));
    }

    #[test]
    fn both_answers_are_read() {
        assert_eq!(parse_token_count(br#"{"input_tokens": 14}"#), Some(14));
        assert_eq!(parse_token_count(br#"{"totalTokens": 31, "promptTokensDetails": []}"#), Some(31));
        assert_eq!((parse_token_count(b"{}"), parse_token_count(br#"{"input_tokens": -1}"#)), (None, None));
    }
}
