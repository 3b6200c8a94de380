//! The files of OpenAI's batches: JSON Lines with a request or an answer on each line (API document
//! 2.10).

use chat::{Error, Usage};
use serde_json::Value;

use crate::passthrough::ApiEndpoint;
use crate::passthrough::json_fields::JsonFields;
use crate::progress::chat_completions::OpenAiUsage;
use crate::progress::responses::ResponsesUsage;
use crate::token_count::ProviderUsage;

/// The endpoints whose requests a batch may have, by the addresses that its lines name. Others are
/// not priced by what an answer reports.
const ENDPOINTS: [(&str, ApiEndpoint); 5] = [
    ("/v1/chat/completions", ApiEndpoint::ChatCompletions),
    ("/v1/completions", ApiEndpoint::Completions),
    ("/v1/embeddings", ApiEndpoint::Embeddings),
    ("/v1/moderations", ApiEndpoint::Moderations),
    ("/v1/responses", ApiEndpoint::Responses),
];

/// The endpoint of an address in a batch.
///
/// # Errors
/// `InvalidRequest` for one that batches do not have here.
pub fn endpoint_of(url: &str) -> Result<ApiEndpoint, Error> {
    let found = ENDPOINTS.iter().find(|(known, _)| *known == url);
    found.map(|(_, endpoint)| *endpoint).ok_or_else(|| {
        let known: Vec<_> = ENDPOINTS.iter().map(|(known, _)| *known).collect();
        Error::invalid(format!("a batch takes requests to {}, not to `{url:.64}`", known.join(", ")))
    })
}

/// The lines of a file that are not empty, with their numbers from 1.
pub fn lines(file: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let file = file.strip_prefix("\u{feff}".as_bytes()).unwrap_or(file);
    let numbered = (1..).zip(file.split(|byte| *byte == b'\n'));
    numbered.map(|(number, line)| (number, line.trim_ascii())).filter(|(_, line)| !line.is_empty())
}

/// A line of an input file.
#[derive(Clone, Debug)]
pub struct BatchRequest<'a> {
    line: JsonFields<'a>,
    /// The address that the line names.
    pub url: String,
    /// The body of the request: an object.
    pub body: &'a [u8],
}

impl<'a> BatchRequest<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// `InvalidRequest` for a line that is not a request: it needs `custom_id`, `url` and `body`.
    pub fn read(line: &'a [u8]) -> Result<Self, Error> {
        let fields = JsonFields::scan(line).map_err(|_| {
            Error::invalid("it is not a JSON object, which must be on one line and have no field twice")
        })?;
        let missing = |name: &str| Error::invalid(format!("it has no field `{name}`"));
        if fields.text("custom_id").is_none() {
            return Err(Error::invalid("it has no field `custom_id`, a text by which its answer is found"));
        }
        if fields.get("method").is_some_and(|_| fields.text("method").as_deref() != Some("POST")) {
            return Err(Error::invalid("its `method` is not \"POST\""));
        }
        let url = fields.text("url").ok_or_else(|| missing("url"))?;
        let body = fields.get("body").filter(|body| body.starts_with(b"{")).ok_or_else(|| missing("body"))?;
        Ok(Self { line: fields, url, body })
    }

    /// The line with another body.
    pub fn with_body(&self, body: String) -> Vec<u8> {
        self.line.with_changes(&[("body", body)])
    }
}

/// The usage that a batch reports as a whole; `None` where its provider does not report it.
pub fn usage_of_batch(batch: &Value) -> Option<Usage> {
    let usage = batch.get("usage").filter(|usage| usage.is_object())?;
    let usage = read_usage(usage.to_string().as_bytes())?;
    // Older objects have the field, but no counts.
    let has_answers = batch["request_counts"]["completed"].as_u64().unwrap_or(0) > 0;
    (!has_answers || usage.prompt_tokens > 0 || usage.completion_tokens > 0).then_some(usage)
}

/// An answer on a line of an output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOutcome {
    /// The request failed, and costs nothing.
    Failed,
    /// The answer has this usage; `None` where it has none.
    Answered(Option<Usage>),
}

/// Reads a line of an output file.
pub fn read_outcome(line: &[u8]) -> LineOutcome {
    let field = |object: &[u8], name: &str| Some(JsonFields::scan(object).ok()?.get(name)?.to_vec());
    let Some(response) = field(line, "response") else { return LineOutcome::Failed };
    let status = field(&response, "status_code").and_then(|status| serde_json::from_slice::<u16>(&status).ok());
    let Some(body) = field(&response, "body") else { return LineOutcome::Failed };
    if status.is_some_and(|status| !(200..300).contains(&status)) {
        return LineOutcome::Failed;
    }
    LineOutcome::Answered(field(&body, "usage").and_then(|usage| read_usage(&usage)))
}

/// Reads an object of usage: chat completions and embeddings count `prompt_tokens`, responses
/// `input_tokens`.
fn read_usage(usage: &[u8]) -> Option<Usage> {
    let text = std::str::from_utf8(usage).ok()?;
    let completions = OpenAiUsage::parse(text).and_then(OpenAiUsage::into_usage);
    completions.or_else(|| ResponsesUsage::parse(text).and_then(ResponsesUsage::into_usage))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_are_numbered_as_an_editor_does() {
        let file = "\u{feff}{\"a\":1}\r\n\n  {\"b\":2}\n";
        let read: Vec<_> = lines(file.as_bytes()).collect();
        assert_eq!(read, [(1, b"{\"a\":1}".as_slice()), (3, b"{\"b\":2}".as_slice())]);
        assert_eq!(lines(b"").count() + lines(b"\n \n").count(), 0);
    }

    #[test]
    fn a_request_keeps_its_other_bytes() {
        let line = br#"{"custom_id": "1", "method":"POST","url":"/v1/embeddings","body":{"model":"m"}, "x":[1] }"#;
        let request = BatchRequest::read(line).unwrap();
        assert_eq!((request.url.as_str(), request.body), ("/v1/embeddings", br#"{"model":"m"}"#.as_slice()));
        let changed = String::from_utf8(request.with_body(r#"{"model":"n"}"#.into())).unwrap();
        assert_eq!(changed, String::from_utf8_lossy(line).replace(r#""m""#, r#""n""#));
        for (bad, word) in [
            ("[1]", "one line"),
            (r#"{"url":"/v1/embeddings","body":{}}"#, "custom_id"),
            (r#"{"custom_id":"1","body":{}}"#, "`url`"),
            (r#"{"custom_id":"1","url":"x","body":[]}"#, "`body`"),
            (r#"{"custom_id":"1","url":"x","method":"GET","body":{}}"#, "method"),
            (r#"{"custom_id":"1","custom_id":"2","url":"x","body":{}}"#, "twice"),
        ] {
            let error = BatchRequest::read(bad.as_bytes()).unwrap_err().message;
            assert!(error.contains(word), "{bad}: {error}");
        }
        assert_eq!(endpoint_of("/v1/chat/completions").unwrap(), ApiEndpoint::ChatCompletions);
        assert!(endpoint_of("/v1/images/generations").unwrap_err().message.contains("/v1/responses"));
    }

    #[test]
    fn usage_is_read_in_every_spelling() {
        let usage = |prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens| Usage {
            prompt_tokens,
            cached_tokens,
            completion_tokens,
            reasoning_tokens,
            ..Usage::default()
        };
        let batch = json!({"request_counts": {"completed": 2}, "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 3},
            "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 14}});
        assert_eq!(usage_of_batch(&batch), Some(usage(9, 3, 5, Some(1))));
        assert_eq!(usage_of_batch(&json!({"usage": null})), None);
        let zero = json!({"input_tokens": 0, "output_tokens": 0});
        assert_eq!(usage_of_batch(&json!({"request_counts": {"completed": 2}, "usage": zero})), None);
        assert_eq!(usage_of_batch(&json!({"request_counts": {"completed": 0}, "usage": zero})), Some(Usage::default()));
        let line =
            |response: Value| read_outcome(json!({"custom_id": "1", "response": response}).to_string().as_bytes());
        let body = json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}});
        assert_eq!(line(json!({"status_code": 200, "body": body})), LineOutcome::Answered(Some(usage(7, 0, 2, None))));
        assert_eq!(line(json!({"status_code": 200, "body": {"id": "x"}})), LineOutcome::Answered(None));
        assert_eq!(line(json!({"status_code": 400, "body": {"error": {}}})), LineOutcome::Failed);
        assert_eq!(line(Value::Null), LineOutcome::Failed);
        assert_eq!(read_outcome(b"not JSON"), LineOutcome::Failed);
    }
}
