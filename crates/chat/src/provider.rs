//! The interface between the halves: a [`Provider`] turns a [`Chat`] into a [`BoxDeltaStream`].

use std::pin::Pin;

use futures_core::Stream;

use crate::{Chat, Delta, EngineStatus, Error};

/// A streamed answer. Dropping it cancels the request.
pub type BoxDeltaStream = Pin<Box<dyn Stream<Item = Result<Delta, Error>> + Send>>;

/// An answer that has been started.
pub struct StartedAnswer {
    pub deltas: BoxDeltaStream,
    /// Deviations from the request that are known only now (see `Chat::notes`).
    pub notes: Vec<String>,
}

impl From<BoxDeltaStream> for StartedAnswer {
    /// An answer without notes.
    fn from(deltas: BoxDeltaStream) -> Self {
        Self { deltas, notes: Vec::new() }
    }
}

/// A boxed future, as an object-safe trait needs it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A service that answers chats: the local engine or a remote provider.
///
/// A provider of your own turns a [`Chat`] into a stream of [`Delta`]s. This one repeats the last
/// message, word by word:
///
/// ```
/// use chat::{BoxDeltaStream, BoxFuture, Chat, Delta, Error, FinishReason, Input, Message};
/// use chat::{Provider, Role, StartedAnswer, Usage, fold};
/// use futures_util::{FutureExt, StreamExt, stream};
///
/// struct Echo;
///
/// impl Provider for Echo {
///     fn validate(&self, chat: &mut Chat) -> Result<(), Error> {
///         match &chat.input {
///             Input::Messages(messages) if !messages.is_empty() => Ok(()),
///             _ => Err(Error::invalid("there is no message to repeat")),
///         }
///     }
///
///     fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<StartedAnswer, Error>> {
///         Box::pin(async move {
///             let Input::Messages(messages) = &chat.input else {
///                 return Err(Error::invalid("there is no message to repeat"));
///             };
///             let text = messages.last().map(Message::text).unwrap_or_default();
///             let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
///             let tokens = words.len() as u64;
///             let prompt = Usage { prompt_tokens: tokens, ..Usage::default() };
///             let usage = Usage { completion_tokens: tokens, ..prompt };
///             let words = words.into_iter().map(|text| Delta::Text { text, logprobs: vec![] });
///             // The order that callers rely on: start, text, finish reason, usage.
///             let deltas = std::iter::once(Delta::Start(prompt))
///                 .chain(words)
///                 .chain([Delta::Finish(FinishReason::Stop), Delta::Usage(usage)]);
///             let deltas: Vec<Result<Delta, Error>> = deltas.map(Ok).collect();
///             // Dropping the stream cancels the answer: here there is nothing to stop.
///             Ok(StartedAnswer::from(Box::pin(stream::iter(deltas)) as BoxDeltaStream))
///         })
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let input = Input::Messages(vec![Message::new(Role::User, "hello, whale")]);
/// let mut chat = Chat { model: "echo".into(), input, ..Chat::default() };
/// Echo.validate(&mut chat)?;
/// // Nothing here waits, so the example needs no async runtime.
/// let answer = Echo.chat(chat).now_or_never().expect("an answer that is ready")?;
/// let deltas = answer.deltas.collect::<Vec<_>>().now_or_never().expect("a stream that is ready");
/// let reply = fold(deltas)?;
/// assert_eq!(reply.text, "hello, whale");
/// assert_eq!(reply.usage.map(|usage| usage.completion_tokens), Some(2));
/// # Ok(())
/// # }
/// ```
///
/// `crates/cachalot/src/commands/serve.rs` shows how a provider is served under a model id.
pub trait Provider: Send + Sync {
    /// Validates ranges and structure before the request is queued, and normalizes the cases that
    /// are accepted leniently (each adds a line to `chat.notes`). `chat.thinking` is already
    /// resolved. The default accepts everything: a remote provider validates its requests itself.
    ///
    /// # Errors
    /// `InvalidRequest`, with the text of the API document.
    fn validate(&self, chat: &mut Chat) -> Result<(), Error> {
        let _ = chat;
        Ok(())
    }

    /// Starts an answer. The future resolves when the request has been queued, before the first
    /// token.
    ///
    /// # Errors
    /// `InvalidRequest` when the prompt does not fit, `Overloaded` when the queue is full,
    /// `Internal` when the engine is down.
    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<StartedAnswer, Error>>;

    /// Counts the tokens of the chat's prompt, as [`Provider::chat`] would render it.
    ///
    /// # Errors
    /// `InvalidRequest` when the prompt cannot be rendered, or when this provider cannot count.
    fn count_tokens(&self, chat: Chat) -> BoxFuture<'_, Result<u64, Error>> {
        let message = format!("{} cannot count tokens", chat.model);
        Box::pin(async move { Err(Error::invalid(message)) })
    }

    /// The context length of the model in tokens, if known.
    fn context_length(&self) -> Option<u64> {
        None
    }

    /// Whether fields of other engines' APIs have an effect (see [`Chat::adopt_engine_fields`]).
    fn takes_engine_fields(&self) -> bool {
        true
    }

    /// Whether the provider can answer now. `/readyz` returns 503 while this is false.
    fn is_ready(&self) -> bool {
        true
    }

    /// The state of the engine of a local model; `None` for every other provider.
    fn engine_status(&self) -> Option<EngineStatus> {
        None
    }
}
