//! The images of a message, as OpenRouter has them, and its audio.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use chat::{Media, MediaKind, Reply};
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
    data: Cow<'a, str>,
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
    pub(crate) fn new(answer: &str, created: u64, media: &'a Media) -> Option<Self> {
        let (_, data) = media.data().filter(|_| media.kind == MediaKind::Audio)?;
        Some(Self::of_data(answer, created, "", Cow::Borrowed(data)))
    }

    /// The audio of a whole answer, of which samples are joined.
    pub(crate) fn of_reply(answer: &str, created: u64, reply: &'a Reply) -> Option<Self> {
        let audio = AudioPieces::of(&reply.media);
        let data = match audio.taken.as_slice() {
            [] => return None,
            [(_, data)] => Cow::Borrowed(*data),
            pieces => Cow::Owned(joined(pieces)),
        };
        Some(Self::of_data(answer, created, &reply.text, data))
    }

    fn of_data(answer: &str, created: u64, transcript: &'a str, data: Cow<'a, str>) -> Self {
        Self { id: format!("audio_{answer}"), data, expires_at: created + AUDIO_SECONDS, transcript }
    }
}

/// The pieces of the audio of one answer, for which the API has one place: one sound with a header,
/// or samples of one kind.
#[derive(Debug, Default)]
pub(crate) struct AudioPieces<'a> {
    /// Media types and data.
    taken: Vec<(&'a str, &'a str)>,
    is_any_left_out: bool,
}

impl<'a> AudioPieces<'a> {
    pub(crate) fn of(media: &'a [Media]) -> Self {
        let mut pieces = Self::default();
        for media in media.iter().filter(|media| media.kind == MediaKind::Audio) {
            let first = pieces.taken.first().map(|(media_type, _)| *media_type);
            match media.data().filter(|_| is_taken(first, media)) {
                Some(piece) => pieces.taken.push(piece),
                None => pieces.is_any_left_out = true,
            }
        }
        pieces
    }

    /// Whether a piece has no place.
    pub(crate) fn is_any_left_out(&self) -> bool {
        self.is_any_left_out
    }
}

/// Whether audio has a place behind the first piece of its answer, whose media type is `first`.
pub(crate) fn is_taken(first: Option<&str>, media: &Media) -> bool {
    match first {
        None => media.data().is_some(),
        Some(first) => media.samples().is_some_and(|(media_type, _)| media_type == first),
    }
}

/// The data of all pieces. A piece that is not base64 ends them.
fn joined(pieces: &[(&str, &str)]) -> String {
    let mut bytes = Vec::new();
    for (_, data) in pieces {
        let Ok(piece) = STANDARD.decode(data) else { break };
        bytes.extend(piece);
    }
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(pieces: &[(&str, &str)]) -> Reply {
        let media = pieces.iter().map(|(media_type, data)| Media::from_data(media_type, data).unwrap());
        Reply { media: media.collect(), ..Reply::default() }
    }

    #[test]
    fn samples_are_joined_and_other_sounds_are_left_out() {
        let samples = reply(&[("audio/pcm;rate=24000", "AAE="), ("audio/pcm;rate=24000", "AgM=")]);
        assert_eq!(Audio::of_reply("a", 0, &samples).unwrap().data, "AAECAw==");
        assert!(!AudioPieces::of(&samples.media).is_any_left_out());
        for second in [("audio/wav", "UklGRg=="), ("audio/pcm;rate=8000", "AAAA")] {
            let mixed = reply(&[("audio/wav", "UklGRg=="), second]);
            assert_eq!(Audio::of_reply("a", 0, &mixed).unwrap().data, "UklGRg==");
            assert!(AudioPieces::of(&mixed.media).is_any_left_out(), "{second:?}");
        }
        let address = Media { kind: MediaKind::Audio, url: "https://a.example/b.wav".into() };
        assert!(AudioPieces::of(&[address]).is_any_left_out());
        let odd = reply(&[("audio/pcm", "AAE="), ("audio/pcm", "!")]);
        assert_eq!(Audio::of_reply("a", 0, &odd).unwrap().data, "AAE=");
    }
}
