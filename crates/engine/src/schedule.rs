//! Who takes part in the next step: every sequence that decodes, then chunks of prompts, in turn, up to a budget of tokens. The oldest are
//! admitted first; when pages run out one whose caller does not read, else the youngest, gives its own back and waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use chat::{Error, ErrorKind, FinishReason};
use model::{Batch, LatentCache, Span, Want};

use crate::disk::{Chain, Disk};
use crate::pages::Pages;
use crate::sequence::{Request, Sequence};

pub(crate) struct Schedule {
    /// Oldest first.
    running: Vec<Sequence>,
    /// Oldest first: the paused ones, then those that never ran.
    waiting: VecDeque<Sequence>,
    /// Ended, but their callers have not taken everything yet.
    leaving: Vec<Sequence>,
    arrivals: u64,
    /// Whose prompt got the last chunk; the next younger one is next in turn.
    last_read: u64,
    bounds: Bounds,
}

#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Prompt tokens a step.
    pub(crate) batch_tokens: usize,
    pub(crate) max_running: usize,
    /// Longest wait for admission.
    pub(crate) start: Duration,
    /// Longest time for all of an answer.
    pub(crate) total: Duration,
}

/// The next `tokens` tokens of one running sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) sequence: usize,
    pub(crate) tokens: usize,
    /// These are all there are: a token is to be drawn.
    pub(crate) last: bool,
}

/// What the API says when there is no room.
pub(crate) fn too_busy() -> Error {
    let text = "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.";
    Error { retry_after: Some(Duration::from_secs(10)), ..Error::new(ErrorKind::Overload, text) }
}

impl Schedule {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { running: Vec::new(), waiting: VecDeque::new(), leaving: Vec::new(), arrivals: 0, last_read: 0, bounds }
    }

    pub(crate) fn push(&mut self, request: Request, chain: Option<Chain>) {
        self.arrivals += 1;
        self.waiting.push_back(Sequence::new(request, self.arrivals, chain));
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Nobody is waited for.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.leaving.is_empty()
    }

    /// Takes over the pages that have come from disk.
    pub(crate) fn install(&mut self, cache: &mut LatentCache, pages: &mut Pages) {
        for sequence in &mut self.running {
            sequence.install(cache, pages);
        }
    }

    /// Plans the next step. Empty when nobody can use one.
    pub(crate) fn next(&mut self, pages: &mut Pages, disk: Option<&Disk>) -> Vec<Chunk> {
        self.dismiss(pages, Instant::now());
        self.retire(pages);
        self.admit(pages, disk);
        self.make_room(pages);
        self.retire(pages);
        for sequence in self.running.iter_mut().filter(|sequence| sequence.pending() > 1) {
            sequence.catch_up(pages);
        }
        self.chunks()
    }

    pub(crate) fn batch(&self, chunks: &[Chunk]) -> Batch<'_> {
        let span = |chunk: &Chunk| {
            let sequence = &self.running[chunk.sequence];
            let (tokens, start) = sequence.chunk(chunk.tokens);
            Span { tokens, start, pages: sequence.pages(), want: if chunk.last { Want::Last } else { Want::Nothing } }
        };
        Batch { spans: chunks.iter().map(span).collect() }
    }

    pub(crate) fn sequence(&mut self, chunk: &Chunk) -> &mut Sequence {
        &mut self.running[chunk.sequence]
    }

    /// Takes the pages of those that have ended.
    pub(crate) fn retire(&mut self, pages: &mut Pages) {
        for mut sequence in self.running.extract_if(.., |sequence| sequence.ended()) {
            sequence.release(pages);
            if sequence.line().blocked() {
                self.leaving.push(sequence);
            }
        }
    }

    /// Fails all that run: their rows are lost. When nobody runs, whoever waits is to blame.
    pub(crate) fn fail(&mut self, error: &Error) {
        let failed: Vec<Sequence> = match self.running.is_empty() {
            true => self.waiting.drain(..).collect(),
            false => self.running.drain(..).collect(),
        };
        for mut sequence in failed {
            if !sequence.ended() {
                sequence.fail(error.clone());
            }
            self.leaving.push(sequence);
        }
    }

    /// Says goodbye to everybody: the engine stops.
    pub(crate) fn close(&mut self) {
        for sequence in self.running.iter_mut().chain(&mut self.waiting) {
            match sequence.was_admitted() {
                true => sequence.end(FinishReason::InsufficientSystemResource),
                false => sequence.fail(too_busy()),
            }
        }
    }

    /// Lets go who hung up, and ends who took too long.
    fn dismiss(&mut self, pages: &mut Pages, now: Instant) {
        let Bounds { start, total, .. } = self.bounds;
        for sequence in &mut self.running {
            sequence.line().flush();
            if !sequence.ended() && sequence.age(now) > total {
                sequence.end(FinishReason::InsufficientSystemResource);
            }
        }
        for mut gone in self.running.extract_if(.., |sequence| sequence.line().hung_up()) {
            gone.release(pages);
        }
        self.waiting.retain_mut(|sequence| {
            sequence.line().flush();
            !sequence.line().hung_up()
        });
        let overdue = |sequence: &Sequence| sequence.age(now) > if sequence.was_admitted() { total } else { start };
        for mut sequence in std::mem::take(&mut self.waiting) {
            match (overdue(&sequence), sequence.was_admitted()) {
                (false, _) => {
                    self.waiting.push_back(sequence);
                    continue;
                }
                (true, true) => sequence.end(FinishReason::InsufficientSystemResource),
                (true, false) => sequence.fail(too_busy()),
            }
            self.leaving.push(sequence);
        }
        self.leaving.retain_mut(|sequence| {
            sequence.line().flush();
            sequence.line().blocked() && !sequence.line().hung_up() && sequence.age(now) <= 2 * total
        });
    }

    /// Admits from the front of the queue while there are pages: for all that is to be computed, and one more for each that runs,
    /// or somebody would be paused at once. Callers who do not read take no place and no pages from those who do.
    fn admit(&mut self, pages: &mut Pages, disk: Option<&Disk>) {
        while self.running.iter().filter(|sequence| sequence.keeps_up()).count() < self.bounds.max_running {
            let Some(next) = self.waiting.iter().position(Sequence::keeps_up) else { return };
            let mut sequence = self.waiting.remove(next).expect("a position in the queue");
            let missing = sequence.find(pages);
            if !self.running.is_empty() && missing + self.running.len() > pages.available() {
                sequence.release(pages);
                self.waiting.insert(next, sequence);
                if self.running.iter().all(Sequence::keeps_up) {
                    return;
                }
                self.pause_one(pages);
                continue;
            }
            sequence.admit();
            // Alone it may still not fit; `make_room` ends it then.
            sequence.grow(pages);
            if let Some(disk) = disk {
                sequence.fetch(disk);
            }
            let older = self.running.partition_point(|other| other.arrival() < sequence.arrival());
            self.running.insert(older, sequence);
        }
    }

    /// Gives everybody room for all tokens they have, oldest first.
    fn make_room(&mut self, pages: &mut Pages) {
        let mut index = 0;
        while index < self.running.len() {
            let alone = self.running.len() == 1;
            let sequence = &mut self.running[index];
            if !sequence.keeps_up() || sequence.grow(pages) {
                index += 1;
            } else if alone {
                tracing::warn!("an answer was ended: the whole cache is too small for it");
                sequence.end(FinishReason::InsufficientSystemResource);
            } else {
                self.pause_one(pages);
                index = 0;
            }
        }
    }

    /// Who cannot use a step loses nothing by waiting; else it is the youngest.
    fn pause_one(&mut self, pages: &mut Pages) {
        let idle = self.running.iter().rposition(|sequence| !sequence.keeps_up());
        let mut paused = self.running.remove(idle.unwrap_or(self.running.len() - 1));
        paused.pause(pages);
        let older = self.waiting.partition_point(|other| other.arrival() < paused.arrival());
        self.waiting.insert(older, paused);
    }

    fn chunks(&mut self) -> Vec<Chunk> {
        let ready = || self.running.iter().enumerate().filter(|(_, sequence)| sequence.is_ready());
        let decodes = ready().filter(|(_, sequence)| sequence.pending() == 1);
        let mut chunks: Vec<Chunk> = decodes.map(|(sequence, _)| Chunk { sequence, tokens: 1, last: true }).collect();

        let reading = || ready().filter(|(_, sequence)| sequence.pending() > 1);
        let after = reading().filter(|(_, sequence)| sequence.arrival() > self.last_read);
        let up_to = reading().filter(|(_, sequence)| sequence.arrival() <= self.last_read);
        let mut budget = self.bounds.batch_tokens;
        let mut last_read = self.last_read;
        for (index, sequence) in after.chain(up_to) {
            let tokens = sequence.pending().min(budget);
            if tokens == 0 {
                break;
            }
            chunks.push(Chunk { sequence: index, tokens, last: tokens == sequence.pending() });
            budget -= tokens;
            last_read = sequence.arrival();
        }
        self.last_read = last_read;
        chunks
    }
}
