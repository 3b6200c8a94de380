//! The annotations of a message: the pages that its text cites.

use chat::Citation;
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Annotation<'a> {
    r#type: &'static str,
    url_citation: UrlCitation<'a>,
}

#[derive(Serialize)]
struct UrlCitation<'a> {
    url: &'a str,
    title: &'a str,
    start_index: usize,
    end_index: usize,
    /// The words of the page, as OpenRouter has them.
    #[serde(skip_serializing_if = "str::is_empty")]
    content: &'a str,
}

impl<'a> Annotation<'a> {
    /// The annotation for a citation; `None` for one of a document, which the API does not have.
    pub(crate) fn new(citation: &'a Citation) -> Option<Self> {
        let url_citation = UrlCitation {
            url: citation.url.as_deref()?,
            title: &citation.title,
            start_index: citation.start,
            end_index: citation.end,
            content: &citation.quote,
        };
        Some(Self { r#type: "url_citation", url_citation })
    }
}
