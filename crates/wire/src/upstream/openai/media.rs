//! The images and the audio of a message.

use chat::{Delta, Media, MediaKind};
use serde_json::Value;

/// The beginnings of sounds in base64, and their media types.
const SOUNDS: [(&str, &str); 4] =
    [("UklGR", "audio/wav"), ("T2dnU", "audio/ogg"), ("ZkxhQ", "audio/flac"), ("SUQz", "audio/mpeg")];

/// Reads images in the form of OpenRouter: as addresses, or as data.
pub(super) fn read_images(images: &[Value], out: &mut Vec<Delta>) {
    out.extend(images.iter().map(|image| match image["image_url"]["url"].as_str().filter(|url| !url.is_empty()) {
        Some(url) => Delta::Media(Media { kind: MediaKind::Image, url: url.to_owned() }),
        None => Delta::Dropped("images"),
    }));
}

/// The audio of a whole message, whose format only the request has named. A stream has it in pieces
/// of samples, the only format that it may have (OpenAI's `pcm16`).
pub(super) fn read_audio(audio: &Value, is_whole: bool) -> Option<Delta> {
    let data = audio["data"].as_str().filter(|data| !data.is_empty())?;
    if !is_whole {
        return Media::from_data("audio/pcm;rate=24000", data).map(Delta::Media);
    }
    let known = SOUNDS.iter().find(|(beginning, _)| data.starts_with(beginning));
    let media_type = known.map_or("audio/mpeg", |(_, media_type)| media_type);
    Media::from_data(media_type, data).map(Delta::Media)
}
