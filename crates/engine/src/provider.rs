//! The engine as a provider: from a chat to a request in the queue.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use chat::{BoxFuture, Chat, Deltas, Error, FinishReason, Input, Provider};
use text::{Encoding, EncodingName, PromptLimit, RenderError, Rendered};
use tokio::sync::watch;

use crate::check::{Limits, ReasoningRules, budget, check, context_exceeded};
use crate::engine::Engine;
use crate::grammar::{Bans, Constraint};
use crate::line::{Line, Progress};
use crate::sample::Sampler;
use crate::schedule::too_busy;
use crate::sequence::Request;

impl Provider for Engine {
    fn check(&self, chat: &mut Chat) -> Result<(), Error> {
        check(chat, self.limits())
    }

    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<Deltas, Error>> {
        Box::pin(self.answer(chat, None))
    }

    fn count(&self, chat: Chat) -> BoxFuture<'_, Result<u64, Error>> {
        // Who counts wants to know by how much it is too long, within reason.
        let most = (self.limits().context as usize).saturating_mul(2);
        Box::pin(async move { Ok(self.prepare(chat, most).await?.1.tokens.len() as u64) })
    }

    fn context(&self) -> Option<u64> {
        Some(self.limits().context.into())
    }

    fn ready(&self) -> bool {
        self.is_ready()
    }
}

impl Engine {
    /// As [`Provider::chat`], and tells `progress` how far the prompt has been read until the first token is drawn.
    ///
    /// # Errors
    /// `Invalid` when the prompt cannot be rendered or does not fit, `Overload` when the queue is full, `Internal` when the engine
    /// is down.
    pub async fn answer(&self, chat: Chat, progress: Option<watch::Sender<Progress>>) -> Result<Deltas, Error> {
        let (chat, rendered, constraint) = self.prepare(chat, self.limits().context as usize).await?;
        let budget = budget(&chat, self.limits(), rendered.tokens.len())?;
        let filled = chat.max_tokens.is_none() && rendered.tokens.len() + budget >= self.limits().context as usize;
        let place = self.shared.queue.clone().try_acquire_owned().map_err(|_| too_busy())?;

        let encoding = &self.shared.encoding;
        let seed = self.shared.seed.map_or_else(random_seed, |seed| seed as u64);
        let (line, deltas) = Line::new(self.shared.unread);
        let request = Request {
            budget,
            full: if filled { FinishReason::ContextFull } else { FinishReason::Length },
            salt: chat.user.as_deref().map(Into::into),
            thinking: chat.thinking == Some(true),
            top_logprobs: (chat.logprobs == Some(true)).then(|| chat.top_logprobs.unwrap_or(0).clamp(0, 20) as usize),
            sampler: Sampler::new(&chat.sampling, seed, encoding.tokenizer().len()),
            constraint,
            bans: Bans { raw: !matches!(chat.input, Input::Messages(_)) },
            decoder: encoding.decoder(&chat, &rendered),
            prompt: rendered.tokens,
            encoding: encoding.clone(),
            line,
            progress,
            place,
        };
        let down = |_| Error::internal("the engine is down, the server must be restarted");
        self.shared.requests.send(request).map_err(down)?;
        Ok(deltas)
    }

    /// Prompt and constraint of a chat, of at most so many tokens. A long prompt takes milliseconds and many times its own memory to
    /// encode: not on the runtime's own threads, and few at once.
    async fn prepare(&self, chat: Chat, most: usize) -> Result<(Chat, Rendered, Option<Constraint>), Error> {
        let shared = self.shared.clone();
        // Never closed. The turn ends with the work, also where nobody waits for it any more.
        let turn = self.shared.encoders.clone().acquire_owned().await;
        let limit = PromptLimit::new(most);
        let _cancelled = CancelOnDrop(limit.cancelled.clone());
        let prepare = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let rendered = shared
                .encoding
                .render_within(&chat, &limit)
                .map_err(|error| refusal(error, &chat, shared.limits.context as usize))?;
            let constraint = match shared.encoding.grammar(&chat)? {
                Some(grammar) => Some(shared.grammars.constraint(
                    grammar,
                    &shared.encoding.given(&chat, &rendered),
                    rendered.start,
                )?),
                None => None,
            };
            Ok((chat, rendered, constraint))
        });
        prepare.await.map_err(|error| {
            tracing::error!(%error, "a prompt could not be rendered");
            Error::internal("the prompt could not be rendered")
        })?
    }
}

/// Tells work on a blocking thread that nobody waits for it.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn refusal(error: RenderError, chat: &Chat, context: usize) -> Error {
    match error {
        RenderError::Refused(error) => error,
        RenderError::TooLong { at_least } => context_exceeded(chat, context, at_least),
        RenderError::Cancelled => Error::internal("the request was cancelled"),
    }
}

impl Limits {
    /// What an encoding allows within `context` tokens, by the rules of its release.
    pub fn of(encoding: &Encoding, context: usize) -> Self {
        Self {
            context: u32::try_from(context).unwrap_or(u32::MAX),
            thinking: encoding.supports_thinking(),
            plain: encoding.supports_plain(),
            profile: Default::default(),
            rules: match encoding.name() {
                EncodingName::R1 => ReasoningRules::R1,
                EncodingName::V3 | EncodingName::V31 | EncodingName::V32Exp => ReasoningRules::V32Exp,
                EncodingName::V32 => ReasoningRules::V32,
            },
            vocab: encoding.tokenizer().len() as u32,
        }
    }
}

/// For requests that name no seed, where the operator names none either.
fn random_seed() -> u64 {
    // The keys of the standard hasher are the process's randomness, and no two states are the same.
    RandomState::new().hash_one(Instant::now())
}
