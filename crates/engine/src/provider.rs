//! The engine as a provider: from a chat to a request in the queue.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use chat::{Attention, BoxFuture, Chat, EngineStatus, Error, FinishReason, Provider, StartedAnswer};
use model::AttentionPath;
use text::{Encoding, EncodingName, PromptLimit, RenderError, Rendered};
use tokio::sync::watch;

use crate::answer_constraint::answer_constraint;
use crate::check::{
    OutputLimit, Profile, ReasoningRules, ValidationRules, check, output_limit, uncounted_context_length_error,
};
use crate::constraint::Constraint;
use crate::delta_sender::{DeltaSender, PrefillProgress};
use crate::engine::Engine;
use crate::page_allocator::CacheScope;
use crate::prompt_echo::PromptEcho;
use crate::repetition_penalty::RepetitionPenalty;
use crate::request::Request;
use crate::sampler::Sampler;
use crate::scheduler::overloaded;
use crate::token_bans::TokenBans;

impl Provider for Engine {
    fn validate(&self, chat: &mut Chat) -> Result<(), Error> {
        check(chat, self.validation_rules())
    }

    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<StartedAnswer, Error>> {
        Box::pin(self.chat_with_progress(chat, None))
    }

    fn count_tokens(&self, chat: Chat) -> BoxFuture<'_, Result<u64, Error>> {
        // A caller that counts tokens also learns by how much a prompt is too long, up to twice the
        // context.
        let max_prompt_tokens = (self.validation_rules().context as usize).saturating_mul(2);
        Box::pin(async move { Ok(self.prepare(chat, max_prompt_tokens).await?.1.tokens.len() as u64) })
    }

    fn context_length(&self) -> Option<u64> {
        Some(self.validation_rules().context.into())
    }

    fn takes_engine_fields(&self) -> bool {
        self.validation_rules().profile == Profile::Lenient
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn engine_status(&self) -> Option<EngineStatus> {
        Some(self.status())
    }
}

impl Engine {
    /// Like [`Provider::chat`]; `progress` receives the progress of the prefill until the first
    /// token is sampled.
    ///
    /// # Errors
    /// `Invalid` when the prompt cannot be rendered or does not fit, `Overload` when the queue is
    /// full, `Internal` when the engine is down.
    pub async fn chat_with_progress(
        &self,
        chat: Chat,
        progress: Option<watch::Sender<PrefillProgress>>,
    ) -> Result<StartedAnswer, Error> {
        let (mut chat, rendered, constraint) = self.prepare(chat, self.validation_rules().context as usize).await?;
        let OutputLimit { max_new_tokens, note } = output_limit(&chat, self.validation_rules(), rendered.tokens.len())?;
        let fills_context = chat.max_tokens.is_none()
            && rendered.tokens.len() + max_new_tokens >= self.validation_rules().context as usize;
        let queue_permit = self.shared.queue_permits.clone().try_acquire_owned().map_err(|_| overloaded())?;

        let encoding = &self.shared.encoding;
        // Choices of one request differ, also with a seed.
        let choice = chat.choice.unwrap_or(0);
        let seed = self.shared.seed.map_or_else(random_seed, |seed| (seed as u64).wrapping_add(choice.into()));
        chat.sampling.seed = chat.sampling.seed.map(|seed| seed.wrapping_add(choice.into()));
        let defaults = &self.shared.sampling_defaults;
        let repetition_penalty = chat.sampling.repetition_penalty.or(defaults.repetition_penalty);
        let repetition_penalty = repetition_penalty
            .filter(|&penalty| penalty != 1.0)
            .map(|penalty| RepetitionPenalty::new(penalty as f32, &rendered.tokens, encoding.tokenizer()));
        let top_logprobs = (chat.logprobs == Some(true)).then(|| chat.top_logprobs.unwrap_or(0).clamp(0, 20) as usize);
        let (sender, deltas) = DeltaSender::channel(self.shared.channel_capacity);
        let request = Request {
            max_new_tokens,
            length_reason: if fills_context { FinishReason::ContextFull } else { FinishReason::Length },
            cache_scope: cache_scope(&chat),
            attention: chat.attention.map(|attention| match attention {
                Attention::Dense => AttentionPath::Dense,
                Attention::Sparse => AttentionPath::Sparse,
            }),
            thinking: chat.thinking == Some(true),
            top_logprobs,
            echo: PromptEcho::of(&chat, &rendered, top_logprobs, encoding.tokenizer()),
            sampler: Sampler::new(&chat.sampling, defaults, seed, encoding.tokenizer().len())
                .with_repetition_penalty(repetition_penalty),
            constraint,
            bans: TokenBans::of(&chat),
            decoder: encoding.decoder(&chat, &rendered),
            prompt: rendered.tokens,
            encoding: encoding.clone(),
            sender,
            progress,
            queue_permit,
        };
        let engine_down = |_| Error::internal("the engine is down, the server must be restarted");
        self.shared.requests.send(request).map_err(engine_down)?;
        chat.notes.extend(note);
        Ok(StartedAnswer { deltas, notes: chat.notes })
    }

    /// Renders the prompt, of at most `max_prompt_tokens` tokens, and compiles the constraint. A
    /// long prompt takes milliseconds and many times its own memory to encode, so this runs on
    /// blocking threads, and only for a few prompts at the same time.
    async fn prepare(
        &self,
        chat: Chat,
        max_prompt_tokens: usize,
    ) -> Result<(Chat, Rendered, Option<Constraint>), Error> {
        let shared = self.shared.clone();
        // The semaphore is never closed. The task keeps the permit even if its caller is gone.
        let permit = self.shared.encode_permits.clone().acquire_owned().await;
        let limit = PromptLimit::new(max_prompt_tokens);
        let _cancelled = CancelOnDrop(limit.cancelled.clone());
        let prepare = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut chat = chat;
            let rendered = shared
                .encoding
                .render_within(&chat, &limit)
                .map_err(|error| render_error(error, &chat, &shared.validation_rules))?;
            let constraint = answer_constraint(&shared, &mut chat, &rendered)?;
            Ok((chat, rendered, constraint))
        });
        prepare.await.map_err(|error| {
            tracing::error!(%error, "prompt rendering task failed");
            Error::internal("the prompt could not be rendered")
        })?
    }
}

/// The prompts that may share cache pages with this one. What a layer caches depends on the
/// positions that the layers below attended to, so a path of its own makes a scope of its own.
fn cache_scope(chat: &Chat) -> CacheScope {
    // The scope of a path begins with NUL and its name. The scope of a user whose name begins with
    // NUL begins with two.
    let user = |user: &str| if user.starts_with('\0') { format!("\0{user}").into() } else { user.into() };
    let Some(attention) = chat.attention else { return chat.user.as_deref().map(user) };
    let path = match attention {
        Attention::Dense => "dense",
        Attention::Sparse => "sparse",
    };
    Some(format!("\0{path}\0{}", chat.user.as_deref().unwrap_or_default()).into())
}

/// Cancels the work on a blocking thread when its caller is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn render_error(error: RenderError, chat: &Chat, rules: &ValidationRules) -> Error {
    match error {
        RenderError::Refused(error) => error,
        RenderError::TooLong { at_least } => uncounted_context_length_error(chat, rules, at_least),
        RenderError::Cancelled => Error::internal("the request was cancelled"),
    }
}

impl ValidationRules {
    /// The rules of an encoding's release, for a context of `context` tokens.
    pub fn of(encoding: &Encoding, context: usize) -> Self {
        Self {
            context: u32::try_from(context).unwrap_or(u32::MAX),
            supports_thinking: encoding.supports_thinking(),
            supports_non_thinking: encoding.supports_non_thinking(),
            profile: Default::default(),
            reasoning_rules: match encoding.name() {
                EncodingName::R1 => ReasoningRules::R1,
                EncodingName::V3 | EncodingName::V31 | EncodingName::V32Exp => ReasoningRules::V32Exp,
                EncodingName::V32 => ReasoningRules::V32,
            },
            vocab_size: encoding.tokenizer().len() as u32,
            has_sparse_attention: true,
        }
    }
}

/// A seed for requests without one, if the operator sets none either.
fn random_seed() -> u64 {
    // The keys of the standard hasher are random, and every `RandomState` differs.
    RandomState::new().hash_one(Instant::now())
}
