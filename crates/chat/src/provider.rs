//! The one seam between the halves: whoever can turn a [`Chat`] into [`BoxDeltaStream`].

use std::pin::Pin;

use futures_core::Stream;

use crate::{Chat, Delta, Error};

/// An answer on its way. Dropping it cancels the request.
pub type BoxDeltaStream = Pin<Box<dyn Stream<Item = Result<Delta, Error>> + Send>>;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that answers chats: the local engine, or a remote service.
pub trait Provider: Send + Sync {
    /// Judges value ranges and structure before anything is queued, and brings the lenient cases into plain form (each
    /// with a line in `chat.notes`). `chat.thinking` is already decided. A remote provider judges for itself.
    ///
    /// # Errors
    /// `Invalid`, with the text of the API document.
    fn validate(&self, chat: &mut Chat) -> Result<(), Error> {
        let _ = chat;
        Ok(())
    }

    /// Starts an answer. The future resolves when the request is admitted (queued), not when the first token is there.
    ///
    /// # Errors
    /// `Invalid` when the prompt does not fit, `Overload` when the queue is full, `Internal` when the engine is down.
    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<BoxDeltaStream, Error>>;

    /// The tokens of the chat's prompt, counted as [`Provider::chat`] would.
    ///
    /// # Errors
    /// `Invalid` when the prompt cannot be rendered, or when this provider cannot count.
    fn count_tokens(&self, chat: Chat) -> BoxFuture<'_, Result<u64, Error>> {
        let message = format!("{} cannot count tokens", chat.model);
        Box::pin(async move { Err(Error::invalid(message)) })
    }

    /// The tokens of the model's context, where they are known.
    fn context_length(&self) -> Option<u64> {
        None
    }

    /// Able to answer now. `/readyz` is 503 while this is false.
    fn is_ready(&self) -> bool {
        true
    }
}
