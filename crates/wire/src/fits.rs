//! Whether what a provider sends with status 200 can be the answer that was asked for, judged before any of it goes on.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::passage::Passage;

/// Bytes of an event after which it is not waited for.
const ENOUGH: usize = 64 << 10;

/// The verdict on the first bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Events of the dialect.
    Fits,
    /// Something else.
    Differs,
    /// More bytes are needed.
    Open,
}

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Events,
    /// One JSON object.
    Json,
    /// Text of any kind, or JSON.
    Text,
    /// Sound, pictures, films.
    Binary,
}

/// Whether an answer of this content type can have the form. What services leave out or call plain text is judged by its bytes.
pub fn type_fits(form: Form, content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (is_json, is_open) = (
        essence == "application/json" || essence.ends_with("+json"),
        essence.is_empty() || essence == "application/octet-stream",
    );
    match form {
        Form::Events => {
            is_open || is_json || ["text/event-stream", "text/plain", "application/x-ndjson"].contains(&&*essence)
        }
        Form::Json => is_open || is_json || essence == "text/plain",
        Form::Text => {
            is_open
                || is_json
                || (essence.starts_with("text/") && essence != "text/html" && essence != "text/xml")
                || ["application/x-subrip", "application/srt"].contains(&&*essence)
        }
        Form::Binary => {
            is_open
                || ["audio/", "video/", "image/"].iter().any(|kind| essence.starts_with(kind))
                || ["text/event-stream", "application/ogg", "application/zip", "binary/octet-stream"]
                    .contains(&&*essence)
        }
    }
}

/// Whether bytes that begin an answer without a form of its own can be it: not a page for people, not a report in JSON.
pub fn bytes_fit(form: Form, bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    let is_page = start.first() == Some(&b'<')
        && ["<!doctype", "<html", "<?xml", "<head", "<body"]
            .iter()
            .any(|tag| start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes())));
    match form {
        Form::Binary => {
            let is_report = start.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
            !is_page && !is_report
        }
        _ => !is_page,
    }
}

/// Judges the first bytes of a stream of events, up to its first event with data.
pub fn begins(passage: Passage, bytes: &[u8]) -> Beginning {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if MARK.starts_with(bytes) {
        return Beginning::Open;
    }
    let mut rest = bytes.strip_prefix(MARK).unwrap_or(bytes);
    while !rest.is_empty() {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return match rest {
                // A large event, such as a picture, is not waited for.
                _ if rest.len() > ENOUGH && rest.starts_with(b"data:") => Beginning::Fits,
                _ if is_line(rest) && rest.len() <= ENOUGH => Beginning::Open,
                _ => Beginning::Differs,
            };
        };
        let line = rest[..end].trim_ascii();
        rest = &rest[end + 1..];
        if let Some(data) = line.strip_prefix(b"data:") {
            return if is_event(passage, data) { Beginning::Fits } else { Beginning::Differs };
        }
        if !line.is_empty() && !is_line(line) {
            return Beginning::Differs;
        }
    }
    // Signs of life alone are no event, however many: who reads them bounds them.
    Beginning::Open
}

/// A line of an event stream, or the beginning of one.
fn is_line(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    ["data:", "event:", "id:", "retry:", ":"].iter().any(|field| {
        let known = field.len().min(line.len());
        field.as_bytes()[..known] == line[..known]
    })
}

/// The members that tell an answer of a dialect from other JSON. Those of all dialects: each looks at its own.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
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

fn is_event(passage: Passage, data: &[u8]) -> bool {
    if passage == Passage::Speech {
        return true;
    }
    // Deriving reads an array as well.
    if data.trim_ascii_start().first() != Some(&b'{') {
        return false;
    }
    let Ok(event) = serde_json::from_slice::<Members>(data) else { return false };
    event.error.is_some()
        || match passage {
            Passage::GenerateContent => {
                event.candidates.is_some() || event.prompt_feedback.is_some() || event.usage_metadata.is_some()
            }
            Passage::Messages => event.kind.is_some(),
            _ if passage.medium().is_some() => event.kind.is_some() || event.object.is_some(),
            _ => event.choices.is_some() || event.object.is_some() || event.usage.is_some(),
        }
}

/// The members of a whole answer that have to be lists.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lists {
    choices: Option<Vec<IgnoredAny>>,
    content: Option<Vec<IgnoredAny>>,
    candidates: Option<Vec<IgnoredAny>>,
    prompt_feedback: Option<IgnoredAny>,
    usage_metadata: Option<IgnoredAny>,
    data: Option<Vec<IgnoredAny>>,
    images: Option<Vec<IgnoredAny>>,
    text: Option<IgnoredAny>,
}

/// Whether a whole answer is one of its dialect.
///
/// # Errors
/// The provider's own error message, where the body has one.
pub fn whole(passage: Passage, content_type: &str, body: &[u8]) -> Result<(), Option<String>> {
    let is_text = matches!(passage, Passage::Transcriptions | Passage::Translations);
    let start = body.trim_ascii_start();
    if start.is_empty() {
        return Err(None);
    }
    if is_text && !content_type.contains("json") {
        return bytes_fit(Form::Text, body).then_some(()).ok_or(None);
    }
    let read = (start[0] == b'{').then(|| serde_json::from_slice::<Lists>(body).ok()).flatten();
    let fits = read.is_some_and(|lists| match passage {
        Passage::ChatCompletions | Passage::Completions => lists.choices.is_some(),
        Passage::Messages => lists.content.is_some(),
        Passage::GenerateContent => {
            lists.candidates.is_some() || lists.prompt_feedback.is_some() || lists.usage_metadata.is_some()
        }
        Passage::Transcriptions | Passage::Translations => lists.text.is_some(),
        _ => lists.data.is_some() || lists.images.is_some(),
    });
    if fits { Ok(()) } else { Err(crate::upstream::words(body)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_its_first_event() {
        use Beginning::{Differs, Fits, Open};
        let chat = Passage::ChatCompletions;
        for (passage, bytes, want) in [
            (chat, "data: {\"choices\":[]}\n\n", Fits),
            (chat, ": keep-alive\n\ndata: {\"choices\":[]}\n", Fits),
            (chat, "\u{feff}event: x\r\ndata: {\"object\":\"chat.completion.chunk\"}\r\n\r\n", Fits),
            (chat, "data: {\"error\":{\"message\":\"no\"}}\n\n", Fits),
            (chat, "", Open),
            (chat, "da", Open),
            (chat, ": keep-alive\n\n: keep-alive\n\n", Open),
            (chat, "data: {\"choices\"", Open),
            (chat, "<!doctype html>", Differs),
            (chat, "{\"choices\":[]}", Differs),
            (chat, "\n\n{\"choices\":[]}", Differs),
            (chat, "data: {\"foo\":1}\n\n", Differs),
            (chat, "data: [1]\n\n", Differs),
            (chat, "data: [DONE]\n\n", Differs),
            (chat, "data: <html>\n\n", Differs),
            (Passage::Messages, "event: message_start\ndata: {\"type\":\"message_start\"}\n\n", Fits),
            (Passage::Messages, "data: {\"choices\":[]}\n\n", Differs),
            (Passage::GenerateContent, "data: {\"candidates\":[]}\r\n\r\n", Fits),
            (Passage::GenerateContent, "[{\"candidates\":[]}]", Differs),
            (Passage::ImageGenerations, "data: {\"type\":\"image_generation.partial_image\"}\n", Fits),
        ] {
            assert_eq!(begins(passage, bytes.as_bytes()), want, "{passage:?} {bytes}");
        }
        // A byte order mark that is not whole yet.
        assert_eq!(
            (begins(chat, b"\xef"), begins(chat, b"\xef\xbb"), begins(chat, b"\xef\xbb\xbf")),
            (Open, Open, Open)
        );
        let picture = format!("data: {{\"candidates\":[\"{}", "A".repeat(ENOUGH));
        assert_eq!(begins(Passage::GenerateContent, picture.as_bytes()), Fits);
    }

    #[test]
    fn a_whole_answer_has_the_members_of_its_dialect() {
        let json = |passage, body: &str| whole(passage, "application/json", body.as_bytes());
        for (passage, body) in [
            (Passage::ChatCompletions, "\n {\"choices\":[{}]}"),
            (Passage::Embeddings, "{\"data\":[]}"),
            (Passage::Messages, "{\"type\":\"message\",\"content\":[]}"),
            (Passage::GenerateContent, "{\"candidates\":[]}"),
            (Passage::ImageGenerations, "{\"created\":1,\"data\":[]}"),
            (Passage::Transcriptions, "{\"text\":\"a\"}"),
        ] {
            assert_eq!(json(passage, body), Ok(()), "{body}");
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
                assert!(json(passage, other).is_err(), "{passage:?} {other}");
            }
        }
        let said = json(Passage::ChatCompletions, "{\"error\":{\"message\":\"no credit\"}}");
        assert_eq!(said, Err(Some("no credit".into())));
        assert!(whole(Passage::Transcriptions, "text/plain", b"1\n00:00 whale").is_ok());
        assert!(whole(Passage::Transcriptions, "text/plain", b"<!DOCTYPE html><p>").is_err());
    }

    #[test]
    fn types_that_cannot_be_are_refused() {
        assert!(type_fits(Form::Events, "text/event-stream; charset=utf-8") && type_fits(Form::Events, ""));
        assert!(type_fits(Form::Json, "application/json") && type_fits(Form::Json, "Application/Problem+JSON"));
        assert!(type_fits(Form::Binary, "audio/mpeg") && type_fits(Form::Text, "text/vtt"));
        for form in [Form::Events, Form::Json, Form::Text, Form::Binary] {
            assert!(!type_fits(form, "text/html; charset=utf-8") && !type_fits(form, "application/xml"), "{form:?}");
        }
        assert!(!type_fits(Form::Binary, "application/json") && !type_fits(Form::Json, "image/png"));
        assert!(!bytes_fit(Form::Binary, b"<HTML>") && !bytes_fit(Form::Binary, b"{\"error\":1}"));
        assert!(bytes_fit(Form::Binary, b"ID3") && bytes_fit(Form::Binary, b"{\xff"));
    }
}
