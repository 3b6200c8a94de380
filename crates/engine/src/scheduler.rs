//! Who takes part in the next step: every sequence that decodes, then chunks of prompts, in turn,
//! up to a budget of tokens. The oldest are admitted first; when pages run out one whose caller
//! does not read, else the youngest, gives its own back and waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use chat::{Error, ErrorKind, FinishReason};
use model::{Batch, LatentCache, LogitsWanted, Span};

use crate::disk_cache::{DiskCache, PageKeyChain};
use crate::page_allocator::PageAllocator;
use crate::sequence::{Request, Sequence};

pub(crate) struct Scheduler {
    /// Oldest first.
    running: Vec<Sequence>,
    /// Oldest first: the paused ones, then those that never ran.
    waiting: VecDeque<Sequence>,
    /// Ended, but their callers have not taken everything yet.
    draining: Vec<Sequence>,
    arrivals: u64,
    /// Whose prompt got the last chunk; the next younger one is next in turn.
    last_prefilled: u64,
    limits: SchedulerLimits,
}

#[derive(Clone, Copy)]
pub(crate) struct SchedulerLimits {
    /// Prompt tokens a step.
    pub(crate) batch_tokens: usize,
    pub(crate) max_running: usize,
    /// Longest wait for admission.
    pub(crate) queue_timeout: Duration,
    /// Longest time for all of an answer.
    pub(crate) total_timeout: Duration,
}

/// The next `tokens` tokens of one running sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) sequence: usize,
    pub(crate) tokens: usize,
    /// These are all there are: a token is to be drawn.
    pub(crate) needs_logits: bool,
}

/// What the API says when there is no room.
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

    /// Nobody is waited for.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.draining.is_empty()
    }

    /// Takes over the pages that have come from disk.
    pub(crate) fn install_fetched_pages(&mut self, cache: &mut LatentCache, pages: &mut PageAllocator) {
        for sequence in &mut self.running {
            sequence.install_fetched_pages(cache, pages);
        }
    }

    /// Plans the next step. Empty when nobody can use one.
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
                logits: if chunk.needs_logits { LogitsWanted::Last } else { LogitsWanted::None },
            }
        };
        Batch { spans: chunks.iter().map(span).collect() }
    }

    pub(crate) fn sequence(&mut self, chunk: &Chunk) -> &mut Sequence {
        &mut self.running[chunk.sequence]
    }

    /// Takes the pages of those that have ended.
    pub(crate) fn retire(&mut self, pages: &mut PageAllocator) {
        for mut sequence in self.running.extract_if(.., |sequence| sequence.is_finished()) {
            sequence.release(pages);
            if sequence.sender().is_backpressured() {
                self.draining.push(sequence);
            }
        }
    }

    /// Fails all that run: their rows are lost. When nobody runs, whoever waits is to blame.
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

    /// Says goodbye to everybody: the engine stops.
    pub(crate) fn shut_down(&mut self) {
        for sequence in self.running.iter_mut().chain(&mut self.waiting) {
            match sequence.was_admitted() {
                true => sequence.finish(FinishReason::InsufficientSystemResource),
                false => sequence.fail(overloaded()),
            }
        }
    }

    /// Lets go who hung up, and ends who took too long.
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

    /// Admits from the front of the queue while there are pages: for all that is to be computed,
    /// and one more for each that runs, or somebody would be paused at once. Callers who do not
    /// read take no place and no pages from those who do.
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
            // Alone it may still not fit; `ensure_pages` ends it then.
            sequence.ensure_capacity(pages);
            if let Some(disk) = disk {
                sequence.start_disk_fetch(disk);
            }
            let older = self.running.partition_point(|other| other.arrival() < sequence.arrival());
            self.running.insert(older, sequence);
        }
    }

    /// Gives everybody room for all tokens they have, oldest first.
    fn ensure_pages(&mut self, pages: &mut PageAllocator) {
        let mut index = 0;
        while index < self.running.len() {
            let alone = self.running.len() == 1;
            let sequence = &mut self.running[index];
            if !sequence.client_keeps_up() || sequence.ensure_capacity(pages) {
                index += 1;
            } else if alone {
                tracing::warn!("an answer was ended: the whole cache is too small for it");
                sequence.finish(FinishReason::InsufficientSystemResource);
            } else {
                self.preempt_one(pages);
                index = 0;
            }
        }
    }

    /// Who cannot use a step loses nothing by waiting; else it is the youngest.
    fn preempt_one(&mut self, pages: &mut PageAllocator) {
        let idle = self.running.iter().rposition(|sequence| !sequence.client_keeps_up());
        let mut paused = self.running.remove(idle.unwrap_or(self.running.len() - 1));
        paused.preempt(pages);
        let older = self.waiting.partition_point(|other| other.arrival() < paused.arrival());
        self.waiting.insert(older, paused);
    }

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
            let tokens = sequence.pending_tokens().min(token_budget);
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
