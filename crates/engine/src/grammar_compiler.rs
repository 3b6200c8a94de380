//! Compiles grammars into constraints. [`text`] writes the grammars, llguidance parses them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use chat::Error;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use parking_lot::Mutex;
use text::{CallStart, Encoding, Grammar, ResponseStart};

use crate::constraint::{ComputedMask, Constraint, MaskJob, first_line};

/// Number of threads that compute masks.
const MASK_WORKERS: usize = 2;

/// Compiles grammars for one tokenizer, and owns the workers that compute their masks.
pub(crate) struct GrammarCompiler {
    factory: ParserFactory,
    encoding: Arc<Encoding>,
    jobs: Sender<MaskJob>,
}

impl GrammarCompiler {
    /// Starts the workers.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(encoding: &Arc<Encoding>) -> std::io::Result<Self> {
        let env: TokEnv = Arc::new(TokenizerAdapter::of(encoding));
        let mut factory = ParserFactory::new_simple(&env).expect("the slices are constants of the library");
        factory.quiet();
        // Verbose errors contain tokens of the prompt, which must not reach the logs.
        factory.limits_mut().verbose_errors = false;
        // Callers choose the schemas: limits building one to a few milliseconds and some megabytes.
        factory.limits_mut().initial_lexer_fuel = 500_000;
        factory.limits_mut().max_grammar_size = 200_000;
        factory.limits_mut().max_lexer_states = 50_000;
        let (jobs, inbox) = channel::<MaskJob>();
        let inbox = Arc::new(Mutex::new(inbox));
        for worker in 0..MASK_WORKERS {
            let inbox = inbox.clone();
            std::thread::Builder::new().name(format!("grammar-{worker}")).spawn(move || run_worker(&inbox))?;
        }
        Ok(Self { factory, encoding: encoding.clone(), jobs })
    }

    /// Compiles the constraint of one answer. `prefix` is the beginning of the
    /// answer in the request.
    ///
    /// # Errors
    /// `Invalid` when the grammar is too large or uses unsupported features, or when `prefix`
    /// does not match it.
    pub(crate) fn compile(&self, grammar: Grammar, prefix: &[u32], start: ResponseStart) -> Result<Constraint, Error> {
        let Grammar { lark, start: starts_at, call_start, subject } = grammar;
        let parser = self.factory.create_parser(TopLevelGrammar::from_lark(lark));
        let parser = parser.map_err(|error| {
            Error::invalid(format!("Invalid schema for {subject}: it cannot be enforced: {}", first_line(&error)))
        })?;
        let mut matcher = Matcher::new(Ok(parser));
        if matcher.consume_tokens(prefix).is_err() {
            return Err(Error::invalid(format!("The prefix does not begin an answer that fits {subject}")));
        }
        let call_start = call_start.map_or_else(Vec::new, |CallStart { lead, marker }| {
            self.encoding.tokenizer().encode(lead).into_iter().chain([marker]).collect()
        });
        let mut constraint = Constraint::new(matcher, starts_at, call_start, self.jobs.clone());
        if start == ResponseStart::Content {
            constraint.start_answer();
        }
        Ok(constraint)
    }
}

fn run_worker(inbox: &Mutex<Receiver<MaskJob>>) {
    loop {
        let job = inbox.lock().recv();
        let Ok(MaskJob { matcher, reply }) = job else { return };
        // Fails when the client has disconnected.
        let _ = reply.send(ComputedMask::of(matcher));
    }
}

/// The interface of llguidance to the tokenizer.
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

    /// Encodes text. Only forced runs of text are encoded, and those are UTF-8; other bytes get the
    /// longest matching tokens.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.encoding.tokenizer().encode(text),
            Err(_) => self.trie.greedy_tokenize(bytes),
        }
    }
}
