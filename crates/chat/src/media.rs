//! Images and sounds of an answer.

/// An image or a sound of an answer, as its address or, like most, as a `data:` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    pub kind: MediaKind,
    pub url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    Image,
    Audio,
}

impl Media {
    /// An image or a sound of this media type as data in base64; `None` for anything else.
    pub fn from_data(media_type: &str, base64: &str) -> Option<Self> {
        let kind = MediaKind::of(media_type)?;
        Some(Self { kind, url: format!("data:{media_type};base64,{base64}") })
    }

    /// The media type and the data in base64; `None` for an address.
    pub fn data(&self) -> Option<(&str, &str)> {
        self.url.strip_prefix("data:")?.split_once(";base64,")
    }

    /// The media type and the data of samples without a header, which may be joined.
    pub fn samples(&self) -> Option<(&str, &str)> {
        let (media_type, data) = self.data()?;
        let name = media_type.split(';').next()?;
        (name.eq_ignore_ascii_case("audio/pcm") || name.eq_ignore_ascii_case("audio/l16")).then_some((media_type, data))
    }

    /// The media type without its format.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            MediaKind::Image => "image",
            MediaKind::Audio => "audio",
        }
    }

    /// The name of the kind, for notes.
    pub fn name(&self) -> &'static str {
        match self.kind {
            MediaKind::Image => "images",
            MediaKind::Audio => "audio",
        }
    }
}

impl MediaKind {
    /// The kind of a media type.
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type.split('/').next()? {
            "image" => Some(Self::Image),
            "audio" => Some(Self::Audio),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_found_again_in_its_url() {
        let image = Media::from_data("image/png", "iVBOR").unwrap();
        assert_eq!((image.url.as_str(), image.data()), ("data:image/png;base64,iVBOR", Some(("image/png", "iVBOR"))));
        assert_eq!(Media::from_data("audio/wav", "UklG").unwrap().kind, MediaKind::Audio);
        let samples = Media::from_data("audio/L16;codec=pcm;rate=24000", "AAAA").unwrap();
        assert_eq!(samples.samples(), Some(("audio/L16;codec=pcm;rate=24000", "AAAA")));
        assert_eq!(Media::from_data("audio/wav", "UklG").unwrap().samples(), None);
        assert_eq!(Media::from_data("video/mp4", "AAAA"), None);
        assert_eq!(Media { kind: MediaKind::Image, url: "https://a.example/b.png".into() }.data(), None);
    }
}
