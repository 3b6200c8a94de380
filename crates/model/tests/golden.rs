//! The small golden models (`tests/golden/`): logits, top-k sets, routes and continuations computed
//! by the authors' code and by transformers, both in float64. See `tests/golden/README.md` for how
//! they were made and the effect of each typical mistake.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use model::{
    AttentionPath, Batch, CacheFormat, Compute, Cpu, ExpertRoutes, IndexFormat, LatentCache, LogitsWanted, Model,
    Options, Rows, Selection, Span, Tap,
};

/// Maximum difference of any log-probability; rounding alone causes 2e-5.
const MAX_LOGPROB_DIFFERENCE: f64 = 1e-3;
/// Maximum mean difference.
const MEAN_LOGPROB_DIFFERENCE: f64 = 1e-5;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

fn gunzip(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

struct Golden {
    bytes: Vec<u8>,
    folder: &'static str,
}

impl Golden {
    fn open(name: &'static str) -> Self {
        Self { bytes: gunzip(&folder(name).join("golden.safetensors.gz")), folder: name }
    }

    fn model(&self, options: &Options) -> Box<dyn Model> {
        let (folder, packed) = (folder(self.folder), folder(self.folder).join("model.safetensors.gz"));
        if !packed.exists() {
            return model::load(&weights::Checkpoint::open(&folder).unwrap(), options).unwrap();
        }
        let config = std::fs::read(folder.join("config.json")).unwrap();
        let files = [("config.json".into(), config.into()), ("model.safetensors".into(), gunzip(&packed).into())];
        model::load(&weights::Checkpoint::from_files(self.folder, files).unwrap(), options).unwrap()
    }

    fn tensor_values<T>(&self, name: &str, parse: impl Fn(&[u8]) -> T, size: usize) -> Vec<T> {
        let tensors = safetensors::SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap_or_else(|_| panic!("{} has {name}", self.folder));
        tensor.data().chunks(size).map(parse).collect()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.tensor_values(name, |b| f32::from_le_bytes(b.try_into().unwrap()), 4)
    }

    fn ints(&self, name: &str) -> Vec<i32> {
        self.tensor_values(name, |b| i32::from_le_bytes(b.try_into().unwrap()), 4)
    }

    fn tokens(&self, seq: usize) -> Vec<u32> {
        self.tensor_values(&format!("seq{seq}.input_ids"), |b| i64::from_le_bytes(b.try_into().unwrap()) as u32, 8)
    }

    fn sequences(&self) -> Vec<Vec<u32>> {
        (0..4).map(|seq| self.tokens(seq)).collect()
    }
}

/// The sequences in one cache, each with its own pages, which are not consecutive.
struct BatchedRun {
    model: Box<dyn Model>,
    cache: LatentCache,
    sequences: Vec<Vec<u32>>,
    pages: Vec<Vec<u32>>,
    /// The attention path of each sequence.
    attention: Vec<Option<AttentionPath>>,
}

impl BatchedRun {
    fn new(model: Box<dyn Model>, sequences: Vec<Vec<u32>>) -> Self {
        let mut next = 0;
        let mut pages: Vec<Vec<u32>> = vec![Vec::new(); sequences.len()];
        for page in 0..sequences.iter().map(Vec::len).max().unwrap().div_ceil(64) {
            for (pages, sequence) in pages.iter_mut().zip(&sequences) {
                if page * 64 < sequence.len() {
                    pages.push(next);
                    next += 1;
                }
            }
        }
        let total = next;
        pages.iter_mut().flatten().for_each(|page| *page = total - 1 - *page);
        let cache = model.new_cache(total as usize);
        let attention = vec![None; sequences.len()];
        Self { model, cache, sequences, pages, attention }
    }

    /// Logits of every position. Each step is one batch of `chunk(step, sequence)` tokens of every
    /// sequence.
    fn logits(&mut self, chunk: impl Fn(usize, usize) -> usize) -> Vec<Rows> {
        self.outputs(chunk, &mut ()).into_iter().map(|(logits, _)| logits).collect()
    }

    fn outputs(&mut self, chunk: impl Fn(usize, usize) -> usize, tap: &mut dyn Tap) -> Vec<(Rows, Rows)> {
        let mut done = vec![0; self.sequences.len()];
        let mut outputs: Vec<(Vec<f32>, Vec<f32>)> = vec![Default::default(); self.sequences.len()];
        let mut step = 0;
        while (0..done.len()).any(|seq| done[seq] < self.sequences[seq].len()) {
            let mut batch = Batch::default();
            let mut taken = Vec::new();
            for (seq, tokens) in self.sequences.iter().enumerate() {
                let end = (done[seq] + chunk(step, seq)).min(tokens.len());
                if done[seq] < end {
                    let (start, pages) = (done[seq], self.pages[seq].as_slice());
                    batch.spans.push(Span {
                        tokens: &tokens[start..end],
                        start,
                        pages,
                        logits: LogitsWanted::All,
                        attention: self.attention[seq],
                    });
                    taken.push((seq, end - start));
                    done[seq] = end;
                }
            }
            step += 1;
            if batch.spans.is_empty() {
                continue;
            }
            let output = self.model.forward(&batch, &mut self.cache, tap);
            let mut row = 0;
            for (seq, n) in taken {
                for i in row..row + n {
                    outputs[seq].0.extend(output.logits.row(i));
                    outputs[seq].1.extend(output.hidden.row(i));
                }
                row += n;
            }
        }
        let vocab = self.model.info().vocab_size;
        let rows = |(logits, hidden): (Vec<f32>, Vec<f32>)| {
            let positions = logits.len() / vocab;
            let width = hidden.len() / positions;
            (Rows::from_vec(vocab, logits), Rows::from_vec(width, hidden))
        };
        outputs.into_iter().map(rows).collect()
    }
}

/// Worst and mean difference of log-probabilities over all rows.
fn differences(got: &[f32], want: &[f32], vocab: usize) -> (f64, f64) {
    assert_eq!(got.len(), want.len());
    let log_softmax = |row: &[f32]| -> Vec<f64> {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        let total: f64 = row.iter().map(|v| (*v as f64 - max).exp()).sum();
        row.iter().map(|v| *v as f64 - max - total.ln()).collect()
    };
    let (mut worst, mut sum) = (0.0f64, 0.0);
    for (got, want) in got.chunks(vocab).zip(want.chunks(vocab)) {
        for (a, b) in log_softmax(got).into_iter().zip(log_softmax(want)) {
            let difference = (a - b).abs();
            worst = if difference > worst || difference.is_nan() { difference } else { worst };
            sum += difference;
        }
    }
    (worst, sum / got.len() as f64)
}

fn assert_close(got: &Rows, want: &[f32], what: &str) {
    let (worst, mean) = differences(got.all(), want, got.width());
    assert!(
        worst < MAX_LOGPROB_DIFFERENCE && mean < MEAN_LOGPROB_DIFFERENCE,
        "{what}: worst {worst:.2e}, mean {mean:.2e}"
    );
}

/// Number of tokens of a sequence in a step: `(step, sequence)`.
type Chunk = fn(usize, usize) -> usize;

fn every_way_of_batching_gives_the_golden_logits(folder: &'static str, variant: &str, options: Options) {
    let golden = Golden::open(folder);
    let mut run = BatchedRun::new(golden.model(&options), golden.sequences());
    let prefill = run.logits(|_, _| usize::MAX);
    // Variants exist only for sequences that are long enough to differ.
    let compared = if variant == "logits" { 0..4 } else { 2..4 };
    for (seq, logits) in prefill.iter().enumerate().filter(|(seq, _)| compared.contains(seq)) {
        assert_close(logits, &golden.floats(&format!("seq{seq}.{variant}")), &format!("{folder} seq{seq}.{variant}"));
    }
    // Alone, token by token, in chunks of seven, and mixed: bit for bit the same.
    let ways: [(&str, Chunk); 3] =
        [("chunk 1", |_, _| 1), ("chunk 7", |_, _| 7), ("mixed", |step, seq| [1, 64, 0, 5, 33][(step * 3 + seq) % 5])];
    for (name, chunk) in ways {
        for (seq, (logits, first)) in run.logits(chunk).iter().zip(&prefill).enumerate() {
            assert!(same_bits(logits, first), "{folder} {variant} seq{seq}: {name} differs from one prefill");
        }
    }
    for (seq, logits) in prefill.iter().enumerate() {
        let mut alone = BatchedRun::new(golden.model(&Options { threads: 1, ..options }), vec![golden.tokens(seq)]);
        let alone = alone.logits(|_, _| usize::MAX);
        assert!(same_bits(&alone[0], logits), "{folder} {variant} seq{seq}: alone, one thread");
    }
}

fn same_bits(a: &Rows, b: &Rows) -> bool {
    a.all().len() == b.all().len() && a.all().iter().zip(b.all()).all(|(a, b)| a.to_bits() == b.to_bits())
}

#[test]
fn v3_f32() {
    every_way_of_batching_gives_the_golden_logits("v3-f32", "logits", Options::exact(2));
}

#[test]
fn v3_bf16() {
    every_way_of_batching_gives_the_golden_logits("v3-bf16", "logits", Options::exact(2));
}

#[test]
fn v32_bf16() {
    every_way_of_batching_gives_the_golden_logits("v32-bf16", "logits", Options::exact(2));
}

#[test]
fn v32_fp8_weights() {
    every_way_of_batching_gives_the_golden_logits("v32-fp8", "logits", Options::exact(2));
}

#[test]
fn v32_dense() {
    let options = Options { attention: AttentionPath::Dense, ..Options::exact(2) };
    every_way_of_batching_gives_the_golden_logits("v32-bf16", "logits_dense", options);
}

/// Sequences with another path than that of the options, beside one without.
#[test]
fn each_sequence_may_have_a_path_of_its_own() {
    let golden = Golden::open("v32-bf16");
    let paths = [AttentionPath::Sparse, AttentionPath::Dense];
    let logits_of = |attention| {
        let options = Options { attention, ..Options::exact(2) };
        BatchedRun::new(golden.model(&options), golden.sequences()).logits(|_, _| 100)
    };
    let alone = paths.map(logits_of);
    assert_ne!(alone[0][3].all(), alone[1][3].all(), "the sequences are longer than the indexer selects");
    for (usual, other) in [(0, 1), (1, 0)] {
        let options = Options { attention: paths[usual], ..Options::exact(2) };
        let mut run = BatchedRun::new(golden.model(&options), golden.sequences());
        run.attention = vec![Some(paths[other]), Some(paths[usual]), None, Some(paths[other])];
        let mixed = run.logits(|_, _| 100);
        for (seq, path) in [other, usual, usual, other].into_iter().enumerate() {
            assert_eq!(mixed[seq].all(), alone[path][seq].all(), "sequence {seq}");
        }
    }
}

#[test]
fn v32_fp8_indexer() {
    let options = Options { index: IndexFormat::Fp8, ..Options::exact(2) };
    every_way_of_batching_gives_the_golden_logits("v32-bf16", "logits_fp8idx", options);
}

#[test]
fn all_kernels_are_right() {
    for isa in Cpu::supported_isas() {
        every_way_of_batching_gives_the_golden_logits(
            "v32-fp8",
            "logits",
            Options { isa: Some(isa), ..Options::exact(2) },
        );
    }
}

#[test]
fn bf16_products_and_rounded_caches_do_not_depend_on_the_batch_either() {
    let golden = Golden::open("v32-fp8");
    let rounded = [(CacheFormat::Bf16, IndexFormat::F32), (CacheFormat::Fp8, IndexFormat::Fp8)];
    for (isa, (cache, index)) in Cpu::supported_isas().into_iter().flat_map(|isa| rounded.map(|formats| (isa, formats)))
    {
        let options = Options { compute: Compute::Bf16, cache, index, isa: Some(isa), ..Options::exact(2) };
        let mut run = BatchedRun::new(golden.model(&options), golden.sequences());
        let prefill = run.logits(|_, _| usize::MAX);
        for (seq, logits) in run.logits(|step, seq| 1 + (step + seq) % 9).iter().enumerate() {
            assert!(same_bits(logits, &prefill[seq]), "{isa} {cache:?} seq{seq}");
        }
        // Random weights amplify every flipped expert and selection; a wrong model is
        // off by 2 and more.
        let mean = |seq: usize| differences(prefill[seq].all(), &golden.floats(&format!("seq{seq}.logits")), 512).1;
        let bound = if index == IndexFormat::F32 { 0.4 } else { 1.2 };
        let means: Vec<f64> = (0..4).map(mean).collect();
        assert!(means.iter().sum::<f64>() / 4.0 < bound, "{isa} {cache:?}: {means:?}");
    }
}

#[test]
fn mtp_logits() {
    for folder in ["v3-bf16", "v32-bf16", "v32-fp8"] {
        let golden = Golden::open(folder);
        let mut run = BatchedRun::new(golden.model(&Options::exact(2)), golden.sequences());
        let outputs = run.outputs(|_, _| 50, &mut ());
        for (seq, (_, hidden)) in outputs.iter().enumerate().skip(1) {
            let tokens = golden.tokens(seq);
            let shifted = &tokens[1..];
            let mut before = Rows::new(hidden.width());
            before.resize(shifted.len());
            before.all_mut().copy_from_slice(&hidden.all()[..shifted.len() * hidden.width()]);
            let span =
                Span { tokens: shifted, start: 0, pages: &run.pages[seq], logits: LogitsWanted::All, attention: None };
            let output = run
                .model
                .draft(&Batch { spans: vec![span] }, &before, &mut run.cache)
                .expect("these models have an MTP module");
            assert_close(
                &output.logits,
                &golden.floats(&format!("seq{seq}.mtp_logits")),
                &format!("{folder} seq{seq}.mtp_logits"),
            );
        }
    }
    let mut run = BatchedRun::new(Golden::open("v3-f32").model(&Options::exact(1)), vec![vec![0]]);
    let span = Span { tokens: &[1], start: 0, pages: &run.pages[0], logits: LogitsWanted::All, attention: None };
    assert!(
        run.model.draft(&Batch { spans: vec![span] }, &Rows::from_vec(160, vec![0.0; 160]), &mut run.cache).is_none()
    );
}

/// Records the selections and routes of one prefill.
#[derive(Default)]
struct RecordingTap {
    selections: HashMap<usize, Vec<Option<Vec<u32>>>>,
    routes: HashMap<usize, ExpertRoutes>,
    residuals: HashMap<usize, Vec<f32>>,
}

impl Tap for RecordingTap {
    fn residual(&mut self, layer: usize, rows: &Rows) {
        self.residuals.insert(layer, rows.all().to_vec());
    }

    fn selection(&mut self, layer: usize, selection: &Selection) {
        self.selections.insert(layer, selection.picked.clone());
    }

    fn routes(&mut self, layer: usize, routes: &ExpertRoutes) {
        self.routes.insert(layer, routes.clone());
    }
}

fn record_prefill(golden: &Golden, seq: usize, options: &Options) -> RecordingTap {
    let mut watch = RecordingTap::default();
    BatchedRun::new(golden.model(options), vec![golden.tokens(seq)]).outputs(|_, _| usize::MAX, &mut watch);
    watch
}

#[test]
fn the_indexer_picks_the_reference_positions() {
    let golden = Golden::open("v32-bf16");
    for (format, name) in [(IndexFormat::F32, "dsa_topk"), (IndexFormat::Fp8, "dsa_topk_fp8idx")] {
        for seq in [2, 3] {
            let watch = record_prefill(&golden, seq, &Options { index: format, ..Options::exact(2) });
            for layer in 0..4 {
                let want = golden.ints(&format!("seq{seq}.{name}.{layer}"));
                for (position, (picked, want)) in watch.selections[&layer].iter().zip(want.chunks(16)).enumerate() {
                    let got: Vec<i32> = match picked {
                        Some(picked) => picked.iter().map(|p| *p as i32).collect(),
                        None => (0..=position as i32).collect(),
                    };
                    let want: Vec<i32> = want.iter().copied().filter(|p| *p >= 0).collect();
                    assert_eq!(got, want, "{name} seq{seq} layer {layer} position {position}");
                }
            }
        }
    }
}

#[test]
fn the_gate_chooses_the_reference_experts() {
    for folder in ["v3-bf16", "v32-bf16"] {
        let golden = Golden::open(folder);
        let watch = record_prefill(&golden, 2, &Options::exact(2));
        for layer in 1..4 {
            let routes = &watch.routes[&layer];
            let ids: Vec<i32> = routes.ids.iter().map(|id| *id as i32).collect();
            assert_eq!(ids, golden.ints(&format!("debug.router_ids.{layer}")), "{folder} layer {layer}");
            for (got, want) in routes.weights.iter().zip(golden.floats(&format!("debug.router_weights.{layer}"))) {
                assert!((got - want).abs() < 1e-4, "{folder} layer {layer}: weight {got}, not {want}");
            }
        }
        for layer in 0..=4 {
            for (got, want) in watch.residuals[&layer].iter().zip(golden.floats(&format!("debug.hidden.{layer}"))) {
                assert!((got - want).abs() < 1e-3, "{folder} after layer {layer}: {got}, not {want}");
            }
        }
    }
}

#[test]
fn greedy_continuations_equal_the_reference() {
    for folder_name in ["v3-f32", "v3-bf16", "v32-bf16", "v32-fp8"] {
        let golden = Golden::open(folder_name);
        let text = std::fs::read(folder(folder_name).join("greedy.json")).unwrap();
        let cases: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let ids = |name: &str| -> Vec<u32> {
                case[name].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
            };
            let (mut tokens, want) = (ids("prompt"), ids("continuation"));
            let prompt = tokens.len();
            let mut model = golden.model(&Options::exact(2));
            let pages: Vec<u32> = (0..(prompt + want.len()).div_ceil(64) as u32).collect();
            let mut cache = model.new_cache(pages.len());
            let mut done = 0;
            while tokens.len() < prompt + want.len() {
                let span = Span {
                    tokens: &tokens[done..],
                    start: done,
                    pages: &pages,
                    logits: LogitsWanted::Last,
                    attention: None,
                };
                let output = model.forward(&Batch { spans: vec![span] }, &mut cache, &mut ());
                let logits = output.logits.row(0);
                let best = (0..logits.len()).reduce(|a, b| if logits[b] > logits[a] { b } else { a }).unwrap();
                done = tokens.len();
                tokens.push(best as u32);
            }
            assert_eq!(tokens[prompt..], want, "{folder_name}, prompt of {prompt}");
        }
    }
}
