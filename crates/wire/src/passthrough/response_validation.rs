//! Validation of responses with status 200: whether a body can be the requested answer, before any
//! of it is forwarded.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::passthrough::endpoint::ApiEndpoint;
use crate::upstream::error::json_error_message;

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
            is_generic
                || is_json
                || ["text/event-stream", "text/plain", "application/x-ndjson", "application/vnd.amazon.eventstream"]
                    .contains(&&*essence)
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

/// The fields that identify images, embeddings and transcripts.
#[derive(Default, Deserialize)]
struct MediaFields {
    data: Option<Vec<IgnoredAny>>,
    images: Option<Vec<IgnoredAny>>,
    results: Option<Vec<IgnoredAny>>,
    text: Option<IgnoredAny>,
}

/// Validates a whole response of an endpoint of embeddings, images or audio. Answers of text are
/// judged by their [`progress`](crate::progress).
///
/// # Errors
/// The provider's error message; `None` if the body has none.
pub fn validate_media(endpoint: ApiEndpoint, content_type: &str, body: &[u8]) -> Result<(), Option<String>> {
    let is_text = matches!(endpoint, ApiEndpoint::Transcriptions | ApiEndpoint::Translations);
    let start = body.trim_ascii_start();
    if start.is_empty() {
        return Err(None);
    }
    if is_text && !content_type.contains("json") {
        return body_start_matches(BodyFormat::Text, body).then_some(()).ok_or(None);
    }
    let fields = (start[0] == b'{').then(|| serde_json::from_slice::<MediaFields>(body).ok()).flatten();
    let is_valid = fields.is_some_and(|fields| match endpoint {
        _ if is_text => fields.text.is_some(),
        ApiEndpoint::Moderations | ApiEndpoint::Rerank => fields.results.is_some(),
        _ => fields.data.is_some() || fields.images.is_some(),
    });
    if is_valid { Ok(()) } else { Err(json_error_message(body)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_medium_has_the_members_of_its_endpoint() {
        let json = |endpoint, body: &str| validate_media(endpoint, "application/json", body.as_bytes());
        for (endpoint, body) in [
            (ApiEndpoint::Embeddings, "\n {\"data\":[]}"),
            (ApiEndpoint::ImageGenerations, "{\"created\":1,\"data\":[]}"),
            (ApiEndpoint::Transcriptions, "{\"text\":\"a\"}"),
            (ApiEndpoint::Moderations, "{\"id\":\"modr-1\",\"results\":[{\"flagged\":false}]}"),
            (ApiEndpoint::Rerank, "{\"results\":[{\"index\":0,\"relevance_score\":0.5}]}"),
        ] {
            assert_eq!(json(endpoint, body), Ok(()), "{body}");
            for other in
                ["", "  ", "<html>", "{}", "[]", "null", "{\"data\":1}", "data: {}", "{\"data\":[]", "\"data\""]
            {
                assert!(json(endpoint, other).is_err(), "{endpoint:?} {other}");
            }
        }
        let refused = json(ApiEndpoint::Embeddings, "{\"error\":{\"message\":\"no credit\"}}");
        assert_eq!(refused, Err(Some("no credit".into())));
        assert!(validate_media(ApiEndpoint::Transcriptions, "text/plain", b"1\n00:00 whale").is_ok());
        assert!(validate_media(ApiEndpoint::Transcriptions, "text/plain", b"<!DOCTYPE html><p>").is_err());
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
