//! Continuous batching: plans each step from every sequence that decodes, then from chunks of
//! prompts, round robin, up to a number of tokens. The oldest request is admitted first. When pages
//! run out, a sequence is preempted: one whose client does not read, else the youngest.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use chat::{Error, ErrorKind, FinishReason};
use model::{Batch, LatentCache, LogitsWanted, Span};

use crate::disk_cache::{DiskCache, PageKeyChain};
use crate::page_allocator::PageAllocator;
use crate::request::Request;
use crate::sequence::Sequence;

/// Most tokens of a chunk whose outputs are all needed: each has a number for every token of the
/// vocabulary.
const PROMPT_LOGITS_CHUNK: usize = 64;

/// The sequences of the engine in their states.
pub(crate) struct Scheduler {
    /// Oldest first.
    running: Vec<Sequence>,
    /// Oldest first: preempted sequences, then those that were never admitted.
    waiting: VecDeque<Sequence>,
    /// Finished sequences whose clients have not read everything yet.
    draining: Vec<Sequence>,
    /// Number of requests so far.
    arrivals: u64,
    /// Arrival number of the sequence whose prompt got the last chunk; the next
    /// younger one follows.
    last_prefilled: u64,
    limits: SchedulerLimits,
}

/// The limits of a step and of waiting times, from [`crate::Options`].
#[derive(Clone, Copy)]
pub(crate) struct SchedulerLimits {
    /// Maximum number of prompt tokens per step.
    pub(crate) batch_tokens: usize,
    pub(crate) max_running: usize,
    /// Maximum time until admission.
    pub(crate) queue_timeout: Duration,
    /// Maximum time until the end of the answer.
    pub(crate) total_timeout: Duration,
}

/// The next `tokens` tokens of one running sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Position in the list of running sequences.
    pub(crate) sequence: usize,
    pub(crate) tokens: usize,
    /// The chunk reaches the last token, so the next one is sampled.
    pub(crate) needs_logits: bool,
}

/// The number of tokens that these chunks compute beside those that were generated last.
pub(crate) fn prefill_tokens(chunks: &[Chunk]) -> usize {
    let is_decode = |chunk: &&Chunk| chunk.tokens == 1 && chunk.needs_logits;
    let decodes = chunks.iter().filter(is_decode).count();
    chunks.iter().map(|chunk| chunk.tokens).sum::<usize>() - decodes
}

/// The error of the API when the queue is full or the wait was too long.
pub(crate) fn overloaded() -> Error {
    let text = "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.";
    Error { retry_after: Some(Duration::from_secs(10)), ..Error::new(ErrorKind::Overloaded, text) }
}

impl Scheduler {
    pub(crate) fn new(limits: SchedulerLimits) -> Self {
        Self {
            running: Vec::new(),
            waiting: VecDeque::new(),
            draining: Vec::new(),
            arrivals: 0,
            last_prefilled: 0,
            limits,
        }
    }

    pub(crate) fn enqueue(&mut self, request: Request, page_keys: Option<PageKeyChain>) {
        self.arrivals += 1;
        self.waiting.push_back(Sequence::new(request, self.arrivals, page_keys));
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is neither a running nor a waiting nor a draining sequence.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.draining.is_empty()
    }

    /// Installs the pages that have been read from disk.
    pub(crate) fn install_fetched_pages(&mut self, cache: &mut LatentCache, pages: &mut PageAllocator) {
        for sequence in &mut self.running {
            sequence.install_fetched_pages(cache, pages);
        }
    }

    /// Plans the next step; empty when no sequence is ready.
    pub(crate) fn plan_step(&mut self, pages: &mut PageAllocator, disk: Option<&DiskCache>) -> Vec<Chunk> {
        self.reap(pages, Instant::now());
        self.retire(pages);
        self.admit(pages, disk);
        self.ensure_pages(pages);
        self.retire(pages);
        for sequence in self.running.iter_mut().filter(|sequence| sequence.pending_tokens() > 1) {
            sequence.adopt_shared_prefix(pages);
        }
        self.plan_chunks()
    }

    pub(crate) fn batch(&self, chunks: &[Chunk]) -> Batch<'_> {
        let span = |chunk: &Chunk| {
            let sequence = &self.running[chunk.sequence];
            let (tokens, start) = sequence.chunk(chunk.tokens);
            Span {
                tokens,
                start,
                pages: sequence.pages(),
                logits: match chunk.needs_logits {
                    _ if sequence.needs_prompt_logits() => LogitsWanted::All,
                    true => LogitsWanted::Last,
                    false => LogitsWanted::None,
                },
                attention: sequence.attention(),
            }
        };
        Batch { spans: chunks.iter().map(span).collect() }
    }

    pub(crate) fn sequence(&mut self, chunk: &Chunk) -> &mut Sequence {
        &mut self.running[chunk.sequence]
    }

    /// Removes finished sequences and frees their pages.
    pub(crate) fn retire(&mut self, pages: &mut PageAllocator) {
        for mut sequence in self.running.extract_if(.., |sequence| sequence.is_finished()) {
            sequence.release(pages);
            if sequence.sender().is_backpressured() {
                self.draining.push(sequence);
            }
        }
    }

    /// Fails the running sequences, whose cache rows are lost. Without any, the panic came from a
    /// waiting sequence, so those fail instead.
    pub(crate) fn fail_running(&mut self, error: &Error) {
        let failed: Vec<Sequence> = match self.running.is_empty() {
            true => self.waiting.drain(..).collect(),
            false => self.running.drain(..).collect(),
        };
        for mut sequence in failed {
            if !sequence.is_finished() {
                sequence.fail(error.clone());
            }
            self.draining.push(sequence);
        }
    }

    /// Ends all answers because the engine stops.
    pub(crate) fn shut_down(&mut self) {
        for sequence in self.running.iter_mut().chain(&mut self.waiting) {
            match sequence.was_admitted() {
                true => sequence.finish(FinishReason::InsufficientSystemResource),
                false => sequence.fail(overloaded()),
            }
        }
    }

    /// Drops sequences whose client disconnected and finishes those over their time limit.
    fn reap(&mut self, pages: &mut PageAllocator, now: Instant) {
        let SchedulerLimits { queue_timeout, total_timeout, .. } = self.limits;
        for sequence in &mut self.running {
            sequence.sender().flush();
            if !sequence.is_finished() && sequence.age(now) > total_timeout {
                sequence.finish(FinishReason::InsufficientSystemResource);
            }
        }
        for mut disconnected in self.running.extract_if(.., |sequence| sequence.sender().is_closed()) {
            disconnected.release(pages);
        }
        self.waiting.retain_mut(|sequence| {
            sequence.sender().flush();
            !sequence.sender().is_closed()
        });
        let overdue = |sequence: &Sequence| {
            sequence.age(now) > if sequence.was_admitted() { total_timeout } else { queue_timeout }
        };
        for mut sequence in std::mem::take(&mut self.waiting) {
            match (overdue(&sequence), sequence.was_admitted()) {
                (false, _) => {
                    self.waiting.push_back(sequence);
                    continue;
                }
                (true, true) => sequence.finish(FinishReason::InsufficientSystemResource),
                (true, false) => sequence.fail(overloaded()),
            }
            self.draining.push(sequence);
        }
        self.draining.retain_mut(|sequence| {
            sequence.sender().flush();
            sequence.sender().is_backpressured()
                && !sequence.sender().is_closed()
                && sequence.age(now) <= 2 * total_timeout
        });
    }

    /// Admits from the front of the queue while there are pages for all tokens of the sequence and
    /// one more for each running sequence; with fewer, one would be preempted at once. Sequences
    /// whose clients do not read neither count as running nor keep their pages from others.
    fn admit(&mut self, pages: &mut PageAllocator, disk: Option<&DiskCache>) {
        while self.running.iter().filter(|sequence| sequence.client_keeps_up()).count() < self.limits.max_running {
            let Some(next) = self.waiting.iter().position(Sequence::client_keeps_up) else { return };
            let mut sequence = self.waiting.remove(next).expect("a position in the queue");
            let missing = sequence.match_prefix(pages);
            if !self.running.is_empty() && missing + self.running.len() > pages.available() {
                sequence.release(pages);
                self.waiting.insert(next, sequence);
                if self.running.iter().all(Sequence::client_keeps_up) {
                    return;
                }
                self.preempt_one(pages);
                continue;
            }
            sequence.admit();
            // A single sequence may still not fit; `ensure_pages` finishes it then.
            sequence.ensure_capacity(pages);
            if let Some(disk) = disk {
                sequence.start_disk_fetch(disk);
            }
            let older = self.running.partition_point(|other| other.arrival() < sequence.arrival());
            self.running.insert(older, sequence);
        }
    }

    /// Allocates pages for all tokens of the running sequences, oldest first.
    fn ensure_pages(&mut self, pages: &mut PageAllocator) {
        let mut index = 0;
        while index < self.running.len() {
            let alone = self.running.len() == 1;
            let sequence = &mut self.running[index];
            if !sequence.client_keeps_up() || sequence.ensure_capacity(pages) {
                index += 1;
            } else if alone {
                tracing::warn!("sequence finished early: cache too small");
                sequence.finish(FinishReason::InsufficientSystemResource);
            } else {
                self.preempt_one(pages);
                index = 0;
            }
        }
    }

    /// Preempts the youngest sequence whose client does not read, which loses nothing by waiting,
    /// else the youngest.
    fn preempt_one(&mut self, pages: &mut PageAllocator) {
        let idle = self.running.iter().rposition(|sequence| !sequence.client_keeps_up());
        let mut preempted = self.running.remove(idle.unwrap_or(self.running.len() - 1));
        preempted.preempt(pages);
        let older = self.waiting.partition_point(|other| other.arrival() < preempted.arrival());
        self.waiting.insert(older, preempted);
    }

    /// One token of every decoding sequence, then up to `batch_tokens` tokens of prompts.
    fn plan_chunks(&mut self) -> Vec<Chunk> {
        let ready = || self.running.iter().enumerate().filter(|(_, sequence)| sequence.is_schedulable());
        let decodes = ready().filter(|(_, sequence)| sequence.pending_tokens() == 1);
        let mut chunks: Vec<Chunk> =
            decodes.map(|(sequence, _)| Chunk { sequence, tokens: 1, needs_logits: true }).collect();

        let prefilling = || ready().filter(|(_, sequence)| sequence.pending_tokens() > 1);
        let after = prefilling().filter(|(_, sequence)| sequence.arrival() > self.last_prefilled);
        let up_to = prefilling().filter(|(_, sequence)| sequence.arrival() <= self.last_prefilled);
        let mut token_budget = self.limits.batch_tokens;
        let mut last_prefilled = self.last_prefilled;
        for (index, sequence) in after.chain(up_to) {
            let most = if sequence.needs_prompt_logits() { PROMPT_LOGITS_CHUNK } else { usize::MAX };
            let tokens = sequence.pending_tokens().min(token_budget).min(most);
            if tokens == 0 {
                break;
            }
            chunks.push(Chunk { sequence: index, tokens, needs_logits: tokens == sequence.pending_tokens() });
            token_budget -= tokens;
            last_prefilled = sequence.arrival();
        }
        self.last_prefilled = last_prefilled;
        chunks
    }
}
