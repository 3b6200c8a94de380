//! How the scanners of this crate that nobody else can call grow with their input, as in docs/performance.md:
//! `cargo test --release -p gateway growth -- --ignored --nocapture`.

use std::process::ExitCode;

use bytes::Bytes;
use testkit::growth::Growth;

use crate::affinity::Beginning;
use crate::secret::{Scrubber, Secret};
use crate::size::{Size, tokens_of};

const SECRET: &str = "sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";

#[test]
#[ignore = "it takes some seconds"]
fn scanners_take_time_by_the_length_of_their_input() {
    let mut growth = Growth::default();
    let _secrets: Vec<Secret> =
        [SECRET, "sk-aaaaaaaaaaaaaaaaaaaaaaaaac", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaad"].map(Secret::new).into();
    for (attack, piece) in [("secrets", SECRET), ("beginnings", &SECRET[..SECRET.len() - 1]), ("one letter", "a")] {
        for size in [1, 1000, usize::MAX] {
            let pieces = |bytes: usize| {
                let all = Bytes::from(piece.repeat(bytes / piece.len()));
                let size = size.min(all.len());
                let from = (0..all.len()).step_by(size);
                from.map(|from| all.slice(from..all.len().min(from + size))).collect::<Vec<_>>()
            };
            growth.row("Scrubber", &format!("{attack}, in pieces of {size}"), pieces, |pieces| {
                let mut scrubber = Scrubber::new();
                let passed: usize = pieces.iter().map(|piece| scrubber.pass(piece.clone()).len()).sum();
                passed + scrubber.rest().len()
            });
        }
    }
    for (attack, piece) in [("quotes", "\""), ("one word", "a"), ("long words", &*"a".repeat(5000))] {
        let body = |bytes: usize| format!("\"{}", piece.repeat(bytes / piece.len())).into_bytes();
        growth.row("size::bytes_of_text", attack, body, |body| (Size::of_body(body, None), tokens_of(body)));
        growth.row("affinity::Beginning", attack, body, |body| Beginning::of([body.as_slice()]));
        growth
            .row("affinity::Beginning", &format!("{attack}, byte by byte"), body, |body| Beginning::of(body.chunks(1)));
    }
    assert_eq!(growth.finish(), ExitCode::SUCCESS, "a scanner grows faster than its input");
}
