//! Conversion of error responses of providers.

use std::time::Duration;

use chat::{Error, ErrorKind, MODEL_NOT_FOUND};
use serde_json::{Value, json};

use crate::provider_limits::has_at_most_values;
use crate::upstream::retry_delay::retry_delay;

/// Maximum length of a code and of the name of a field.
const MAX_CODE_BYTES: usize = 64;

/// Converts an error response of a provider to the caller's error (API document 4.5). `body` is the
/// beginning of its body. A delay that only the body has is read from there.
pub fn map_error(provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> Error {
    error_of_status(&format!("The provider `{provider}`"), status, retry_after, body)
}

/// The error that an event, or a body of status 200, reports: as a response with the status that it
/// names.
pub fn reported_error(data: &[u8]) -> Error {
    let mut body = parse_small(data).unwrap_or_default();
    // Some services report it in the choice.
    if let Some(error) = body.pointer_mut("/choices/0/error").map(Value::take).filter(|error| !error.is_null()) {
        body = json!({ "error": error });
    }
    let data = body.to_string();
    match reported_status(&body) {
        Some(status) => error_of_status("The provider", status, None, data.as_bytes()),
        None => provider_error(error_message(data.as_bytes()).unwrap_or_else(|| "The provider broke off".into())),
    }
}

/// The error for a finish reason that means a failure, of the event `data`.
pub(crate) fn failed_finish(reason: &str, data: &[u8]) -> Error {
    let message = match parse_small(data).and_then(|_| error_message(data)) {
        Some(message) => message,
        None => format!("The provider ended the answer with `{reason:.64}`"),
    };
    provider_error(message)
}

/// Parses the body of an error. A large one is not parsed, because its tree would take too much
/// memory.
fn parse_small(data: &[u8]) -> Option<Value> {
    const MAX_VALUES: usize = 10_000;
    has_at_most_values(data, MAX_VALUES).then(|| serde_json::from_slice(data).ok()).flatten()
}

/// The status that the body of an error names, as a number or by a word of one of the APIs.
fn reported_status(body: &Value) -> Option<u16> {
    let fields = ["/error/code", "/error/status", "/error/type", "/code", "/status", "/__type"];
    let status_of = |value: &Value| match value {
        Value::String(word) => {
            // Amazon's services may put a namespace in front.
            let word = word.rsplit('#').next().unwrap_or_default().to_ascii_lowercase();
            STATUS_OF_WORD.iter().find(|(known, _)| *known == word).map(|(_, status)| *status)
        }
        number => number.as_u64().and_then(|status| u16::try_from(status).ok()).filter(|status| is_error(*status)),
    };
    fields.iter().find_map(|field| status_of(body.pointer(field)?))
}

fn is_error(status: u16) -> bool {
    (400..600).contains(&status)
}

/// The statuses of the words by which providers name errors, in lower case.
const STATUS_OF_WORD: [(&str, u16); 40] = [
    ("invalid_request_error", 400),
    ("context_length_exceeded", 400),
    ("invalid_argument", 400),
    ("failed_precondition", 400),
    ("invalid_prompt", 400),
    ("invalid_image", 400),
    ("validationexception", 400),
    ("authentication_error", 401),
    ("accessdeniedexception", 403),
    ("resourcenotfoundexception", 404),
    ("invalid_api_key", 401),
    ("unauthenticated", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("permission_denied", 403),
    ("not_found_error", 404),
    ("model_not_found", 404),
    ("not_found", 404),
    ("request_too_large", 413),
    ("rate_limit_error", 429),
    ("rate_limit_exceeded", 429),
    ("insufficient_quota", 429),
    ("servicequotaexceededexception", 429),
    ("throttlingexception", 429),
    ("resource_exhausted", 429),
    ("api_error", 500),
    ("server_error", 500),
    ("internal_error", 500),
    ("internal", 500),
    ("internalserverexception", 500),
    ("modelstreamerrorexception", 500),
    ("overloaded_error", 503),
    ("server_is_overloaded", 503),
    ("modelnotreadyexception", 503),
    ("serviceunavailableexception", 503),
    ("service_unavailable", 503),
    ("unavailable", 503),
    ("timeout_error", 504),
    ("deadline_exceeded", 504),
    ("modeltimeoutexception", 504),
];

/// The error for a response or an event with this status. `subject` names the provider.
fn error_of_status(subject: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> Error {
    let provider_message = error_message(body);
    let quoted = || match &provider_message {
        Some(message) => message.clone(),
        None => format!("{subject} answered with status {status}"),
    };
    let (kind, message) = match status {
        // These concern the operator, not the caller; the provider's text may contain
        // the operator's key.
        401 | 403 | 407 => (ErrorKind::Upstream(502), format!("{subject} refused this server's credentials")),
        // The caller does not control the HTTP request to the provider.
        405 | 406 | 411 | 417 | 421 | 426 | 428 | 431 => {
            (ErrorKind::Upstream(502), format!("{subject} answered with status {status}"))
        }
        402 => (ErrorKind::Overloaded, format!("{subject} is not available right now")),
        404 => {
            let message = || format!("{subject} does not have the model, or the path that it was asked at");
            (ErrorKind::NotFound, provider_message.clone().unwrap_or_else(message))
        }
        408 | 504 => (ErrorKind::Timeout, quoted()),
        413 => (ErrorKind::TooLarge, quoted()),
        429 => (ErrorKind::RateLimited, quoted()),
        400 => (ErrorKind::InvalidRequest, quoted()),
        401..=499 => (ErrorKind::Upstream(status), quoted()),
        // 529 is Anthropic's status for an overloaded server.
        503 | 529 => (ErrorKind::Overloaded, quoted()),
        _ => (ErrorKind::Upstream(502), quoted()),
    };
    let tree = parse_small(body);
    let retry_after = retry_after.or_else(|| retry_delay(tree.as_ref(), provider_message.as_deref()));
    let mut error = Error { retry_after, ..Error::new(kind, message) };
    let code = tree.as_ref().and_then(error_code);
    if status == 404 {
        let concerns_model = provider_message.is_none_or(|message| names_model(&message));
        error.code = concerns_model.then_some(MODEL_NOT_FOUND);
        error.provider_code = code.filter(|_| !concerns_model);
        error.param = tree.as_ref().and_then(error_param);
        return error;
    }
    // The other statuses concern the operator.
    if matches!(status, 400 | 413 | 422 | 429) {
        // A quota may count input tokens too, and does not concern the context.
        let message = provider_message.as_deref().filter(|_| status != 429).unwrap_or_default();
        error.provider_code = code.or_else(|| context_length_code(message));
        error.param = tree.as_ref().and_then(error_param);
    }
    error
}

/// The code of an error body, by which programs decide what to do.
fn error_code(body: &Value) -> Option<String> {
    let code = body.pointer("/error/code")?.as_str();
    let is_word = |code: &&str| {
        code.len() <= MAX_CODE_BYTES && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    let is_generic = |code: &&str| code.is_empty() || *code == "invalid_request_error";
    code.filter(is_word).filter(|code| !is_generic(code)).map(str::to_owned)
}

/// Whether the message of a 404 is about the model, which at Azure is a deployment.
fn names_model(message: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    ["model", "deployment", "endpoints found"].iter().any(|word| lower.contains(word))
}

/// The code for the message of a prompt that exceeds the context, whatever the provider calls it.
fn context_length_code(message: &str) -> Option<String> {
    let lower = message.to_ascii_lowercase();
    let exceeds = ["prompt is too long", "maximum context length", "context window", "input token count"];
    exceeds.iter().any(|words| lower.contains(words)).then(|| "context_length_exceeded".to_owned())
}

/// The invalid field of an error body.
fn error_param(body: &Value) -> Option<String> {
    let param = body.pointer("/error/param")?.as_str()?;
    Some(param.chars().take(MAX_CODE_BYTES).collect())
}

/// The message of an error body: `error.message`, `error`, `message` or `detail`, depending on the
/// service, or else short plain text.
fn error_message(body: &[u8]) -> Option<String> {
    const MAX_MESSAGE_CHARS: usize = 1000;
    let text = String::from_utf8_lossy(body);
    let value: Option<Value> = serde_json::from_str(&text).ok();
    let message = match &value {
        Some(value) => ["/error/message", "/error", "/message", "/detail"]
            .iter()
            .find_map(|pointer| value.pointer(pointer)?.as_str().map(str::to_owned)),
        // An HTML page is not a message.
        None if text.trim_start().starts_with('<') => None,
        None => Some(text.trim().to_owned()),
    };
    message.filter(|text| !text.is_empty()).map(|text| text.chars().take(MAX_MESSAGE_CHARS).collect())
}

/// The error message in a JSON body; `None` without one.
pub(crate) fn json_error_message(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Value>(body).ok().and_then(|_| error_message(body))
}

/// An error of the provider in the middle of an answer.
pub(crate) fn provider_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Upstream(502), message)
}

/// The error for an answer that is not of the provider's dialect.
pub(crate) fn not_of_its_dialect() -> Error {
    provider_error("The provider sent an answer that is not of its dialect")
}

/// The error for an event that cannot be parsed. Its reason is shortened, because the parser may
/// quote a long value of the wrong type.
pub(crate) fn invalid_event(error: &serde_json::Error) -> Error {
    let reason: String = error.to_string().chars().take(200).collect();
    provider_error(format!("The provider sent an event that cannot be read: {reason}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::surface::error::{error_body, http_status};

    fn mapped(status: u16, body: Value) -> (Option<String>, Option<String>) {
        let error = map_error("p", status, None, body.to_string().as_bytes());
        let rendered: Value = serde_json::from_str(&error_body(&error)).unwrap();
        (rendered["error"]["code"].as_str().map(str::to_owned), rendered["error"]["param"].as_str().map(str::to_owned))
    }

    #[test]
    fn codes_that_programs_act_on_survive() {
        let openai =
            |code: &str| json!({ "error": { "message": "no", "type": "t", "param": "messages", "code": code } });
        let code = |code: &str| Some(code.to_owned());
        assert_eq!(
            mapped(400, openai("context_length_exceeded")),
            (code("context_length_exceeded"), Some("messages".into()))
        );
        assert_eq!(mapped(429, openai("insufficient_quota")).0, code("insufficient_quota"));
        assert_eq!(mapped(429, json!({ "error": { "message": "slow down" } })).0, code("rate_limit_exceeded"));
        let anthropic = json!({ "type": "error", "error": { "type": "invalid_request_error",
            "message": "prompt is too long: 210000 tokens > 200000 maximum" } });
        assert_eq!(mapped(400, anthropic).0, code("context_length_exceeded"));
        let quota = json!({ "error": { "message": "Quota exceeded for input token count, limit: 15000 a minute" } });
        assert_eq!(mapped(429, quota).0, code("rate_limit_exceeded"));
        let missing = [
            openai("model_not_found"),
            json!({ "type": "error", "error": { "type": "not_found_error", "message": "model: claude-9" } }),
            json!({ "error": { "code": 404, "message": "models/x is not found for v1beta", "status": "NOT_FOUND" } }),
            json!({ "error": { "code": "DeploymentNotFound", "message": "The API deployment does not exist" } }),
            json!({ "object": "error", "message": "The model `x` does not exist.", "code": 404 }),
            json!({}),
        ];
        for mut body in missing {
            if body["error"]["message"] == "no" {
                body["error"]["message"] = "The model `x` does not exist".into();
            }
            let error = map_error("p", 404, None, body.to_string().as_bytes());
            assert_eq!((error.kind, http_status(&error)), (ErrorKind::NotFound, 404), "{body}");
            assert_eq!(mapped(404, body).0, code("model_not_found"));
        }
        assert_eq!(mapped(404, json!({ "error": { "message": "No such File" } })).0, code("not_found"));
        // A code that is not a word is not repeated, nor is a code that concerns the operator.
        assert_eq!(mapped(400, openai("a b\n")).0, code("invalid_request_error"));
        assert_eq!(mapped(401, openai("invalid_api_key")).0, code("bad_gateway"));
    }
}
