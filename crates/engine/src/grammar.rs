//! Constrained decoding: which tokens may come next so that an answer fits the shape it was
//! promised. The shapes are written by [`text`], the masks computed by llguidance; those that take
//! long on a thread of their own, beside the forward pass.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use chat::Error;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use text::{Encoding, Grammar, GrammarStart, ResponseStart};

/// Threads that compute masks.
const MASK_WORKERS: usize = 2;

/// A mask that is expected to take less is computed at once: handing it to a thread
/// would cost as much.
const INLINE_MASK_LIMIT: Duration = Duration::from_micros(25);

/// Compiles grammars for one tokenizer, and computes their masks.
pub(crate) struct GrammarCompiler {
    factory: ParserFactory,
    jobs: Sender<MaskJob>,
}

/// A matcher on its way to a worker, and the way back.
struct MaskJob {
    matcher: Matcher,
    reply: Sender<ComputedMask>,
}

/// A matcher with the mask of the token that comes next; why there is none, if there is none.
struct ComputedMask {
    matcher: Matcher,
    mask: Result<SimpleVob, String>,
    elapsed: Duration,
}

impl ComputedMask {
    fn of(mut matcher: Matcher) -> Self {
        let started = Instant::now();
        let mask = matcher.compute_mask_or_eos().map_err(|error| first_line(&error));
        Self { matcher, mask, elapsed: started.elapsed() }
    }
}

impl GrammarCompiler {
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn start(encoding: &Arc<Encoding>) -> std::io::Result<Self> {
        let env: TokEnv = Arc::new(TokenizerAdapter::of(encoding));
        let mut factory = ParserFactory::new_simple(&env).expect("the slices are constants of the library");
        factory.quiet();
        // Error texts with the prompt's tokens in them would end up in logs.
        factory.limits_mut().verbose_errors = false;
        // Schemas are the callers': building one may take a few milliseconds, and some megabytes.
        factory.limits_mut().initial_lexer_fuel = 500_000;
        factory.limits_mut().max_grammar_size = 200_000;
        factory.limits_mut().max_lexer_states = 50_000;
        let (jobs, inbox) = channel::<MaskJob>();
        let inbox = Arc::new(std::sync::Mutex::new(inbox));
        for worker in 0..MASK_WORKERS {
            let inbox = inbox.clone();
            std::thread::Builder::new().name(format!("grammar-{worker}")).spawn(move || run_worker(&inbox))?;
        }
        Ok(Self { factory, jobs })
    }

    /// Builds the constraint of one answer. `prefix` is the beginning of the answer that the
    /// caller has given.
    ///
    /// # Errors
    /// `Invalid` when the grammar is too large or has what the library cannot do, or when `prefix`
    /// does not fit it.
    pub(crate) fn compile(&self, grammar: Grammar, prefix: &[u32], start: ResponseStart) -> Result<Constraint, Error> {
        let Grammar { lark, start: begins, subject } = grammar;
        let parser = self.factory.create_parser(TopLevelGrammar::from_lark(lark));
        let parser = parser.map_err(|error| {
            Error::invalid(format!("Invalid schema for {subject}: it cannot be enforced: {}", first_line(&error)))
        })?;
        let mut matcher = Matcher::new(Ok(parser));
        if matcher.consume_tokens(prefix).is_err() {
            return Err(Error::invalid(format!("The prefix does not begin an answer that fits {subject}")));
        }
        let state = ConstraintState::Waiting(Box::new(matcher));
        let mut constraint =
            Constraint { state, starts_at: begins, jobs: self.jobs.clone(), last_mask_time: Duration::MAX };
        if start == ResponseStart::Content {
            constraint.start_answer();
        }
        Ok(constraint)
    }
}

/// The reason without the library's own context.
fn first_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

fn run_worker(inbox: &std::sync::Mutex<Receiver<MaskJob>>) {
    loop {
        // A receiver is whole even when a holder panicked.
        let job = inbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok(MaskJob { matcher, reply: back }) = job else { return };
        // Nobody waits when the caller has hung up.
        let _ = back.send(ComputedMask::of(matcher));
    }
}

/// The constraint of one answer as it grows.
pub(crate) struct Constraint {
    state: ConstraintState,
    starts_at: GrammarStart,
    jobs: Sender<MaskJob>,
    /// How long the last mask took, the best guess for the next.
    last_mask_time: Duration,
}

enum ConstraintState {
    /// The constrained part has not begun.
    Waiting(Box<Matcher>),
    /// The next mask is being computed.
    Computing(Receiver<ComputedMask>),
    /// The next mask is there.
    Ready(Box<Matcher>, SimpleVob),
    /// Nothing more can come of it; `token` and `mask` tell why.
    Failed(String),
}

impl Constraint {
    /// Part of the answer is still free, and the part that is not begins with the answer itself.
    pub(crate) fn awaits_answer(&self) -> bool {
        matches!((&self.state, self.starts_at), (ConstraintState::Waiting(_), GrammarStart::Answer))
    }

    /// The token that begins the constrained part, while that has not begun.
    pub(crate) fn trigger_token(&self) -> Option<u32> {
        match (&self.state, self.starts_at) {
            (ConstraintState::Waiting(_), GrammarStart::AfterToken(token)) => Some(token),
            _ => None,
        }
    }

    /// The answer begins: the reasoning is over, or there is none.
    pub(crate) fn start_answer(&mut self) {
        if self.awaits_answer() {
            self.activate();
        }
    }

    /// Takes the token that was drawn in the answer.
    pub(crate) fn accept_token(&mut self, token: u32) {
        match std::mem::replace(&mut self.state, ConstraintState::Failed(String::new())) {
            ConstraintState::Waiting(matcher) => {
                self.state = ConstraintState::Waiting(matcher);
                if self.starts_at == GrammarStart::AfterToken(token) {
                    self.activate();
                }
            }
            ConstraintState::Ready(mut matcher, _) => match matcher.consume_token(token) {
                Ok(()) => self.compute_mask(*matcher),
                Err(error) => self.state = ConstraintState::Failed(first_line(&error)),
            },
            other => self.state = other,
        }
    }

    /// The bits of the tokens that may come next; `None` while everything may.
    ///
    /// # Errors
    /// `Internal` when the grammar's limits are exceeded.
    pub(crate) fn next_mask(&mut self) -> Result<Option<&[u32]>, Error> {
        if let ConstraintState::Computing(back) = &self.state {
            match back.recv() {
                Ok(computed) => self.set_mask(computed),
                Err(_) => self.state = ConstraintState::Failed("the thread that computes masks is gone".into()),
            }
        }
        match &self.state {
            ConstraintState::Waiting(_) | ConstraintState::Computing(_) => Ok(None),
            ConstraintState::Ready(_, mask) => Ok(Some(mask.as_slice())),
            ConstraintState::Failed(reason) => {
                tracing::warn!(reason, "a grammar could not be followed");
                Err(Error::internal("the schema is too complex to be enforced any further, please simplify it"))
            }
        }
    }

    fn activate(&mut self) {
        if let ConstraintState::Waiting(matcher) =
            std::mem::replace(&mut self.state, ConstraintState::Failed(String::new()))
        {
            self.compute_mask(*matcher);
        }
    }

    fn compute_mask(&mut self, matcher: Matcher) {
        if self.last_mask_time < INLINE_MASK_LIMIT {
            let computed = ComputedMask::of(matcher);
            return self.set_mask(computed);
        }
        let (back, computed) = channel();
        // When all workers are gone, `computed` tells.
        let _ = self.jobs.send(MaskJob { matcher, reply: back });
        self.state = ConstraintState::Computing(computed);
    }

    fn set_mask(&mut self, ComputedMask { matcher, mask, elapsed: took }: ComputedMask) {
        self.last_mask_time = took;
        self.state = match mask {
            Ok(mask) => ConstraintState::Ready(Box::new(matcher), mask),
            Err(reason) => ConstraintState::Failed(reason),
        };
    }
}

/// What must not be drawn while no mask says so.
#[derive(Clone, Debug)]
pub(crate) struct TokenBans {
    /// The answer is raw text: nothing is banned.
    pub(crate) raw: bool,
}

impl TokenBans {
    /// The tokens that must not come next. `answers`: the reasoning is over. `tokens` are prompt
    /// and answer so far.
    pub(crate) fn banned_tokens(
        &self,
        in_answer: bool,
        constraint: Option<&Constraint>,
        tokens: &[u32],
        encoding: &Encoding,
    ) -> Vec<u32> {
        if self.raw {
            return Vec::new();
        }
        if !in_answer {
            // Whoever promised an answer of some shape must come to it.
            let promised = constraint.is_some_and(Constraint::awaits_answer);
            return if promised { vec![encoding.eos()] } else { Vec::new() };
        }
        let trigger = constraint.and_then(Constraint::trigger_token);
        let allowed_trigger = trigger.filter(|_| tokens.last().is_some_and(|&last| encoding.can_call_follow(last)));
        let free = constraint.is_none_or(|constraint| constraint.trigger_token().is_some());
        // A mask knows its own markers.
        encoding.call_tokens().iter().copied().filter(|&marker| free && Some(marker) != allowed_trigger).collect()
    }
}

/// Our tokenizer as llguidance wants it.
struct TokenizerAdapter {
    trie: TokTrie,
    encoding: Arc<Encoding>,
}

impl TokenizerAdapter {
    fn of(encoding: &Arc<Encoding>) -> Self {
        let tokenizer = encoding.tokenizer();
        let bytes = |id: u32| {
            let mut bytes = tokenizer.bytes(id).to_vec();
            if tokenizer.is_added_token(id) {
                bytes.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
            }
            bytes
        };
        let words: Vec<Vec<u8>> = (0..tokenizer.len() as u32).map(bytes).collect();
        let trie = TokTrie::from(&TokRxInfo::new(tokenizer.len() as u32, encoding.eos()), &words);
        Self { trie, encoding: encoding.clone() }
    }
}

impl TokenizerEnv for TokenizerAdapter {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// Only forced runs of text are encoded, and those are UTF-8; of anything else the longest
    /// tokens are taken.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.encoding.tokenizer().encode(text),
            Err(_) => self.trie.greedy_tokenize(bytes),
        }
    }
}
