//! The engine thread, which owns the model, and the handle that callers hold. The loop of the
//! thread is [`EngineThread::run`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use chat::{EngineStatus, Error};
use model::{LatentCache, Model};
use parking_lot::Mutex;
use text::Encoding;
use tokio::sync::Semaphore;

use crate::check::{Profile, ReasoningRules, ValidationRules};
use crate::disk_cache::{DiskCache, DiskCacheOptions, PageKeyChain};
use crate::grammar_compiler::GrammarCompiler;
use crate::idle_status::idle_status;
use crate::load::Load;
use crate::metrics;
use crate::page_allocator::PageAllocator;
use crate::request::Request;
use crate::sampling_defaults::SamplingDefaults;
use crate::scheduler::{Scheduler, SchedulerLimits, prefill_tokens};
use crate::token_counter::TokenCounter;

/// Maximum wait for a request while no sequence can take a step: each waits for its client to read,
/// for pages from disk, or for admission.
const IDLE_POLL: Duration = Duration::from_millis(5);

/// Maximum number of prompts that are encoded at the same time.
const MAX_CONCURRENT_ENCODES: usize = 2;

/// The options of an engine. [`Options::default`] fits a small model; `cache_pages` and `context`
/// depend on the machine and the model.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pages of the cache, 64 positions each.
    pub cache_pages: usize,
    /// Maximum number of tokens of prompt and answer together; the model's own limit
    /// applies as well.
    pub context: usize,
    /// Maximum number of prompt tokens prefilled in one step, besides one token per
    /// decoding sequence.
    pub batch_tokens: usize,
    /// Maximum number of requests that are processed at the same time. Those whose clients do not
    /// read their answers do not count.
    pub max_running: usize,
    /// Maximum number of requests that wait for their first admission; further ones are refused.
    pub queue: usize,
    /// The seed of requests without one. `None`: each request gets a random seed.
    pub seed: Option<i64>,
    /// Maximum time until a request is admitted; then it is refused.
    pub queue_timeout: Duration,
    /// Maximum time from the arrival of a request to the end of its answer; then the answer is cut
    /// off.
    pub total_timeout: Duration,
    /// Number of unread deltas after which a sequence waits for its client. 0 counts as 1.
    pub channel_capacity: usize,
    pub profile: Profile,
    /// The sampling parameters of requests that name none, except in the profile
    /// [`Profile::DeepSeek`], whose defaults are those of the service.
    pub sampling_defaults: SamplingDefaults,
    /// `None`: the rules of the encoding's own release.
    pub reasoning_rules: Option<ReasoningRules>,
    /// `None`: prefix pages are cached in memory only, as when the folder cannot be used.
    pub disk: Option<DiskCacheOptions>,
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
            queue_timeout: Duration::from_secs(600),
            total_timeout: Duration::from_secs(1800),
            channel_capacity: 64,
            profile: Profile::default(),
            sampling_defaults: SamplingDefaults::default(),
            reasoning_rules: None,
            disk: None,
        }
    }
}

/// The reason why an engine cannot start.
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

/// A handle to a running engine; cheap to clone. Answers do not keep the engine alive: when the
/// last handle is dropped, the thread cuts all unfinished answers off, refuses requests that were
/// never admitted, and ends. Nothing waits for the thread.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) encoding: Arc<Encoding>,
    pub(crate) grammar_compiler: GrammarCompiler,
    pub(crate) validation_rules: ValidationRules,
    pub(crate) channel_capacity: usize,
    pub(crate) seed: Option<i64>,
    pub(crate) sampling_defaults: SamplingDefaults,
    /// One permit for each request that may wait; a request returns it when it is admitted.
    pub(crate) queue_permits: Arc<Semaphore>,
    /// One permit for each prompt that may be encoded at the same time; never closed.
    pub(crate) encode_permits: Arc<Semaphore>,
    pub(crate) requests: Sender<Request>,
    /// False while the thread recovers from a panic.
    ready: Arc<AtomicBool>,
    load: Arc<Mutex<Load>>,
    pub(crate) token_counter: Arc<Mutex<TokenCounter>>,
    pub(crate) idle_status: EngineStatus,
    thread: JoinHandle<()>,
}

impl Engine {
    /// Starts the thread that owns `model`. It runs until the last handle is dropped. A disk cache
    /// that cannot be opened is not an error.
    ///
    /// # Errors
    /// `Zero` for a count that is 0, `Vocabulary` for a tokenizer with more ids than the model has
    /// rows, `Thread` when the system refuses a thread.
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
        let tokenizer = encoding.tokenizer().len();
        let info = model.info();
        if tokenizer > info.vocab_size {
            return Err(StartError::Vocabulary { tokenizer, model: info.vocab_size });
        }
        metrics::describe(info.attention);
        let mut validation_rules = ValidationRules::of(&encoding, options.context.min(info.context));
        validation_rules.profile = options.profile;
        validation_rules.has_sparse_attention = info.has_indexer;
        validation_rules.reasoning_rules = options.reasoning_rules.unwrap_or(validation_rules.reasoning_rules);
        let context = validation_rules.context;
        let idle_status = idle_status(info, context, options.max_running, options.queue, options.cache_pages);
        let limits = SchedulerLimits {
            batch_tokens: options.batch_tokens,
            max_running: options.max_running,
            queue_timeout: options.queue_timeout,
            total_timeout: options.total_timeout,
        };
        let (requests, inbox) = channel();
        let ready = Arc::new(AtomicBool::new(true));
        let load = Arc::default();
        let token_counter = Arc::new(Mutex::new(TokenCounter::new(Instant::now())));
        let cache = model.new_cache(options.cache_pages);
        let disk = options.disk.as_ref().and_then(|disk| DiskCache::open(disk, cache.page_bytes()));
        let mut engine_thread = EngineThread {
            cache,
            disk,
            model,
            pages: PageAllocator::new(options.cache_pages),
            scheduler: Scheduler::new(limits),
            inbox,
            ready: ready.clone(),
            load: Arc::clone(&load),
            token_counter: token_counter.clone(),
            idle: true,
        };
        engine_thread.publish_load();
        let thread = Builder::new().name("engine".into()).spawn(move || engine_thread.run())?;
        let queue_permits = Arc::new(Semaphore::new(options.queue.min(Semaphore::MAX_PERMITS)));
        let encode_permits = Arc::new(Semaphore::new(MAX_CONCURRENT_ENCODES));
        let shared = Shared {
            grammar_compiler: GrammarCompiler::start(&encoding)?,
            encoding,
            validation_rules,
            channel_capacity: options.channel_capacity,
            seed: options.seed,
            sampling_defaults: match options.profile {
                Profile::DeepSeek => SamplingDefaults::default(),
                Profile::Lenient => options.sampling_defaults,
            },
            queue_permits,
            encode_permits,
            requests,
            ready,
            load,
            token_counter,
            idle_status,
            thread,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The rules by which chats are validated.
    pub fn validation_rules(&self) -> &ValidationRules {
        &self.shared.validation_rules
    }

    /// Whether answers without thinking are possible.
    pub fn supports_non_thinking(&self) -> bool {
        self.shared.validation_rules.supports_non_thinking
    }

    /// Whether answers with thinking are possible.
    pub fn supports_thinking(&self) -> bool {
        self.shared.validation_rules.supports_thinking
    }

    /// The load after the last step, or at the start.
    pub fn load(&self) -> Load {
        *self.shared.load.lock()
    }

    /// Whether the thread runs and is not recovering from a panic.
    pub(crate) fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Acquire) && !self.shared.thread.is_finished()
    }
}

/// The state that the thread owns.
struct EngineThread {
    model: Box<dyn Model>,
    cache: LatentCache,
    /// Dropped before `disk`, whose reader may wait for a running sequence to take its pages.
    scheduler: Scheduler,
    disk: Option<DiskCache>,
    pages: PageAllocator,
    inbox: Receiver<Request>,
    ready: Arc<AtomicBool>,
    load: Arc<Mutex<Load>>,
    token_counter: Arc<Mutex<TokenCounter>>,
    /// Whether the last step had nothing to do and no request has arrived since.
    idle: bool,
}

impl EngineThread {
    /// Takes steps until all handles are dropped, then ends all answers early.
    fn run(mut self) {
        while self.receive_requests() {
            match catch_unwind(AssertUnwindSafe(|| self.step())) {
                Ok(worked) => self.idle = !worked,
                Err(panic) => self.recover_from_panic(&*panic),
            }
            self.publish_load();
        }
        self.scheduler.shut_down();
    }

    /// Enqueues the requests that have arrived. Waits for one without limit while there is no
    /// sequence, and for [`BACKPRESSURE_POLL`] while none can take a step. Returns false when all
    /// handles are dropped.
    fn receive_requests(&mut self) -> bool {
        loop {
            let timeout = match (self.scheduler.is_empty(), self.idle) {
                (true, _) => Duration::from_secs(3600),
                (false, true) => IDLE_POLL,
                (false, false) => Duration::ZERO,
            };
            match self.inbox.recv_timeout(timeout) {
                Ok(request) => {
                    let page_keys =
                        self.disk.as_ref().map(|disk| PageKeyChain::new(disk.root_key(&request.cache_scope)));
                    self.scheduler.enqueue(request, page_keys);
                }
                Err(RecvTimeoutError::Timeout) if self.scheduler.is_empty() => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
            self.idle = false;
        }
    }

    /// Takes one step: plans it, computes one forward pass, samples and sends tokens. Returns false
    /// if no sequence was ready.
    fn step(&mut self) -> bool {
        self.scheduler.install_fetched_pages(&mut self.cache, &mut self.pages);
        let chunks = self.scheduler.plan_step(&mut self.pages, self.disk.as_ref());
        if chunks.is_empty() {
            return false;
        }
        let start = Instant::now();
        let output = self.model.forward(&self.scheduler.batch(&chunks), &mut self.cache, &mut ());
        // The logits have rows only for the positions that need them.
        let mut rows = (0..output.logits.len()).map(|row| output.logits.row(row));
        for chunk in &chunks {
            let sequence = self.scheduler.sequence(chunk);
            let last = sequence.take_outputs(chunk.tokens, chunk.needs_logits, &mut rows);
            sequence.advance(chunk.tokens, &mut self.pages);
            if let Some(disk) = &self.disk {
                sequence.store_pages(disk, &self.cache);
            }
            if let Some(logits) = last.filter(|_| chunk.needs_logits) {
                self.token_counter.lock().record_sample(Instant::now(), &sequence.usage());
                sequence.sample_next(logits);
            }
        }
        self.token_counter.lock().record_prefill(Instant::now(), prefill_tokens(&chunks));
        self.scheduler.retire(&mut self.pages);
        metrics::record_step(start.elapsed().as_secs_f64());
        true
    }

    fn publish_load(&mut self) {
        let load = Load::of(&self.scheduler, &self.pages);
        load.record();
        *self.load.lock() = load;
    }

    /// Recovers from a panic of a step, after which the content of the cache is unknown: fails the
    /// running requests, or the waiting ones if none runs, and replaces the cache. The engine is
    /// not ready meanwhile.
    fn recover_from_panic(&mut self, panic: &(dyn Any + Send)) {
        self.ready.store(false, Ordering::Release);
        metrics::record_panic();
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(
            panic = text.unwrap_or("no message"),
            running = self.scheduler.running(),
            "engine step panicked, cache rebuilt"
        );
        self.scheduler
            .fail_running(&Error::internal("the engine failed while computing this answer and has started anew"));
        let pages = self.pages.total();
        // The old cache is freed first: memory may not suffice for both.
        self.cache = self.model.new_cache(0);
        self.cache = self.model.new_cache(pages);
        self.pages = PageAllocator::new(pages);
        self.ready.store(true, Ordering::Release);
    }
}
