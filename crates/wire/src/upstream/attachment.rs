//! Images, files and audio in messages to providers.

use chat::{Error, Part};
use serde_json::Value;

/// A message part that is not text.
pub(super) enum Attachment<'a> {
    Image(Source<'a>),
    File {
        name: Option<&'a str>,
        /// The media type of an address. A PDF has none.
        media_type: Option<&'a str>,
        source: Source<'a>,
    },
    Audio {
        /// The format by its usual ending, such as `mp3`.
        format: &'a str,
        base64: &'a str,
    },
}

/// Embedded data with its media type, or an address.
pub(super) enum Source<'a> {
    Data { media_type: &'a str, base64: &'a str },
    Url(&'a str),
}

impl<'a> Source<'a> {
    fn of(url: &'a str) -> Self {
        let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
        data.map_or(Self::Url(url), |(media_type, base64)| Self::Data { media_type, base64 })
    }
}

/// The attachment of a message part that is not text.
///
/// # Errors
/// `InvalidRequest` for a part of another kind, or one without its data.
pub(super) fn attachment_of<'a>(kind: &str, value: &'a Value) -> Result<Attachment<'a>, Error> {
    let attachment = match kind {
        "image_url" => value["image_url"]["url"].as_str().map(|url| Attachment::Image(Source::of(url))),
        "file" => {
            let file = &value["file"];
            let url = file["file_data"].as_str().or_else(|| file["file_url"].as_str());
            url.map(|url| Attachment::File {
                name: file["filename"].as_str(),
                media_type: file["media_type"].as_str(),
                source: Source::of(url),
            })
        }
        "input_audio" => {
            let audio = &value["input_audio"];
            let (format, data) = (audio["format"].as_str(), audio["data"].as_str());
            format.zip(data).map(|(format, base64)| Attachment::Audio { format, base64 })
        }
        _ => None,
    };
    attachment.ok_or_else(|| unsupported_content(kind))
}

/// The error for content that the provider does not take.
pub(super) fn unsupported_content(kind: &str) -> Error {
    Error::invalid(format!("This model's provider takes no content of type `{kind:.64}`"))
}

/// The parts of a message that are not text.
pub(super) fn attachments(parts: &[Part]) -> impl Iterator<Item = &Part> {
    parts.iter().filter(|part| matches!(part, Part::Other { .. }))
}
