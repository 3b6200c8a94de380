//! Images in messages to providers.

use chat::Error;
use serde_json::Value;

/// An image: embedded data with its media type, or a URL.
pub(super) enum Image<'a> {
    Data { media_type: &'a str, base64: &'a str },
    Url(&'a str),
}

/// The image of a message part that is not text.
///
/// # Errors
/// `InvalidRequest` when the part is not an image.
pub(super) fn image_of<'a>(kind: &str, value: &'a Value) -> Result<Image<'a>, Error> {
    let url = value["image_url"]["url"].as_str().filter(|_| kind == "image_url");
    let url =
        url.ok_or_else(|| Error::invalid(format!("This model's provider takes no content of type `{kind:.64}`")))?;
    let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    Ok(data.map_or(Image::Url(url), |(media_type, base64)| Image::Data { media_type, base64 }))
}
