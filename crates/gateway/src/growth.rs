//! The growth of run time with the length of the input, for the private scanners of this crate (see
//! docs/performance.md): `cargo test --release -p gateway growth -- --ignored --nocapture`.

use std::process::ExitCode;

use bytes::Bytes;
use testkit::growth::GrowthTable;

use crate::billing::usage_estimate::{UsageEstimate, estimate_tokens};
use crate::redaction::Redactor;
use crate::routing::prefix_affinity::PromptPrefix;
use crate::secret::Secret;

const SECRET: &str = "sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";

#[test]
#[ignore = "takes some seconds"]
fn scanners_take_time_by_the_length_of_their_input() {
    let mut growth = GrowthTable::default();
    let _secrets: Vec<Secret> =
        [SECRET, "sk-aaaaaaaaaaaaaaaaaaaaaaaaac", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaad"].map(Secret::new).into();
    for (attack, piece) in [("secrets", SECRET), ("prefixes", &SECRET[..SECRET.len() - 1]), ("one letter", "a")] {
        for size in [1, 1000, usize::MAX] {
            let pieces = |bytes: usize| {
                let all = Bytes::from(piece.repeat(bytes / piece.len()));
                let size = size.min(all.len());
                let from = (0..all.len()).step_by(size);
                from.map(|from| all.slice(from..all.len().min(from + size))).collect::<Vec<_>>()
            };
            growth.measure("Redactor", &format!("{attack}, in pieces of {size}"), pieces, |pieces| {
                let mut redactor = Redactor::new();
                let passed: usize = pieces.iter().map(|piece| redactor.redact(piece.clone()).len()).sum();
                passed + redactor.finish().len()
            });
        }
    }
    for (attack, piece) in [("quotes", "\""), ("one word", "a"), ("long words", &*"a".repeat(5000))] {
        let body = |bytes: usize| format!("\"{}", piece.repeat(bytes / piece.len())).into_bytes();
        growth.measure("usage_estimate::count_text_bytes", attack, body, |body| {
            (UsageEstimate::from_body(body, None), estimate_tokens(body))
        });
        growth.measure("PromptPrefix", attack, body, |body| PromptPrefix::hash([body.as_slice()]));
        growth.measure("PromptPrefix", &format!("{attack}, byte by byte"), body, |body| {
            PromptPrefix::hash(body.chunks(1))
        });
    }
    assert_eq!(growth.finish(), ExitCode::SUCCESS, "a scanner grows faster than its input");
}
