//! Validation of responses with status 200: whether a body can be the requested answer, before any
//! of it is forwarded.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::passthrough::endpoint::ApiEndpoint;
use crate::upstream::json_error_message;

/// The maximum number of bytes of an incomplete line that more bytes are waited for.
const MAX_PENDING_EVENT_BYTES: usize = 64 << 10;

/// The result of validating the first bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStart {
    /// The first event with data is an event of the requested API, or an error.
    Valid,
    /// The stream is something else.
    Invalid,
    /// More bytes are needed.
    Incomplete,
}

/// The format of a response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// Server-sent events.
    EventStream,
    /// One JSON object.
    Json,
    /// Text of any kind, or JSON.
    Text,
    /// Audio, images or video.
    Binary,
}

/// Whether a body in `format` may have this content type. A missing type and
/// `application/octet-stream` are always accepted, and `text/plain` for all but binary bodies,
/// because many services send wrong types. The bytes are validated later.
pub fn content_type_matches(format: BodyFormat, content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json" || essence.ends_with("+json");
    let is_generic = essence.is_empty() || essence == "application/octet-stream";
    match format {
        BodyFormat::EventStream => {
            is_generic || is_json || ["text/event-stream", "text/plain", "application/x-ndjson"].contains(&&*essence)
        }
        BodyFormat::Json => is_generic || is_json || essence == "text/plain",
        BodyFormat::Text => {
            is_generic
                || is_json
                || (essence.starts_with("text/") && essence != "text/html" && essence != "text/xml")
                || ["application/x-subrip", "application/srt"].contains(&&*essence)
        }
        BodyFormat::Binary => {
            is_generic
                || ["audio/", "video/", "image/"].iter().any(|kind| essence.starts_with(kind))
                || ["text/event-stream", "application/ogg", "application/zip", "binary/octet-stream"]
                    .contains(&&*essence)
        }
    }
}

/// Whether the first bytes of text or binary data can be the response. Refuses HTML and XML, and
/// for binary data also a complete JSON object, which is an error report.
pub fn body_start_matches(format: BodyFormat, bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    let is_markup = start.first() == Some(&b'<')
        && ["<!doctype", "<html", "<?xml", "<head", "<body"]
            .iter()
            .any(|tag| start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes())));
    match format {
        BodyFormat::Binary => {
            let is_json_object = start.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
            !is_markup && !is_json_object
        }
        _ => !is_markup,
    }
}

/// Validates the first bytes of an event stream, up to its first event with data.
pub fn validate_stream_start(endpoint: ApiEndpoint, bytes: &[u8]) -> StreamStart {
    const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
    // Empty, or not more than a part of a byte order mark.
    if BYTE_ORDER_MARK.starts_with(bytes) {
        return StreamStart::Incomplete;
    }
    let mut rest = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    while !rest.is_empty() {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return match rest {
                // A large event, such as an image, is accepted before it is complete.
                _ if rest.len() > MAX_PENDING_EVENT_BYTES && rest.starts_with(b"data:") => StreamStart::Valid,
                _ if may_be_sse_line(rest) && rest.len() <= MAX_PENDING_EVENT_BYTES => StreamStart::Incomplete,
                _ => StreamStart::Invalid,
            };
        };
        let line = rest[..end].trim_ascii();
        rest = &rest[end + 1..];
        if let Some(data) = line.strip_prefix(b"data:") {
            return if is_event_of(endpoint, data) { StreamStart::Valid } else { StreamStart::Invalid };
        }
        if !line.is_empty() && !may_be_sse_line(line) {
            return StreamStart::Invalid;
        }
    }
    // Keep-alive lines alone are not an event; the reader of the stream limits their number.
    StreamStart::Incomplete
}

/// Whether `line` is a line of an event stream, or the beginning of one.
fn may_be_sse_line(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    ["data:", "event:", "id:", "retry:", ":"].iter().any(|field| {
        let known = field.len().min(line.len());
        field.as_bytes()[..known] == line[..known]
    })
}

/// The fields that identify an event in any of the API formats.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventFields {
    choices: Option<IgnoredAny>,
    object: Option<IgnoredAny>,
    usage: Option<IgnoredAny>,
    #[serde(rename = "type")]
    kind: Option<IgnoredAny>,
    candidates: Option<IgnoredAny>,
    prompt_feedback: Option<IgnoredAny>,
    usage_metadata: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

fn is_event_of(endpoint: ApiEndpoint, data: &[u8]) -> bool {
    if endpoint == ApiEndpoint::Speech {
        return true;
    }
    // A derived `Deserialize` would also read the struct from an array.
    if data.trim_ascii_start().first() != Some(&b'{') {
        return false;
    }
    let Ok(event) = serde_json::from_slice::<EventFields>(data) else { return false };
    event.error.is_some()
        || match endpoint {
            ApiEndpoint::GenerateContent => {
                event.candidates.is_some() || event.prompt_feedback.is_some() || event.usage_metadata.is_some()
            }
            ApiEndpoint::Messages => event.kind.is_some(),
            _ if endpoint.media_name().is_some() => event.kind.is_some() || event.object.is_some(),
            _ => event.choices.is_some() || event.object.is_some() || event.usage.is_some(),
        }
}

/// The fields that identify a whole response in any of the API formats.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BodyFields {
    choices: Option<Vec<IgnoredAny>>,
    content: Option<Vec<IgnoredAny>>,
    candidates: Option<Vec<IgnoredAny>>,
    prompt_feedback: Option<IgnoredAny>,
    usage_metadata: Option<IgnoredAny>,
    data: Option<Vec<IgnoredAny>>,
    images: Option<Vec<IgnoredAny>>,
    text: Option<IgnoredAny>,
}

/// Validates a whole response of the endpoint.
///
/// # Errors
/// The provider's error message; `None` if the body has none.
pub fn validate_body(endpoint: ApiEndpoint, content_type: &str, body: &[u8]) -> Result<(), Option<String>> {
    let is_text = matches!(endpoint, ApiEndpoint::Transcriptions | ApiEndpoint::Translations);
    let start = body.trim_ascii_start();
    if start.is_empty() {
        return Err(None);
    }
    if is_text && !content_type.contains("json") {
        return body_start_matches(BodyFormat::Text, body).then_some(()).ok_or(None);
    }
    let fields = (start[0] == b'{').then(|| serde_json::from_slice::<BodyFields>(body).ok()).flatten();
    let is_valid = fields.is_some_and(|fields| match endpoint {
        ApiEndpoint::ChatCompletions | ApiEndpoint::Completions => fields.choices.is_some(),
        ApiEndpoint::Messages => fields.content.is_some(),
        ApiEndpoint::GenerateContent => {
            fields.candidates.is_some() || fields.prompt_feedback.is_some() || fields.usage_metadata.is_some()
        }
        ApiEndpoint::Transcriptions | ApiEndpoint::Translations => fields.text.is_some(),
        _ => fields.data.is_some() || fields.images.is_some(),
    });
    if is_valid { Ok(()) } else { Err(json_error_message(body)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_its_first_event() {
        use StreamStart::{Incomplete, Invalid, Valid};
        let chat = ApiEndpoint::ChatCompletions;
        for (endpoint, bytes, want) in [
            (chat, "data: {\"choices\":[]}\n\n", Valid),
            (chat, ": keep-alive\n\ndata: {\"choices\":[]}\n", Valid),
            (chat, "\u{feff}event: x\r\ndata: {\"object\":\"chat.completion.chunk\"}\r\n\r\n", Valid),
            (chat, "data: {\"error\":{\"message\":\"no\"}}\n\n", Valid),
            (chat, "", Incomplete),
            (chat, "da", Incomplete),
            (chat, ": keep-alive\n\n: keep-alive\n\n", Incomplete),
            (chat, "data: {\"choices\"", Incomplete),
            (chat, "<!doctype html>", Invalid),
            (chat, "{\"choices\":[]}", Invalid),
            (chat, "\n\n{\"choices\":[]}", Invalid),
            (chat, "data: {\"foo\":1}\n\n", Invalid),
            (chat, "data: [1]\n\n", Invalid),
            (chat, "data: [DONE]\n\n", Invalid),
            (chat, "data: <html>\n\n", Invalid),
            (ApiEndpoint::Messages, "event: message_start\ndata: {\"type\":\"message_start\"}\n\n", Valid),
            (ApiEndpoint::Messages, "data: {\"choices\":[]}\n\n", Invalid),
            (ApiEndpoint::GenerateContent, "data: {\"candidates\":[]}\r\n\r\n", Valid),
            (ApiEndpoint::GenerateContent, "[{\"candidates\":[]}]", Invalid),
            (ApiEndpoint::ImageGenerations, "data: {\"type\":\"image_generation.partial_image\"}\n", Valid),
        ] {
            assert_eq!(validate_stream_start(endpoint, bytes.as_bytes()), want, "{endpoint:?} {bytes}");
        }
        // An incomplete byte order mark.
        assert_eq!(
            (
                validate_stream_start(chat, b"\xef"),
                validate_stream_start(chat, b"\xef\xbb"),
                validate_stream_start(chat, b"\xef\xbb\xbf")
            ),
            (Incomplete, Incomplete, Incomplete)
        );
        let picture = format!("data: {{\"candidates\":[\"{}", "A".repeat(MAX_PENDING_EVENT_BYTES));
        assert_eq!(validate_stream_start(ApiEndpoint::GenerateContent, picture.as_bytes()), Valid);
    }

    #[test]
    fn a_whole_answer_has_the_members_of_its_dialect() {
        let json = |endpoint, body: &str| validate_body(endpoint, "application/json", body.as_bytes());
        for (endpoint, body) in [
            (ApiEndpoint::ChatCompletions, "\n {\"choices\":[{}]}"),
            (ApiEndpoint::Embeddings, "{\"data\":[]}"),
            (ApiEndpoint::Messages, "{\"type\":\"message\",\"content\":[]}"),
            (ApiEndpoint::GenerateContent, "{\"candidates\":[]}"),
            (ApiEndpoint::ImageGenerations, "{\"created\":1,\"data\":[]}"),
            (ApiEndpoint::Transcriptions, "{\"text\":\"a\"}"),
        ] {
            assert_eq!(json(endpoint, body), Ok(()), "{body}");
            for other in [
                "",
                "  ",
                "<html>",
                "{}",
                "[]",
                "null",
                "{\"choices\":1}",
                "data: {}",
                "{\"choices\":[]",
                "\"choices\"",
            ] {
                assert!(json(endpoint, other).is_err(), "{endpoint:?} {other}");
            }
        }
        let refused = json(ApiEndpoint::ChatCompletions, "{\"error\":{\"message\":\"no credit\"}}");
        assert_eq!(refused, Err(Some("no credit".into())));
        assert!(validate_body(ApiEndpoint::Transcriptions, "text/plain", b"1\n00:00 whale").is_ok());
        assert!(validate_body(ApiEndpoint::Transcriptions, "text/plain", b"<!DOCTYPE html><p>").is_err());
    }

    #[test]
    fn types_that_cannot_be_are_refused() {
        assert!(
            content_type_matches(BodyFormat::EventStream, "text/event-stream; charset=utf-8")
                && content_type_matches(BodyFormat::EventStream, "")
        );
        assert!(
            content_type_matches(BodyFormat::Json, "application/json")
                && content_type_matches(BodyFormat::Json, "Application/Problem+JSON")
        );
        assert!(
            content_type_matches(BodyFormat::Binary, "audio/mpeg")
                && content_type_matches(BodyFormat::Text, "text/vtt")
        );
        for form in [BodyFormat::EventStream, BodyFormat::Json, BodyFormat::Text, BodyFormat::Binary] {
            assert!(
                !content_type_matches(form, "text/html; charset=utf-8")
                    && !content_type_matches(form, "application/xml"),
                "{form:?}"
            );
        }
        assert!(
            !content_type_matches(BodyFormat::Binary, "application/json")
                && !content_type_matches(BodyFormat::Json, "image/png")
        );
        assert!(
            !body_start_matches(BodyFormat::Binary, b"<HTML>")
                && !body_start_matches(BodyFormat::Binary, b"{\"error\":1}")
        );
        assert!(body_start_matches(BodyFormat::Binary, b"ID3") && body_start_matches(BodyFormat::Binary, b"{\xff"));
    }
}
