//! The HTTP status, code and body of errors on OpenAI-style surfaces. Other surfaces use the status
//! and the code in bodies of their own.

use chat::{Error, ErrorKind};
use serde::Serialize;

/// The HTTP status of an error.
pub fn http_status(error: &Error) -> u16 {
    status_type_and_code(error.kind).0
}

/// The code of an error.
pub(crate) fn error_code(error: &Error) -> &str {
    error.provider_code.as_deref().or(error.code).unwrap_or(status_type_and_code(error.kind).2)
}

/// The body of an error. It always has these four keys; `param` is null except where the API
/// documents it.
pub fn error_body(error: &Error) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Inner<'a>,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        message: &'a str,
        r#type: &'static str,
        param: Option<&'a str>,
        code: &'a str,
    }
    let (_, kind, _) = status_type_and_code(error.kind);
    let error = Inner { message: &error.message, r#type: kind, param: error.param.as_deref(), code: error_code(error) };
    serde_json::to_string(&Body { error }).expect("an error is plain data")
}

/// The status, `type` and `code`.
fn status_type_and_code(kind: ErrorKind) -> (u16, &'static str, &'static str) {
    const REQUEST: &str = "invalid_request_error";
    match kind {
        ErrorKind::InvalidRequest => (400, REQUEST, REQUEST),
        ErrorKind::Unauthorized => (401, "authentication_error", REQUEST),
        ErrorKind::InsufficientBalance => (402, "unknown_error", REQUEST),
        ErrorKind::Forbidden => (403, "permission_error", "model_not_allowed"),
        ErrorKind::NotFound => (404, REQUEST, "not_found"),
        ErrorKind::MethodNotAllowed => (405, REQUEST, "method_not_allowed"),
        ErrorKind::Conflict => (409, REQUEST, "conflict"),
        ErrorKind::TooLarge => (413, REQUEST, "request_too_large"),
        ErrorKind::UnsupportedMediaType => (415, REQUEST, "unsupported_media_type"),
        ErrorKind::RateLimited => (429, "rate_limit_error", "rate_limit_exceeded"),
        ErrorKind::HeadersTooLarge => (431, REQUEST, "headers_too_large"),
        ErrorKind::Internal => (500, "server_error", "server_error"),
        // A client error keeps the status of the provider; other errors become 502.
        ErrorKind::Upstream(status @ 400..=499) => (status, "upstream_error", "bad_gateway"),
        ErrorKind::Upstream(_) => (502, "upstream_error", "bad_gateway"),
        ErrorKind::Overloaded => (503, "service_unavailable_error", "service_unavailable_error"),
        ErrorKind::Timeout => (504, "upstream_error", "gateway_timeout"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_keys_are_always_there() {
        assert_eq!(
            error_body(&Error::invalid("Model Not Exist")),
            r#"{"error":{"message":"Model Not Exist","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#
        );
        let mut error = Error::new(ErrorKind::NotFound, "The model 'x' does not exist");
        (error.code, error.param) = (Some("model_not_found"), Some("model".into()));
        assert_eq!(http_status(&error), 404);
        assert_eq!(
            error_body(&error),
            r#"{"error":{"message":"The model 'x' does not exist","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#
        );
    }

    #[test]
    fn an_upstream_that_blames_the_caller_keeps_its_status() {
        assert_eq!(http_status(&Error::new(ErrorKind::Upstream(422), "no")), 422);
        assert_eq!(http_status(&Error::new(ErrorKind::Upstream(500), "no")), 502);
    }
}
