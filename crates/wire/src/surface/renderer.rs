//! The interface of a surface's renderer, which writes an answer as one body or as events.

use std::sync::Arc;

use chat::{Delta, Error, Reply, SignedReasoning};

use crate::sse;

/// Signs the text of a thinking block.
pub type Signer = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Renders one answer in the format of one surface.
pub trait Renderer: Send {
    /// The body of an answer that is not streamed, with one reply for each choice.
    ///
    /// # Errors
    /// `Internal` when a reply has no finish reason; the surface's error for an answer that was cut
    /// off.
    fn body(&self, replies: &[Reply]) -> Result<String, Error>;

    /// The content type of the stream.
    fn content_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    /// Sets the choice that the following deltas belong to, counted from 0. Most surfaces have one.
    fn set_choice(&mut self, _index: usize) {}

    /// Appends the events of one delta; none if it is held back until a later one.
    fn push(&mut self, delta: &Delta, out: &mut String);

    /// Whether the renderer keeps the content of `delta` until the end of the stream.
    fn buffers(&self, _delta: &Delta) -> bool {
        false
    }

    /// The name of what the API has no place for in this delta.
    fn dropped(&self, delta: &Delta) -> Option<&'static str> {
        match delta {
            Delta::Dropped(name) => Some(name),
            Delta::Citation(_) => Some("citations"),
            Delta::Media(media) => Some(media.name()),
            Delta::Signature(signed) => dropped_reasoning(signed),
            _ => None,
        }
    }

    /// The names of what [`Renderer::body`] leaves out of these replies, beside what
    /// [`Renderer::dropped`] names.
    fn missing(&self, _replies: &[Reply]) -> Vec<&'static str> {
        Vec::new()
    }

    /// Appends a note on the answer, for a stream whose headers are sent.
    fn note(&self, note: &str, out: &mut String) {
        sse::write_comment(&format!("x-compat-note: {note}"), out);
    }

    /// Appends the end of the stream.
    fn finish(&mut self, out: &mut String);

    /// Appends an error in the middle of the stream, and the end of the stream.
    fn fail(&mut self, error: &Error, out: &mut String);

    /// Appends a keep-alive.
    fn keep_alive(&self, out: &mut String) {
        sse::write_comment("keep-alive", out);
    }
}

/// The name of reasoning that only its provider can read, for APIs that do not return it.
pub(crate) fn dropped_reasoning(signed: &SignedReasoning) -> Option<&'static str> {
    signed.is_redacted().then_some("redacted_thinking")
}

/// The only reply, for surfaces with one choice.
///
/// # Errors
/// `Internal` when there are several.
pub(crate) fn single_reply(replies: &[Reply]) -> Result<&Reply, Error> {
    match replies {
        [reply] => Ok(reply),
        _ => Err(Error::internal("this surface answers with one choice")),
    }
}
