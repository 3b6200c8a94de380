//! Tiny checkpoints load like real ones.

use model::{Batch, LogitsWanted, Options, Span};
use testkit::{Format, Head, TinyCheckpoint, tokenizer_json};
use text::{Encoding, EncodingName, Tokenizer};
use weights::Checkpoint;

fn open(tiny: &TinyCheckpoint) -> Checkpoint {
    Checkpoint::from_files("tiny", tiny.files().into_iter().map(|(name, bytes)| (name, bytes.into()))).unwrap()
}

/// The logits of the last of 40 tokens, which are more than the indexer keeps.
fn logits(tiny: &TinyCheckpoint) -> Vec<f32> {
    let mut model = model::load(&open(tiny), &Options::exact(1)).unwrap();
    let mut cache = model.new_cache(1);
    let tokens: Vec<u32> = (0..40).map(|i| i * 7 % 512).collect();
    let span = Span { tokens: &tokens, start: 0, pages: &[0], logits: LogitsWanted::Last, attention: None };
    model.forward(&Batch { spans: vec![span] }, &mut cache, &mut ()).logits.row(0).to_vec()
}

#[test]
fn every_kind_of_tiny_model_loads_and_computes_finite_logits() {
    for sparse in [false, true] {
        for format in [Format::F32, Format::Bf16, Format::Fp8] {
            for (mtp, shards) in [(false, 1), (true, 3)] {
                let tiny = TinyCheckpoint { sparse, format, mtp, shards, ..TinyCheckpoint::default() };
                let logits = logits(&tiny);
                let mean_square = logits.iter().map(|v| v * v).sum::<f32>() / logits.len() as f32;
                assert!((0.1..10.0).contains(&mean_square), "{tiny:?}: {mean_square}");
            }
        }
    }
}

#[test]
fn the_seed_alone_decides_the_weights() {
    let tiny = TinyCheckpoint::default();
    assert_eq!(tiny.files(), tiny.files());
    assert_ne!(logits(&tiny), logits(&TinyCheckpoint { seed: 2, ..tiny }));
    // The main model does not depend on the MTP module or on the number of files.
    assert_eq!(logits(&tiny), logits(&TinyCheckpoint { mtp: false, shards: 4, ..tiny }));
}

#[test]
fn a_tied_head_is_the_embedding() {
    for format in [Format::F32, Format::Bf16, Format::Fp8] {
        let tiny = TinyCheckpoint { format, head: Head::Tied, ..TinyCheckpoint::default() };
        let copied = |own_rows| logits(&TinyCheckpoint { head: Head::Copied { own_rows }, ..tiny });
        assert_eq!(logits(&tiny), copied(0));
        let (tied, others) = (logits(&tiny), copied(3));
        assert_ne!(tied[..3], others[..3]);
        assert_eq!(tied[3..], others[3..]);
    }
}

#[test]
fn every_byte_is_a_token_and_the_markers_of_v32_are_detected() {
    let tokenizer = Tokenizer::from_json(&tokenizer_json()).unwrap();
    let ids = tokenizer.encode("a é");
    assert_eq!(ids.len(), 4, "one token a byte: {ids:?}");
    assert!(ids.iter().all(|id| (3..259).contains(id)), "{ids:?}");
    assert_eq!(Encoding::detect(&tokenizer, "deepseek_v32"), EncodingName::V32);
    Encoding::new(tokenizer, EncodingName::V32).unwrap();
}
