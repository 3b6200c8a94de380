//! One request in flight: its tokens, its pages, its sampler and the way back to its caller.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use chat::{Delta, Error, FinishReason, Usage};
use model::LatentCache;
use text::{Decoder, Encoding};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::disk::{Chain, Disk};
use crate::grammar::{Bans, Constraint};
use crate::line::{Line, Progress};
use crate::observe;
use crate::pages::{PAGE_ROWS, Pages, Salt, Table};
use crate::sample::{Choice, Sampler, logprob};

/// What a caller asks of the engine, its prompt rendered and measured.
pub(crate) struct Request {
    pub(crate) prompt: Vec<u32>,
    /// Most tokens of the answer; prompt and answer fit the context.
    pub(crate) budget: usize,
    /// What it means that the budget is spent: `Length`, or `ContextFull` where only the context set it.
    pub(crate) full: FinishReason,
    pub(crate) salt: Salt,
    pub(crate) thinking: bool,
    /// How many alternatives to tell with every token; `None`: no log-probabilities at all.
    pub(crate) top_logprobs: Option<usize>,
    pub(crate) sampler: Sampler,
    /// The shape the answer was promised.
    pub(crate) constraint: Option<Constraint>,
    pub(crate) bans: Bans,
    pub(crate) decoder: Decoder,
    pub(crate) encoding: Arc<Encoding>,
    pub(crate) line: Line,
    pub(crate) progress: Option<watch::Sender<Progress>>,
    /// A place in the queue, given back when the request is admitted.
    pub(crate) place: OwnedSemaphorePermit,
}

pub(crate) struct Sequence {
    /// Prompt and answer so far.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    budget: usize,
    /// What it means that the budget is spent.
    full: FinishReason,
    /// Positions whose cache rows are written.
    computed: usize,
    table: Table,
    /// Names its pages on disk; `None` without a disk cache.
    chain: Option<Chain>,
    /// Pages that are being read from disk.
    fetch: Option<Fetch>,
    /// Pages that are to be written to disk.
    fresh: Vec<usize>,
    /// Tokens of the prompt that were found and not computed.
    cached_tokens: usize,
    /// Until it is paused: what is found afterwards is its own work.
    counts_hits: bool,
    thinking: bool,
    top_logprobs: Option<usize>,
    sampler: Sampler,
    constraint: Option<Constraint>,
    bans: Bans,
    decoder: Decoder,
    encoding: Arc<Encoding>,
    line: Line,
    progress: Option<watch::Sender<Progress>>,
    place: Option<OwnedSemaphorePermit>,
    /// Greater for those that came later.
    arrival: u64,
    since: Instant,
    /// The first token has been drawn.
    started: bool,
    /// The caller has been told the end.
    ended: bool,
}

/// Pages on their way from disk, in order.
struct Fetch {
    pages: Receiver<Vec<u8>>,
    /// The place of the page that comes next.
    next: usize,
}

impl Sequence {
    pub(crate) fn new(request: Request, arrival: u64, chain: Option<Chain>) -> Self {
        Self {
            prompt_tokens: request.prompt.len(),
            tokens: request.prompt,
            budget: request.budget,
            full: request.full,
            computed: 0,
            table: Table::new(request.salt),
            chain,
            fetch: None,
            fresh: Vec::new(),
            cached_tokens: 0,
            counts_hits: true,
            thinking: request.thinking,
            top_logprobs: request.top_logprobs,
            sampler: request.sampler,
            constraint: request.constraint,
            bans: request.bans,
            decoder: request.decoder,
            encoding: request.encoding,
            line: request.line,
            progress: request.progress,
            place: Some(request.place),
            arrival,
            since: Instant::now(),
            started: false,
            ended: false,
        }
    }

    /// Looks for published pages of what comes next. Returns how many pages are missing for all tokens there are.
    pub(crate) fn find(&mut self, pages: &mut Pages) -> usize {
        self.computed = pages.find(&mut self.table, &self.tokens, self.computed);
        self.tokens.len().div_ceil(PAGE_ROWS).saturating_sub(self.table.pages().len())
    }

    /// Leaves the queue, after [`Sequence::find`].
    pub(crate) fn admit(&mut self) {
        if self.place.take().is_some() {
            observe::admitted(self.prompt_tokens);
        }
        self.hit(self.computed);
        self.tell_progress();
    }

    /// Takes over what others have published of its prompt since it was admitted.
    pub(crate) fn catch_up(&mut self, pages: &mut Pages) {
        let computed = self.computed;
        self.find(pages);
        self.hit(self.computed - computed);
    }

    /// Asks the disk for what comes next of its tokens, the last one left out.
    pub(crate) fn fetch(&mut self, disk: &Disk) {
        let Some(chain) = &mut self.chain else { return };
        let next = self.computed / PAGE_ROWS;
        let most = ((self.tokens.len() - 1) / PAGE_ROWS).min(self.table.pages().len());
        let keys = (next..most).map(|index| chain.key(index, &self.tokens).0).collect();
        self.fetch = disk.fetch(keys).map(|pages| Fetch { pages, next });
    }

    /// Takes over what has come from disk. Where it ends, computing goes on.
    pub(crate) fn install(&mut self, cache: &mut LatentCache, pages: &mut Pages) {
        if self.fetch.is_none() {
            return;
        }
        while let Some(fetch) = &mut self.fetch {
            match fetch.pages.try_recv() {
                Ok(rows) => {
                    let index = fetch.next;
                    fetch.next += 1;
                    // Somebody may have published it in the meantime.
                    if index * PAGE_ROWS == self.computed {
                        cache.write_page(self.table.pages()[index], &rows);
                        self.computed += PAGE_ROWS;
                        pages.publish(&mut self.table, &self.tokens, self.computed);
                        self.hit(PAGE_ROWS);
                        observe::hit_on_disk(PAGE_ROWS);
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.fetch = None,
            }
        }
        self.tell_progress();
    }

    /// Hands the disk what has been computed since the last time.
    pub(crate) fn store(&mut self, disk: &Disk, cache: &LatentCache) {
        let Some(chain) = &mut self.chain else { return };
        for index in self.fresh.drain(..) {
            let (key, parent) = chain.key(index, &self.tokens);
            let page = self.table.pages()[index];
            disk.store(key, parent, || cache.read_page(page));
        }
    }

    fn hit(&mut self, tokens: usize) {
        if self.counts_hits {
            self.cached_tokens += tokens;
            observe::hit(tokens);
        }
    }

    /// Gives all pages back, to be admitted again.
    pub(crate) fn pause(&mut self, pages: &mut Pages) {
        self.release(pages);
        self.counts_hits = false;
        observe::paused();
    }

    /// Makes room for all tokens there are. False when there are not enough pages.
    pub(crate) fn grow(&mut self, pages: &mut Pages) -> bool {
        pages.grow(&mut self.table, self.tokens.len())
    }

    /// Gives all pages back. What was computed must be found or computed again.
    pub(crate) fn release(&mut self, pages: &mut Pages) {
        pages.release(&mut self.table);
        self.fetch = None;
        self.fresh.clear();
        self.computed = 0;
    }

    /// The next `n` tokens to compute, and where they begin.
    pub(crate) fn chunk(&self, n: usize) -> (&[u32], usize) {
        (&self.tokens[self.computed..][..n], self.computed)
    }

    pub(crate) fn pages(&self) -> &[u32] {
        self.table.pages()
    }

    /// Tokens whose rows are not computed yet. One: the sequence decodes; more: it is being read, or read again after a pause.
    pub(crate) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// The next `n` tokens have been computed.
    pub(crate) fn advance(&mut self, n: usize, pages: &mut Pages) {
        self.computed += n;
        self.fresh.extend(pages.publish(&mut self.table, &self.tokens, self.computed));
        self.tell_progress();
    }

    /// Draws the next token and sends what it makes certain.
    pub(crate) fn take(&mut self, logits: &[f32]) {
        if !self.started {
            self.started = true;
            self.line.send([Delta::Start(self.usage())]);
        }
        let token = match self.draw(logits) {
            Ok(Some(token)) => token,
            Ok(None) => {
                tracing::error!(position = self.tokens.len(), "the model's output has no finite logit");
                return self.fail(Error::internal("the model's output is not a number, the answer cannot go on"));
            }
            Err(error) => return self.fail(error),
        };
        let tokenizer = self.encoding.tokenizer();
        let logprob = self.top_logprobs.map(|n| logprob(logits, token, n, tokenizer));
        self.tokens.push(token);
        observe::generated();
        let mut deltas = Vec::new();
        let answers = !self.decoder.is_reasoning();
        let ended = self.decoder.push(token, logprob, &mut deltas);
        self.constrain(answers, token);
        self.line.send(deltas);
        let full = self.generated() >= self.budget;
        if let Some(reason) = ended.or(full.then_some(self.full)) {
            self.end(reason);
        }
    }

    fn draw(&mut self, logits: &[f32]) -> Result<Option<u32>, Error> {
        let answers = !self.decoder.is_reasoning();
        let banned = self.bans.tokens(answers, self.constraint.as_ref(), &self.tokens, &self.encoding);
        let mask = match self.constraint.as_mut().filter(|_| answers) {
            Some(constraint) => constraint.mask()?,
            None => None,
        };
        Ok(self.sampler.pick(logits, Choice { biased: answers, banned: &banned, mask }))
    }

    /// Tells the constraint what was drawn; its next mask is computed while the model runs. `answered`: `token` was part of the
    /// answer, not of the reasoning.
    fn constrain(&mut self, answered: bool, token: u32) {
        let Some(constraint) = &mut self.constraint else { return };
        if answered {
            constraint.token(token);
        } else if !self.decoder.is_reasoning() {
            constraint.answer_begins();
        }
    }

    /// Ends the answer with what was held back, the reason and the usage.
    pub(crate) fn end(&mut self, reason: FinishReason) {
        let mut deltas = Vec::new();
        if !self.started {
            deltas.push(Delta::Start(self.usage()));
        }
        let reason = self.decoder.finish(reason, &mut deltas);
        deltas.push(Delta::Finish(reason));
        deltas.push(Delta::Usage(self.usage()));
        self.line.send(deltas);
        self.ended = true;
    }

    /// The tokens so far.
    fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.prompt_tokens as u64,
            cached_tokens: self.cached_tokens as u64,
            cache_write_tokens: 0,
            completion_tokens: self.generated() as u64,
            reasoning_tokens: self.thinking.then(|| self.decoder.reasoning_tokens()),
        }
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.line.fail(error);
        self.ended = true;
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Was admitted at least once.
    pub(crate) fn was_admitted(&self) -> bool {
        self.place.is_none()
    }

    pub(crate) fn arrival(&self) -> u64 {
        self.arrival
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    pub(crate) fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// Not ended, and its caller takes what it gets.
    pub(crate) fn keeps_up(&self) -> bool {
        !self.ended && !self.line.blocked()
    }

    /// Can use a step: it waits neither for its caller nor for the disk.
    pub(crate) fn is_ready(&self) -> bool {
        self.keeps_up() && self.fetch.is_none()
    }

    fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_tokens
    }

    fn tell_progress(&self) {
        if let Some(progress) = self.progress.as_ref().filter(|_| !self.started) {
            progress.send_replace(Progress { read: self.computed, total: self.prompt_tokens });
        }
    }
}
