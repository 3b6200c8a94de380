//! The state of one request: its tokens, its pages, its sampler and the channel to its client.

mod prefix_pages;

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use chat::{Delta, Error, FinishReason, Usage};
use model::AttentionPath;
use text::{Decoder, Encoding};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::constraint::Constraint;
use crate::delta_sender::{DeltaSender, PrefillProgress};
use crate::disk_cache::PageKeyChain;
use crate::logprobs::token_logprob;
use crate::metrics;
use crate::page_allocator::{PageAllocator, PageTable};
use crate::prompt_echo::PromptEcho;
use crate::request::Request;
use crate::sampler::{Sampler, TokenFilter};
use crate::token_bans::{TokenBans, end_redirect};

/// A request that waits, runs or drains.
pub(crate) struct Sequence {
    /// Prompt and answer so far.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    max_new_tokens: usize,
    /// The finish reason after `max_new_tokens`.
    length_reason: FinishReason,
    /// Positions whose cache rows are written.
    computed_tokens: usize,
    table: PageTable,
    /// The keys of its pages on disk; `None` without a disk cache.
    page_keys: Option<PageKeyChain>,
    /// The pages that are being read from disk.
    disk_fetch: Option<DiskFetch>,
    /// Computed pages that are not handed to the disk cache yet.
    unstored_pages: Vec<usize>,
    /// Tokens of the prompt that were found in a cache.
    cached_tokens: usize,
    /// True until the first preemption; what is found afterwards was computed for this sequence.
    count_cache_hits: bool,
    attention: Option<AttentionPath>,
    thinking: bool,
    top_logprobs: Option<usize>,
    /// The prompt that the answer repeats, until it has been sent.
    echo: Option<PromptEcho>,
    sampler: Sampler,
    constraint: Option<Constraint>,
    bans: TokenBans,
    decoder: Decoder,
    encoding: Arc<Encoding>,
    sender: DeltaSender,
    progress: Option<watch::Sender<PrefillProgress>>,
    queue_permit: Option<OwnedSemaphorePermit>,
    /// Increases with every request.
    arrival: u64,
    enqueued_at: Instant,
    /// Whether the first token has been sampled.
    started: bool,
    /// Whether the finish reason or an error has been sent.
    finished: bool,
}

/// Pages on their way from disk, in order.
struct DiskFetch {
    receiver: Receiver<Vec<u8>>,
    /// Index of the page that arrives next.
    next_page: usize,
}

impl Sequence {
    pub(crate) fn new(request: Request, arrival: u64, page_keys: Option<PageKeyChain>) -> Self {
        Self {
            prompt_tokens: request.prompt.len(),
            tokens: request.prompt,
            max_new_tokens: request.max_new_tokens,
            length_reason: request.length_reason,
            computed_tokens: 0,
            table: PageTable::new(request.cache_scope),
            page_keys,
            disk_fetch: None,
            unstored_pages: Vec::new(),
            cached_tokens: 0,
            count_cache_hits: true,
            attention: request.attention,
            thinking: request.thinking,
            top_logprobs: request.top_logprobs,
            echo: request.echo,
            sampler: request.sampler,
            constraint: request.constraint,
            bans: request.bans,
            decoder: request.decoder,
            encoding: request.encoding,
            sender: request.sender,
            progress: request.progress,
            queue_permit: Some(request.queue_permit),
            arrival,
            enqueued_at: Instant::now(),
            started: false,
            finished: false,
        }
    }

    /// Leaves the queue; called after [`Sequence::match_prefix`].
    pub(crate) fn admit(&mut self) {
        if self.queue_permit.take().is_some() {
            metrics::record_prompt_tokens(self.prompt_tokens);
        }
        self.record_cache_hit(self.computed_tokens);
        self.report_progress();
    }

    /// Frees all pages; the sequence returns to the queue.
    pub(crate) fn preempt(&mut self, pages: &mut PageAllocator) {
        self.release(pages);
        self.count_cache_hits = false;
        metrics::record_preemption();
    }

    /// Allocates pages for all tokens. Returns false when there are not enough.
    pub(crate) fn ensure_capacity(&mut self, pages: &mut PageAllocator) -> bool {
        pages.ensure_capacity(&mut self.table, self.tokens.len())
    }

    /// Frees all pages. Their rows must be found in a cache or computed again.
    pub(crate) fn release(&mut self, pages: &mut PageAllocator) {
        pages.release(&mut self.table);
        self.disk_fetch = None;
        self.unstored_pages.clear();
        self.computed_tokens = 0;
    }

    /// The next `n` tokens to compute, and the position of the first.
    pub(crate) fn chunk(&self, n: usize) -> (&[u32], usize) {
        (&self.tokens[self.computed_tokens..][..n], self.computed_tokens)
    }

    pub(crate) fn attention(&self) -> Option<AttentionPath> {
        self.attention
    }

    pub(crate) fn pages(&self) -> &[u32] {
        self.table.pages()
    }

    /// Number of tokens whose rows are not computed yet. With one the sequence decodes, with more
    /// it is in prefill, for the first time or after a preemption.
    pub(crate) fn pending_tokens(&self) -> usize {
        self.tokens.len() - self.computed_tokens
    }

    /// Whether the outputs of the prompt's positions are needed, which must therefore be computed.
    pub(crate) fn needs_prompt_logits(&self) -> bool {
        self.echo.as_ref().is_some_and(PromptEcho::needs_logits)
    }

    /// Takes the outputs of its next `tokens` positions from `rows`, as far as they were computed,
    /// and records those of the prompt that the answer repeats. Returns the last one.
    pub(crate) fn take_outputs<'a>(
        &mut self,
        tokens: usize,
        needs_logits: bool,
        rows: &mut impl Iterator<Item = &'a [f32]>,
    ) -> Option<&'a [f32]> {
        let wanted = if self.needs_prompt_logits() { tokens } else { usize::from(needs_logits) };
        let mut last = None;
        for (position, logits) in (self.computed_tokens..).zip(rows.take(wanted)) {
            if let Some(echo) = &mut self.echo {
                echo.record(position, &self.tokens, logits, self.encoding.tokenizer());
            }
            last = Some(logits);
        }
        last
    }

    /// Records that the next `n` tokens have been computed, and publishes full pages.
    pub(crate) fn advance(&mut self, n: usize, pages: &mut PageAllocator) {
        self.computed_tokens += n;
        self.unstored_pages.extend(pages.publish(&mut self.table, &self.tokens, self.computed_tokens));
        self.report_progress();
    }

    /// Samples the next token and sends the deltas that it completes.
    pub(crate) fn sample_next(&mut self, logits: &[f32]) {
        if !self.started {
            self.started = true;
            self.sender.send([Delta::Start(self.usage())]);
            self.sender.send(self.echo.take().map(PromptEcho::into_delta));
        }
        if self.max_new_tokens == 0 {
            return self.finish(self.length_reason);
        }
        let token = match self.sample(logits) {
            Ok(Some(token)) => token,
            Ok(None) => {
                tracing::error!(position = self.tokens.len(), "the model's output has no finite logit");
                return self.fail(Error::internal("the model's output is not a number, the answer cannot go on"));
            }
            Err(error) => return self.fail(error),
        };
        let tokenizer = self.encoding.tokenizer();
        let logprob = self.top_logprobs.map(|n| token_logprob(logits, token, n, tokenizer));
        self.tokens.push(token);
        metrics::record_generated_token();
        let mut deltas = Vec::new();
        let in_answer = !self.decoder.is_reasoning();
        let reason = self.decoder.push(token, logprob, &mut deltas);
        self.advance_constraint(in_answer, token);
        self.sender.send(deltas);
        let is_full = self.generated_tokens() >= self.max_new_tokens;
        if let Some(reason) = reason.or(is_full.then_some(self.length_reason)) {
            self.finish(reason);
        }
    }

    fn sample(&mut self, logits: &[f32]) -> Result<Option<u32>, Error> {
        let in_answer = !self.decoder.is_reasoning();
        let allowed =
            self.bans.allowed_control_tokens(&self.decoder, self.constraint.as_ref(), &self.tokens, &self.encoding);
        let redirect = end_redirect(&self.decoder, self.constraint.as_ref(), &self.encoding);
        let mask = match self.constraint.as_mut().filter(|_| in_answer) {
            Some(constraint) => constraint.next_mask()?,
            None => None,
        };
        let filter = TokenFilter {
            redirect,
            apply_bias: in_answer,
            banned: if allowed.is_some() { self.encoding.control_tokens() } else { &[] },
            allowed: allowed.as_deref().unwrap_or_default(),
            mask,
        };
        Ok(self.sampler.sample(logits, filter))
    }

    /// Advances the constraint by the sampled token; its next mask is computed
    /// while the model runs.
    /// `in_answer`: `token` belongs to the answer, not to the reasoning.
    fn advance_constraint(&mut self, in_answer: bool, token: u32) {
        let Some(constraint) = &mut self.constraint else { return };
        if in_answer {
            constraint.accept_token(token);
        } else if !self.decoder.is_reasoning() {
            constraint.end_reasoning(token);
        }
    }

    /// Ends the answer: sends buffered text, the finish reason and the usage.
    pub(crate) fn finish(&mut self, reason: FinishReason) {
        let mut deltas = Vec::new();
        if !self.started {
            deltas.push(Delta::Start(self.usage()));
        }
        let reason = self.decoder.finish(reason, &mut deltas);
        deltas.push(Delta::Finish(reason));
        deltas.push(Delta::Usage(self.usage()));
        self.sender.send(deltas);
        self.finished = true;
    }

    /// The usage so far.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.prompt_tokens as u64,
            cached_tokens: self.cached_tokens as u64,
            completion_tokens: self.generated_tokens() as u64,
            reasoning_tokens: self.thinking.then(|| self.decoder.reasoning_tokens()),
            ..Usage::ZERO
        }
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.sender.fail(error);
        self.finished = true;
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether it was admitted at least once.
    pub(crate) fn was_admitted(&self) -> bool {
        self.queue_permit.is_none()
    }

    pub(crate) fn arrival(&self) -> u64 {
        self.arrival
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.enqueued_at)
    }

    pub(crate) fn sender(&mut self) -> &mut DeltaSender {
        &mut self.sender
    }

    /// Whether the sequence is not finished and its client reads as fast as it is sent to.
    pub(crate) fn client_keeps_up(&self) -> bool {
        !self.finished && !self.sender.is_backpressured()
    }

    /// Whether it waits neither for its client nor for the disk.
    pub(crate) fn is_schedulable(&self) -> bool {
        self.client_keeps_up() && self.disk_fetch.is_none()
    }

    fn generated_tokens(&self) -> usize {
        self.tokens.len() - self.prompt_tokens
    }

    fn report_progress(&self) {
        if let Some(progress) = self.progress.as_ref().filter(|_| !self.started) {
            progress.send_replace(PrefillProgress { processed: self.computed_tokens, total: self.prompt_tokens });
        }
    }
}
