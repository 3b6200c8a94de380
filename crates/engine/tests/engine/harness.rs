//! A test model whose logits are hashes of the prefix, with a tokenizer of bytes, and helpers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat::{BoxDeltaStream, Chat, Error, Input, Message, Provider, Reply, Role, Sampling, fold};
use engine::{Engine, Load, Options};
use futures_util::StreamExt;
use model::{Arena, Batch, Compute, Info, LatentCache, LogitsWanted, Model, Output, PAGE_ROWS, Rows, Tap};
use serde_json::json;
use text::{Encoding, EncodingName, Tokenizer};

/// A prompt with it makes the model panic.
pub(crate) const PANIC_CHAR: char = '\u{7}';
/// A prompt with it makes the logits of the model NaN.
pub(crate) const NAN_CHAR: char = '\u{6}';
pub(crate) const CONTEXT: usize = 4096;

/// Number of columns of the logits without a token. They always have the greatest logits.
const PADDING: usize = 9;
pub(crate) const MARKERS: [&str; 7] = [
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<think>",
    "</think>",
    "｜DSML｜",
];

/// One token for every byte, in order, then the markers of V3.2.
pub(crate) fn encoding() -> Arc<Encoding> {
    let plain = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let others = (0..256).filter(|&byte| !plain(byte)).zip(256..).collect::<HashMap<u32, u32>>();
    let letter = |byte: u32| char::from_u32(*others.get(&byte).unwrap_or(&byte)).unwrap().to_string();
    let vocab: serde_json::Map<_, _> = (0..256).map(|byte| (letter(byte), json!(byte))).collect();
    let added = MARKERS.iter().zip(256..).map(|(content, id)| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    });
    let file = json!({
        "added_tokens": added.collect::<Vec<_>>(),
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    });
    let tokenizer = Tokenizer::from_json(file.to_string().as_bytes()).unwrap();
    Arc::new(Encoding::new(tokenizer, EncodingName::V32).unwrap())
}

/// Controls and counters of a running model.
#[derive(Default)]
pub(crate) struct TestControls {
    /// Added to the time of every step.
    pub(crate) step_delay_ms: AtomicU64,
    /// Positions computed so far.
    pub(crate) computed_tokens: AtomicU64,
    /// Forward passes so far.
    pub(crate) steps: AtomicU64,
    /// Added to the logits of all markers but the end token: from 20 on the model is confused.
    pub(crate) marker_bonus: AtomicU64,
    /// Tokens that are followed by another whenever that is allowed.
    pub(crate) followed_by: Mutex<HashMap<u32, u32>>,
}

/// A model whose logits are noise seeded by all tokens so far, which it reads only from the rows of
/// the pages in the batch.
pub(crate) struct HashModel {
    info: Info,
    output: Output,
    controls: Arc<TestControls>,
    eos: u32,
    n_tokens: usize,
}

/// The row of a position: its token, and a hash of all tokens up to it.
#[derive(Clone, Copy, Default)]
struct Row {
    token: u32,
    hash: u64,
}

impl Row {
    /// The token and the two halves of the hash, as the bits of f32 values.
    const WIDTH: usize = 3;

    fn read(rows: &Arena, slot: usize) -> Self {
        let bits: Vec<u32> =
            rows.rows(slot, 1).as_chunks::<4>().0.iter().map(|bits| u32::from_le_bytes(*bits)).collect();
        Self { token: bits[0], hash: u64::from(bits[1]) << 32 | u64::from(bits[2]) }
    }

    fn write(self, rows: &mut Arena, slot: usize) {
        let bits = [self.token, (self.hash >> 32) as u32, self.hash as u32];
        rows.write_rows(slot, &bits.map(u32::to_le_bytes).concat());
    }
}

fn mix(hash: u64, value: u64) -> u64 {
    let mut z = (hash ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x632b_e59b_d9b4_e019);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The hash of a prefix and one more token. After [`NAN_CHAR`] it stays `u64::MAX`.
fn extend_hash(hash: u64, token: u32) -> u64 {
    if hash == u64::MAX || token == NAN_CHAR as u32 { u64::MAX } else { mix(hash, u64::from(token)) }
}

impl HashModel {
    pub(crate) fn new(controls: Arc<TestControls>) -> Self {
        let encoding = encoding();
        let n_tokens = encoding.tokenizer().len();
        let vocab_size = n_tokens + PADDING;
        let info = Info {
            has_indexer: true,
            model_type: "hash".into(),
            vocab_size,
            context: CONTEXT,
            page_bytes: PAGE_ROWS * Row::WIDTH * 4,
            attention: "dense",
            compute: Compute::F32,
            isa: "none",
            threads: 1,
        };
        let output = Output { hidden: Rows::new(1), logits: Rows::new(vocab_size) };
        Self { info, output, controls, eos: encoding.eos(), n_tokens }
    }

    pub(crate) fn shrink_vocabulary(&mut self, vocab_size: usize) {
        self.info.vocab_size = vocab_size;
    }

    /// Logits that favour printable letters, and the end token for one hash in 60.
    fn logits(&self, hash: u64, last: u32) -> Vec<f32> {
        let next = self.controls.followed_by.lock().unwrap().get(&last).map(|&next| next as usize);
        let logit = |id: usize| {
            let noise = (mix(hash, id as u64) >> 40) as f32 / (1u64 << 22) as f32;
            match id {
                _ if next == Some(id) => 45.0,
                32..=126 => noise + 4.0,
                0..=255 => noise - 6.0,
                _ if id == self.eos as usize => {
                    if hash.is_multiple_of(60) {
                        30.0
                    } else {
                        -30.0
                    }
                }
                _ if id < self.n_tokens => noise - 12.0 + self.controls.marker_bonus.load(Ordering::Relaxed) as f32,
                _ => 50.0,
            }
        };
        (0..self.info.vocab_size).map(logit).collect()
    }
}

impl Model for HashModel {
    fn info(&self) -> &Info {
        &self.info
    }

    fn new_cache(&self, pages: usize) -> LatentCache {
        LatentCache::with_custom_rows(pages, Row::WIDTH)
    }

    fn forward(&mut self, batch: &Batch<'_>, cache: &mut LatentCache, _: &mut dyn Tap) -> &Output {
        std::thread::sleep(Duration::from_millis(self.controls.step_delay_ms.load(Ordering::Relaxed)));
        self.controls.steps.fetch_add(1, Ordering::Relaxed);
        self.controls.computed_tokens.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let rows = cache.custom_rows_mut().expect("the cache of this model");
        let mut writers = HashMap::new();
        let mut logits = Vec::new();
        for (index, span) in batch.spans.iter().enumerate() {
            assert!(!span.tokens.is_empty(), "a span without tokens");
            let slot = |position: usize| span.pages[position / PAGE_ROWS] as usize * PAGE_ROWS + position % PAGE_ROWS;
            let mut hash = 0;
            let all = span.logits == LogitsWanted::All;
            for position in 0..span.start {
                let row = Row::read(rows, slot(position));
                hash = extend_hash(hash, row.token);
                assert_eq!(row.hash, hash, "position {position} has the row of another prefix");
            }
            for (position, &token) in (span.start..).zip(span.tokens) {
                assert_ne!(token, PANIC_CHAR as u32, "panic by request");
                hash = extend_hash(hash, token);
                Row { token, hash }.write(rows, slot(position));
                writers.insert(span.pages[position / PAGE_ROWS], index);
                if all {
                    logits.extend(self.logits(hash, token));
                }
            }
            match span.logits {
                LogitsWanted::None | LogitsWanted::All => {}
                LogitsWanted::Last if hash == u64::MAX => logits.extend(vec![f32::NAN; self.info.vocab_size]),
                LogitsWanted::Last => logits.extend(self.logits(hash, span.tokens[span.tokens.len() - 1])),
            }
        }
        for (index, span) in batch.spans.iter().enumerate() {
            let shared_page = span.pages.iter().find(|page| writers.get(page).is_some_and(|&writer| writer != index));
            assert_eq!(shared_page, None, "a page is written by one sequence and held by another");
        }
        self.output.logits = Rows::from_vec(self.info.vocab_size, logits);
        &self.output
    }

    fn draft(&mut self, _: &Batch<'_>, _: &Rows, _: &mut LatentCache) -> Option<&Output> {
        None
    }
}

pub(crate) fn start_engine(options: Options) -> (Engine, Arc<TestControls>) {
    let controls = Arc::<TestControls>::default();
    let engine = Engine::start(Box::new(HashModel::new(controls.clone())), encoding(), options).unwrap();
    (engine, controls)
}

pub(crate) fn options_with_pages(cache_pages: usize) -> Options {
    Options { cache_pages, ..Options::default() }
}

/// An engine with enough pages for every test.
pub(crate) fn large_engine() -> Engine {
    start_engine(options_with_pages(512)).0
}

/// A chat of one user message with a seed.
pub(crate) fn user_chat(text: impl Into<String>) -> Chat {
    Chat {
        model: "deepseek-chat".into(),
        input: Input::Messages(vec![Message::new(Role::User, text)]),
        thinking: Some(false),
        max_tokens: Some(40),
        sampling: Sampling { seed: Some(1), ..Sampling::default() },
        ..Chat::default()
    }
}

/// A chat whose answer has exactly `tokens` tokens.
pub(crate) fn fixed_length_chat(seed: u64, prompt: usize, tokens: i64) -> Chat {
    let mut chat = user_chat(random_letters(seed, prompt));
    chat.max_tokens = Some(tokens);
    chat.sampling.seed = Some(seed as i64);
    chat.sampling.logit_bias = vec![(encoding().eos(), -100.0)];
    chat
}

/// `n` letters that depend on `seed`.
pub(crate) fn random_letters(seed: u64, n: usize) -> String {
    (0..n as u64).map(|i| char::from(b'a' + (mix(seed, i) % 26) as u8)).collect()
}

/// Validates and starts a chat, as the gateway does.
pub(crate) async fn submit(engine: &Engine, mut chat: Chat) -> Result<BoxDeltaStream, Error> {
    engine.validate(&mut chat)?;
    Ok(engine.chat(chat).await?.deltas)
}

pub(crate) async fn collect_reply(deltas: BoxDeltaStream) -> Result<Reply, Error> {
    fold(deltas.collect::<Vec<_>>().await)
}

/// The complete answer.
pub(crate) async fn reply(engine: &Engine, chat: Chat) -> Reply {
    collect_reply(submit(engine, chat).await.unwrap()).await.unwrap()
}

/// Waits until the engine's load satisfies `wanted`.
pub(crate) async fn wait_for_load(engine: &Engine, wanted: impl Fn(Load) -> bool) {
    for _ in 0..2000 {
        if wanted(engine.load()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("still {:?} after 10 s", engine.load());
}
