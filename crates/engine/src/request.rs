//! A request in the queue of the engine.

use std::sync::Arc;

use chat::FinishReason;
use model::AttentionPath;
use text::{Decoder, Encoding};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::constraint::Constraint;
use crate::delta_sender::{DeltaSender, PrefillProgress};
use crate::page_allocator::CacheScope;
use crate::prompt_echo::PromptEcho;
use crate::sampler::Sampler;
use crate::token_bans::TokenBans;

/// A request to the engine; its prompt is rendered and fits the context.
pub(crate) struct Request {
    pub(crate) prompt: Vec<u32>,
    /// Maximum number of tokens of the answer; prompt and answer fit the context.
    pub(crate) max_new_tokens: usize,
    /// The finish reason after `max_new_tokens`: `Length`, or `ContextFull` where only the context
    /// limits the answer.
    pub(crate) length_reason: FinishReason,
    pub(crate) cache_scope: CacheScope,
    /// The positions that attention reads; `None`: those of the model's options.
    pub(crate) attention: Option<AttentionPath>,
    pub(crate) thinking: bool,
    /// Number of alternatives returned with every token; `None`: without log-probabilities.
    pub(crate) top_logprobs: Option<usize>,
    /// The prompt, if the answer repeats it.
    pub(crate) echo: Option<PromptEcho>,
    pub(crate) sampler: Sampler,
    /// The grammar that the answer must match.
    pub(crate) constraint: Option<Constraint>,
    pub(crate) bans: TokenBans,
    pub(crate) decoder: Decoder,
    pub(crate) encoding: Arc<Encoding>,
    pub(crate) sender: DeltaSender,
    pub(crate) progress: Option<watch::Sender<PrefillProgress>>,
    /// One slot of the queue, released when the request is admitted.
    pub(crate) queue_permit: OwnedSemaphorePermit,
}
