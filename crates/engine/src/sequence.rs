//! One request in flight: its tokens, its pages, its sampler and the way back to its caller.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use chat::{Delta, Error, FinishReason, Usage};
use model::LatentCache;
use text::{Decoder, Encoding};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::delta_sender::{DeltaSender, PrefillProgress};
use crate::disk_cache::{DiskCache, PageKeyChain};
use crate::grammar::{Constraint, TokenBans};
use crate::metrics;
use crate::page_allocator::{CacheScope, PAGE_ROWS, PageAllocator, PageTable};
use crate::sampler::{Sampler, TokenFilter, token_logprob};

/// What a caller asks of the engine, its prompt rendered and measured.
pub(crate) struct Request {
    pub(crate) prompt: Vec<u32>,
    /// Most tokens of the answer; prompt and answer fit the context.
    pub(crate) max_new_tokens: usize,
    /// What it means that the budget is spent: `Length`, or `ContextFull` where only
    /// the context set it.
    pub(crate) length_reason: FinishReason,
    pub(crate) cache_scope: CacheScope,
    pub(crate) thinking: bool,
    /// How many alternatives to tell with every token; `None`: no log-probabilities at all.
    pub(crate) top_logprobs: Option<usize>,
    pub(crate) sampler: Sampler,
    /// The shape the answer was promised.
    pub(crate) constraint: Option<Constraint>,
    pub(crate) bans: TokenBans,
    pub(crate) decoder: Decoder,
    pub(crate) encoding: Arc<Encoding>,
    pub(crate) sender: DeltaSender,
    pub(crate) progress: Option<watch::Sender<PrefillProgress>>,
    /// A place in the queue, given back when the request is admitted.
    pub(crate) queue_permit: OwnedSemaphorePermit,
}

pub(crate) struct Sequence {
    /// Prompt and answer so far.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    max_new_tokens: usize,
    /// What it means that the budget is spent.
    length_reason: FinishReason,
    /// Positions whose cache rows are written.
    computed_tokens: usize,
    table: PageTable,
    /// Names its pages on disk; `None` without a disk cache.
    page_keys: Option<PageKeyChain>,
    /// Pages that are being read from disk.
    disk_fetch: Option<DiskFetch>,
    /// Pages that are to be written to disk.
    unstored_pages: Vec<usize>,
    /// Tokens of the prompt that were found and not computed.
    cached_tokens: usize,
    /// Until it is paused: what is found afterwards is its own work.
    count_cache_hits: bool,
    thinking: bool,
    top_logprobs: Option<usize>,
    sampler: Sampler,
    constraint: Option<Constraint>,
    bans: TokenBans,
    decoder: Decoder,
    encoding: Arc<Encoding>,
    sender: DeltaSender,
    progress: Option<watch::Sender<PrefillProgress>>,
    queue_permit: Option<OwnedSemaphorePermit>,
    /// Greater for those that came later.
    arrival: u64,
    enqueued_at: Instant,
    /// The first token has been drawn.
    started: bool,
    /// The caller has been told the end.
    finished: bool,
}

/// Pages on their way from disk, in order.
struct DiskFetch {
    receiver: Receiver<Vec<u8>>,
    /// The place of the page that comes next.
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
            thinking: request.thinking,
            top_logprobs: request.top_logprobs,
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

    /// Looks for published pages of what comes next. Returns how many pages are missing for all
    /// tokens there are.
    pub(crate) fn match_prefix(&mut self, pages: &mut PageAllocator) -> usize {
        self.computed_tokens = pages.match_prefix(&mut self.table, &self.tokens, self.computed_tokens);
        self.tokens.len().div_ceil(PAGE_ROWS).saturating_sub(self.table.pages().len())
    }

    /// Leaves the queue, after [`Sequence::match_prefix`].
    pub(crate) fn admit(&mut self) {
        if self.queue_permit.take().is_some() {
            metrics::record_prompt_tokens(self.prompt_tokens);
        }
        self.record_cache_hit(self.computed_tokens);
        self.report_progress();
    }

    /// Takes over what others have published of its prompt since it was admitted.
    pub(crate) fn adopt_shared_prefix(&mut self, pages: &mut PageAllocator) {
        let computed = self.computed_tokens;
        self.match_prefix(pages);
        self.record_cache_hit(self.computed_tokens - computed);
    }

    /// Asks the disk for what comes next of its tokens, the last one left out.
    pub(crate) fn start_disk_fetch(&mut self, disk: &DiskCache) {
        let Some(page_keys) = &mut self.page_keys else { return };
        let next = self.computed_tokens / PAGE_ROWS;
        let end = ((self.tokens.len() - 1) / PAGE_ROWS).min(self.table.pages().len());
        let keys = (next..end).map(|index| page_keys.key(index, &self.tokens).0).collect();
        self.disk_fetch = disk.fetch(keys).map(|pages| DiskFetch { receiver: pages, next_page: next });
    }

    /// Takes over what has come from disk. Where it ends, computing goes on.
    pub(crate) fn install_fetched_pages(&mut self, cache: &mut LatentCache, pages: &mut PageAllocator) {
        if self.disk_fetch.is_none() {
            return;
        }
        while let Some(fetch) = &mut self.disk_fetch {
            match fetch.receiver.try_recv() {
                Ok(rows) => {
                    let index = fetch.next_page;
                    fetch.next_page += 1;
                    // Somebody may have published it in the meantime.
                    if index * PAGE_ROWS == self.computed_tokens {
                        cache.write_page(self.table.pages()[index], &rows);
                        self.computed_tokens += PAGE_ROWS;
                        pages.publish(&mut self.table, &self.tokens, self.computed_tokens);
                        self.record_cache_hit(PAGE_ROWS);
                        metrics::record_disk_hit(PAGE_ROWS);
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.disk_fetch = None,
            }
        }
        self.report_progress();
    }

    /// Hands the disk what has been computed since the last time.
    pub(crate) fn store_pages(&mut self, disk: &DiskCache, cache: &LatentCache) {
        let Some(page_keys) = &mut self.page_keys else { return };
        for index in self.unstored_pages.drain(..) {
            let (key, parent) = page_keys.key(index, &self.tokens);
            let page = self.table.pages()[index];
            disk.store(key, parent, || cache.read_page(page));
        }
    }

    fn record_cache_hit(&mut self, tokens: usize) {
        if self.count_cache_hits {
            self.cached_tokens += tokens;
            metrics::record_prefix_hit(tokens);
        }
    }

    /// Gives all pages back, to be admitted again.
    pub(crate) fn preempt(&mut self, pages: &mut PageAllocator) {
        self.release(pages);
        self.count_cache_hits = false;
        metrics::record_preemption();
    }

    /// Makes room for all tokens there are. False when there are not enough pages.
    pub(crate) fn ensure_capacity(&mut self, pages: &mut PageAllocator) -> bool {
        pages.ensure_capacity(&mut self.table, self.tokens.len())
    }

    /// Gives all pages back. What was computed must be found or computed again.
    pub(crate) fn release(&mut self, pages: &mut PageAllocator) {
        pages.release(&mut self.table);
        self.disk_fetch = None;
        self.unstored_pages.clear();
        self.computed_tokens = 0;
    }

    /// The next `n` tokens to compute, and where they begin.
    pub(crate) fn chunk(&self, n: usize) -> (&[u32], usize) {
        (&self.tokens[self.computed_tokens..][..n], self.computed_tokens)
    }

    pub(crate) fn pages(&self) -> &[u32] {
        self.table.pages()
    }

    /// Tokens whose rows are not computed yet. One: the sequence decodes; more: it is being read,
    /// or read again after a pause.
    pub(crate) fn pending_tokens(&self) -> usize {
        self.tokens.len() - self.computed_tokens
    }

    /// The next `n` tokens have been computed.
    pub(crate) fn advance(&mut self, n: usize, pages: &mut PageAllocator) {
        self.computed_tokens += n;
        self.unstored_pages.extend(pages.publish(&mut self.table, &self.tokens, self.computed_tokens));
        self.report_progress();
    }

    /// Draws the next token and sends what it makes certain.
    pub(crate) fn sample_next(&mut self, logits: &[f32]) {
        if !self.started {
            self.started = true;
            self.sender.send([Delta::Start(self.usage())]);
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
        let full = self.generated_tokens() >= self.max_new_tokens;
        if let Some(reason) = reason.or(full.then_some(self.length_reason)) {
            self.finish(reason);
        }
    }

    fn sample(&mut self, logits: &[f32]) -> Result<Option<u32>, Error> {
        let in_answer = !self.decoder.is_reasoning();
        let banned = self.bans.banned_tokens(in_answer, self.constraint.as_ref(), &self.tokens, &self.encoding);
        let mask = match self.constraint.as_mut().filter(|_| in_answer) {
            Some(constraint) => constraint.next_mask()?,
            None => None,
        };
        Ok(self.sampler.sample(logits, TokenFilter { apply_bias: in_answer, banned: &banned, mask }))
    }

    /// Tells the constraint what was drawn; its next mask is computed while the model runs.
    /// `in_answer`: `token` was part of the answer, not of the reasoning.
    fn advance_constraint(&mut self, in_answer: bool, token: u32) {
        let Some(constraint) = &mut self.constraint else { return };
        if in_answer {
            constraint.accept_token(token);
        } else if !self.decoder.is_reasoning() {
            constraint.start_answer();
        }
    }

    /// Ends the answer with what was held back, the reason and the usage.
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

    /// The tokens so far.
    fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.prompt_tokens as u64,
            cached_tokens: self.cached_tokens as u64,
            cache_write_tokens: 0,
            completion_tokens: self.generated_tokens() as u64,
            reasoning_tokens: self.thinking.then(|| self.decoder.reasoning_tokens()),
        }
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.sender.fail(error);
        self.finished = true;
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Was admitted at least once.
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

    /// Not ended, and its caller takes what it gets.
    pub(crate) fn client_keeps_up(&self) -> bool {
        !self.finished && !self.sender.is_backpressured()
    }

    /// Can use a step: it waits neither for its caller nor for the disk.
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
