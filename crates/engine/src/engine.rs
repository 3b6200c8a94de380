//! The engine: a thread that owns the model, and the handle its callers hold. The loop of the thread is [`Run::run`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use chat::Error;
use model::{LatentCache, Model};
use text::Encoding;
use tokio::sync::Semaphore;

use crate::check::{Limits, Profile, ReasoningRules};
use crate::disk::{Chain, Disk, DiskOptions};
use crate::grammar::Grammars;
use crate::observe::{self, Load};
use crate::pages::Pages;
use crate::schedule::{Bounds, Schedule};
use crate::sequence::Request;

/// How long the thread sleeps when all that run wait for their callers to read.
const NAP: Duration = Duration::from_millis(5);

/// Prompts that are encoded at once.
const ENCODERS: usize = 2;

/// How an engine runs. [`Options::default`] fits a small model; `cache_pages` and `context` come from the machine and the model.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pages of the cache, 64 positions each.
    pub cache_pages: usize,
    /// Most tokens of prompt and answer together; the model's own limit holds as well.
    pub context: usize,
    /// Prompt tokens read in one step beside the running answers.
    pub batch_tokens: usize,
    /// Requests answered side by side.
    pub max_running: usize,
    /// Requests that may wait; more are refused.
    pub queue: usize,
    /// The seed of requests that name none. `None`: each gets one of its own.
    pub seed: Option<i64>,
    /// Longest wait until a request is admitted.
    pub start_limit: Duration,
    /// Longest time from a request to the end of its answer.
    pub total_limit: Duration,
    /// Deltas a caller may be behind before its sequence waits for it.
    pub unread: usize,
    pub profile: Profile,
    /// `None`: those of the encoding's own release.
    pub rules: Option<ReasoningRules>,
    /// `None`: prefix pages live in memory alone.
    pub disk: Option<DiskOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_pages: 1024,
            context: usize::MAX,
            batch_tokens: 256,
            max_running: 64,
            queue: 256,
            seed: None,
            start_limit: Duration::from_secs(600),
            total_limit: Duration::from_secs(1800),
            unread: 64,
            profile: Profile::default(),
            rules: None,
            disk: None,
        }
    }
}

/// Why an engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("`{name}` is 0\nhint: it must be at least 1")]
    Zero { name: &'static str },
    #[error(
        "the tokenizer has {tokenizer} ids, the model only {model}\nhint: take `tokenizer.json` and the weights from the same release"
    )]
    Vocabulary { tokenizer: usize, model: usize },
    #[error("the engine's thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A handle to a running engine; cheap to clone. The thread ends when the last one is dropped, and ends all answers then.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) encoding: Arc<Encoding>,
    pub(crate) grammars: Grammars,
    pub(crate) limits: Limits,
    pub(crate) unread: usize,
    pub(crate) seed: Option<i64>,
    /// A permit for each request that may wait.
    pub(crate) queue: Arc<Semaphore>,
    /// A permit for each prompt that may be encoded at once; never closed.
    pub(crate) encoders: Arc<Semaphore>,
    pub(crate) requests: Sender<Request>,
    ready: Arc<AtomicBool>,
    load: Arc<Mutex<Load>>,
    thread: JoinHandle<()>,
}

impl Engine {
    /// Starts a thread for `model`; it lives as long as the handles.
    ///
    /// # Errors
    /// Options that allow nothing, a tokenizer with more ids than the model has rows, a system without threads.
    pub fn start(model: Box<dyn Model>, encoding: Arc<Encoding>, options: Options) -> Result<Self, StartError> {
        let counts = [
            ("cache_pages", options.cache_pages),
            ("context", options.context),
            ("batch_tokens", options.batch_tokens),
            ("max_running", options.max_running),
            ("queue", options.queue),
        ];
        if let Some(&(name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(StartError::Zero { name });
        }
        let (tokenizer, info) = (encoding.tokenizer().len(), model.info());
        if tokenizer > info.vocab_size {
            return Err(StartError::Vocabulary { tokenizer, model: info.vocab_size });
        }
        observe::describe(info.attention);
        let mut limits = Limits::of(&encoding, options.context.min(info.context));
        limits.profile = options.profile;
        limits.rules = options.rules.unwrap_or(limits.rules);
        let bounds = Bounds {
            batch_tokens: options.batch_tokens,
            max_running: options.max_running,
            start: options.start_limit,
            total: options.total_limit,
        };
        let (requests, inbox) = channel();
        let (ready, load) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let cache = model.new_cache(options.cache_pages);
        let disk = options.disk.as_ref().and_then(|disk| Disk::open(disk, cache.page_bytes()));
        let mut run = Run {
            cache,
            disk,
            model,
            pages: Pages::new(options.cache_pages),
            schedule: Schedule::new(bounds),
            inbox,
            ready: ready.clone(),
            load: Arc::clone(&load),
            idle: true,
        };
        run.tell_load();
        let thread = Builder::new().name("engine".into()).spawn(move || run.run())?;
        let queue = Arc::new(Semaphore::new(options.queue.min(Semaphore::MAX_PERMITS)));
        let encoders = Arc::new(Semaphore::new(ENCODERS));
        let shared = Shared {
            grammars: Grammars::start(&encoding)?,
            encoding,
            limits,
            unread: options.unread,
            seed: options.seed,
            queue,
            encoders,
            requests,
            ready,
            load,
            thread,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What chats are judged by.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Answers without thinking are possible.
    pub fn supports_plain(&self) -> bool {
        self.shared.limits.plain
    }

    /// Answers with thinking are possible.
    pub fn supports_thinking(&self) -> bool {
        self.shared.limits.thinking
    }

    pub fn load(&self) -> Load {
        *self.shared.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Acquire) && !self.shared.thread.is_finished()
    }
}

/// Everything the thread owns.
struct Run {
    model: Box<dyn Model>,
    cache: LatentCache,
    disk: Option<Disk>,
    pages: Pages,
    schedule: Schedule,
    inbox: Receiver<Request>,
    ready: Arc<AtomicBool>,
    load: Arc<Mutex<Load>>,
    /// The last step had nothing to do.
    idle: bool,
}

impl Run {
    fn run(mut self) {
        while self.receive() {
            match catch_unwind(AssertUnwindSafe(|| self.step())) {
                Ok(worked) => self.idle = !worked,
                Err(panic) => self.recover(&*panic),
            }
            self.tell_load();
        }
        self.schedule.close();
    }

    /// Takes in what has come; waits only while there is nothing else to do. False when all handles are gone.
    fn receive(&mut self) -> bool {
        loop {
            let patience = match (self.schedule.is_empty(), self.idle) {
                (true, _) => Duration::from_secs(3600),
                (false, true) => NAP,
                (false, false) => Duration::ZERO,
            };
            match self.inbox.recv_timeout(patience) {
                Ok(request) => {
                    let chain = self.disk.as_ref().map(|disk| Chain::new(disk.root(&request.salt)));
                    self.schedule.push(request, chain);
                }
                Err(RecvTimeoutError::Timeout) if self.schedule.is_empty() => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            self.idle = false;
        }
    }

    /// One forward pass: schedule, compute, draw, send. False when nobody could use one.
    fn step(&mut self) -> bool {
        self.schedule.install(&mut self.cache, &mut self.pages);
        let chunks = self.schedule.next(&mut self.pages, self.disk.as_ref());
        if chunks.is_empty() {
            return false;
        }
        let start = Instant::now();
        let output = self.model.forward(&self.schedule.batch(&chunks), &mut self.cache, &mut ());
        let mut row = 0;
        for chunk in &chunks {
            let sequence = self.schedule.sequence(chunk);
            sequence.advance(chunk.tokens, &mut self.pages);
            if let Some(disk) = &self.disk {
                sequence.store(disk, &self.cache);
            }
            if chunk.last {
                sequence.take(output.logits.row(row));
                row += 1;
            }
        }
        self.schedule.retire(&mut self.pages);
        observe::stepped(start.elapsed().as_secs_f64());
        true
    }

    fn tell_load(&mut self) {
        let load = Load::of(&self.schedule, &self.pages);
        load.record();
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
    }

    /// After a panic nobody knows what the cache holds: those that run are told, and everything begins anew.
    fn recover(&mut self, panic: &(dyn Any + Send)) {
        self.ready.store(false, Ordering::Release);
        observe::panicked();
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(
            panic = text.unwrap_or("no message"),
            running = self.schedule.running(),
            "a step panicked: the cache is rebuilt"
        );
        self.schedule.fail(&Error::internal("the engine failed while computing this answer and has started anew"));
        let pages = self.pages.total();
        // The old cache goes before the new one comes: there may be no memory for both.
        self.cache = self.model.new_cache(0);
        self.cache = self.model.new_cache(pages);
        self.pages = Pages::new(pages);
        self.ready.store(true, Ordering::Release);
    }
}
