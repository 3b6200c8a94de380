//! The images of a message, as OpenRouter has them, and its audio.

use chat::{Media, MediaKind};
use serde::Serialize;

/// The seconds for which a client may refer to audio. It is not kept here.
const AUDIO_SECONDS: u64 = 3600;

#[derive(Serialize)]
pub(crate) struct Image<'a> {
    r#type: &'static str,
    image_url: ImageUrl<'a>,
    index: usize,
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: &'a str,
}

#[derive(Serialize)]
pub(crate) struct Audio<'a> {
    id: String,
    data: &'a str,
    expires_at: u64,
    transcript: &'a str,
}

impl<'a> Image<'a> {
    /// The image at this place; `None` for audio.
    pub(crate) fn new(index: usize, media: &'a Media) -> Option<Self> {
        let image_url = ImageUrl { url: &media.url };
        (media.kind == MediaKind::Image).then_some(Self { r#type: "image_url", image_url, index })
    }

    /// The images of a whole answer.
    pub(crate) fn all_of(media: &'a [Media]) -> Vec<Self> {
        let images = media.iter().filter(|media| media.kind == MediaKind::Image);
        images.enumerate().filter_map(|(index, image)| Self::new(index, image)).collect()
    }
}

impl<'a> Audio<'a> {
    /// The audio of an answer with this id, made at this time. `None` for an image and for an
    /// address, which the API does not have.
    pub(crate) fn new(answer: &str, created: u64, transcript: &'a str, media: &'a Media) -> Option<Self> {
        let (_, data) = media.data().filter(|_| media.kind == MediaKind::Audio)?;
        Some(Self { id: format!("audio_{answer}"), data, expires_at: created + AUDIO_SECONDS, transcript })
    }
}

/// Whether the API has no place for it, beside others of the answer.
pub(crate) fn is_dropped(media: &Media, has_audio: bool) -> bool {
    media.kind == MediaKind::Audio && (has_audio || media.data().is_none())
}
