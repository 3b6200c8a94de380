//! How one surface writes an answer: whole, or event by event. Each dialect has its own; the server
//! knows only this.

use chat::{Delta, Error, Reply};

use crate::sse;

/// Writes one answer in the shape of one surface.
pub trait Renderer: Send {
    /// The body of an answer that is not streamed, of a reply for each choice.
    ///
    /// # Errors
    /// `Internal` when a reply never finished; what the surface says instead of an
    /// answer that was cut.
    fn body(&self, replies: &[Reply]) -> Result<String, Error>;

    /// What a stream of events is called.
    fn content_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    /// The deltas that follow are of this choice, counted from 0. Most surfaces have only one.
    fn set_choice(&mut self, _index: usize) {}

    /// Appends the events of one delta; none when it must wait for the next.
    fn push(&mut self, delta: &Delta, out: &mut String);

    /// It keeps what a delta says until the end of the stream.
    fn buffers(&self, _delta: &Delta) -> bool {
        false
    }

    /// Appends the end of the stream.
    fn finish(&mut self, out: &mut String);

    /// Appends a failure in the middle of the stream, and its end.
    fn fail(&mut self, error: &Error, out: &mut String);

    /// Appends a sign of life for a client that waits.
    fn keep_alive(&self, out: &mut String) {
        sse::write_comment("keep-alive", out);
    }
}

/// The reply of a surface that has one choice.
pub(crate) fn single_reply(replies: &[Reply]) -> Result<&Reply, Error> {
    match replies {
        [reply] => Ok(reply),
        _ => Err(Error::internal("this surface answers with one choice")),
    }
}
