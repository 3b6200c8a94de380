//! Constrained decoding: which tokens may come next so that an answer fits the shape it was promised. The shapes are written by
//! [`text`], the masks computed by llguidance; those that take long on a thread of their own, beside the forward pass.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use chat::Error;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use text::{Begins, Encoding, Grammar, Start};

/// Threads that compute masks.
const WORKERS: usize = 2;

/// A mask that is expected to take less is computed at once: handing it to a thread would cost as much.
const HANDOVER: Duration = Duration::from_micros(25);

/// Compiles grammars for one tokenizer, and computes their masks.
pub(crate) struct Grammars {
    factory: ParserFactory,
    jobs: Sender<Job>,
}

/// A matcher on its way to a worker, and the way back.
struct Job {
    matcher: Matcher,
    back: Sender<Computed>,
}

/// A matcher with the mask of the token that comes next; why there is none, if there is none.
struct Computed {
    matcher: Matcher,
    mask: Result<SimpleVob, String>,
    took: Duration,
}

impl Computed {
    fn of(mut matcher: Matcher) -> Self {
        let begun = Instant::now();
        let mask = matcher.compute_mask_or_eos().map_err(|error| first_line(&error));
        Self { matcher, mask, took: begun.elapsed() }
    }
}

impl Grammars {
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn start(encoding: &Arc<Encoding>) -> std::io::Result<Self> {
        let env: TokEnv = Arc::new(Tokens::of(encoding));
        let mut factory = ParserFactory::new_simple(&env).expect("the slices are constants of the library");
        factory.quiet();
        // Error texts with the prompt's tokens in them would end up in logs.
        factory.limits_mut().verbose_errors = false;
        // Schemas are the callers': building one may take a few milliseconds, and some megabytes.
        factory.limits_mut().initial_lexer_fuel = 500_000;
        factory.limits_mut().max_grammar_size = 200_000;
        factory.limits_mut().max_lexer_states = 50_000;
        let (jobs, inbox) = channel::<Job>();
        let inbox = Arc::new(std::sync::Mutex::new(inbox));
        for worker in 0..WORKERS {
            let inbox = inbox.clone();
            std::thread::Builder::new().name(format!("grammar-{worker}")).spawn(move || work(&inbox))?;
        }
        Ok(Self { factory, jobs })
    }

    /// Builds the constraint of one answer. `said` is the beginning of the answer that the caller has given.
    ///
    /// # Errors
    /// `Invalid` when the grammar is too large or has what the library cannot do, or when `said` does not fit it.
    pub(crate) fn constraint(&self, grammar: Grammar, said: &[u32], start: Start) -> Result<Constraint, Error> {
        let Grammar { lark, begins, subject } = grammar;
        let parser = self.factory.create_parser(TopLevelGrammar::from_lark(lark));
        let parser = parser.map_err(|error| {
            Error::invalid(format!("Invalid schema for {subject}: it cannot be enforced: {}", first_line(&error)))
        })?;
        let mut matcher = Matcher::new(Ok(parser));
        if matcher.consume_tokens(said).is_err() {
            return Err(Error::invalid(format!("The prefix does not begin an answer that fits {subject}")));
        }
        let state = State::Waiting(Box::new(matcher));
        let mut constraint = Constraint { state, begins, jobs: self.jobs.clone(), took: Duration::MAX };
        if start == Start::Content {
            constraint.answer_begins();
        }
        Ok(constraint)
    }
}

/// The reason without the library's own context.
fn first_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

fn work(inbox: &std::sync::Mutex<Receiver<Job>>) {
    loop {
        // A receiver is whole even when a holder panicked.
        let job = inbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok(Job { matcher, back }) = job else { return };
        // Nobody waits when the caller has hung up.
        let _ = back.send(Computed::of(matcher));
    }
}

/// The constraint of one answer as it grows.
pub(crate) struct Constraint {
    state: State,
    begins: Begins,
    jobs: Sender<Job>,
    /// How long the last mask took, the best guess for the next.
    took: Duration,
}

enum State {
    /// The constrained part has not begun.
    Waiting(Box<Matcher>),
    /// The next mask is being computed.
    Computing(Receiver<Computed>),
    /// The next mask is there.
    Ready(Box<Matcher>, SimpleVob),
    /// Nothing more can come of it; `token` and `mask` tell why.
    Failed(String),
}

impl Constraint {
    /// Part of the answer is still free, and the part that is not begins with the answer itself.
    pub(crate) fn awaits_answer(&self) -> bool {
        matches!((&self.state, self.begins), (State::Waiting(_), Begins::Answer))
    }

    /// The token that begins the constrained part, while that has not begun.
    pub(crate) fn trigger(&self) -> Option<u32> {
        match (&self.state, self.begins) {
            (State::Waiting(_), Begins::Behind(token)) => Some(token),
            _ => None,
        }
    }

    /// The answer begins: the reasoning is over, or there is none.
    pub(crate) fn answer_begins(&mut self) {
        if self.awaits_answer() {
            self.begin();
        }
    }

    /// Takes the token that was drawn in the answer.
    pub(crate) fn token(&mut self, token: u32) {
        match std::mem::replace(&mut self.state, State::Failed(String::new())) {
            State::Waiting(matcher) => {
                self.state = State::Waiting(matcher);
                if self.begins == Begins::Behind(token) {
                    self.begin();
                }
            }
            State::Ready(mut matcher, _) => match matcher.consume_token(token) {
                Ok(()) => self.compute(*matcher),
                Err(error) => self.state = State::Failed(first_line(&error)),
            },
            other => self.state = other,
        }
    }

    /// The bits of the tokens that may come next; `None` while everything may.
    ///
    /// # Errors
    /// `Internal` when the grammar's limits are exceeded.
    pub(crate) fn mask(&mut self) -> Result<Option<&[u32]>, Error> {
        if let State::Computing(back) = &self.state {
            match back.recv() {
                Ok(computed) => self.computed(computed),
                Err(_) => self.state = State::Failed("the thread that computes masks is gone".into()),
            }
        }
        match &self.state {
            State::Waiting(_) | State::Computing(_) => Ok(None),
            State::Ready(_, mask) => Ok(Some(mask.as_slice())),
            State::Failed(reason) => {
                tracing::warn!(reason, "a grammar could not be followed");
                Err(Error::internal("the schema is too complex to be enforced any further, please simplify it"))
            }
        }
    }

    fn begin(&mut self) {
        if let State::Waiting(matcher) = std::mem::replace(&mut self.state, State::Failed(String::new())) {
            self.compute(*matcher);
        }
    }

    fn compute(&mut self, matcher: Matcher) {
        if self.took < HANDOVER {
            let computed = Computed::of(matcher);
            return self.computed(computed);
        }
        let (back, computed) = channel();
        // When all workers are gone, `computed` tells.
        let _ = self.jobs.send(Job { matcher, back });
        self.state = State::Computing(computed);
    }

    fn computed(&mut self, Computed { matcher, mask, took }: Computed) {
        self.took = took;
        self.state = match mask {
            Ok(mask) => State::Ready(Box::new(matcher), mask),
            Err(reason) => State::Failed(reason),
        };
    }
}

/// What must not be drawn while no mask says so.
#[derive(Clone, Debug)]
pub(crate) struct Bans {
    /// The answer is raw text: nothing is banned.
    pub(crate) raw: bool,
}

impl Bans {
    /// The tokens that must not come next. `answers`: the reasoning is over. `tokens` are prompt and answer so far.
    pub(crate) fn tokens(
        &self,
        answers: bool,
        constraint: Option<&Constraint>,
        tokens: &[u32],
        encoding: &Encoding,
    ) -> Vec<u32> {
        if self.raw {
            return Vec::new();
        }
        if !answers {
            // Whoever promised an answer of some shape must come to it.
            let promised = constraint.is_some_and(Constraint::awaits_answer);
            return if promised { vec![encoding.eos()] } else { Vec::new() };
        }
        let trigger = constraint.and_then(Constraint::trigger);
        let begins = trigger.filter(|_| tokens.last().is_some_and(|&last| encoding.may_call_behind(last)));
        let free = constraint.is_none_or(|constraint| constraint.trigger().is_some());
        // A mask knows its own markers.
        encoding.call_markers().iter().copied().filter(|&marker| free && Some(marker) != begins).collect()
    }
}

/// Our tokenizer as llguidance wants it.
struct Tokens {
    trie: TokTrie,
    encoding: Arc<Encoding>,
}

impl Tokens {
    fn of(encoding: &Arc<Encoding>) -> Self {
        let tokenizer = encoding.tokenizer();
        let bytes = |id: u32| {
            let mut bytes = tokenizer.bytes(id).to_vec();
            if tokenizer.is_special(id) {
                bytes.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
            }
            bytes
        };
        let words: Vec<Vec<u8>> = (0..tokenizer.len() as u32).map(bytes).collect();
        let trie = TokTrie::from(&TokRxInfo::new(tokenizer.len() as u32, encoding.eos()), &words);
        Self { trie, encoding: encoding.clone() }
    }
}

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// Only forced runs of text are encoded, and those are UTF-8; of anything else the longest tokens are taken.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.encoding.tokenizer().encode(text),
            Err(_) => self.trie.greedy_tokenize(bytes),
        }
    }
}
