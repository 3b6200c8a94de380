//! The growth of run time with the length of the input, for the redaction of secrets and the parser
//! of prices: `cargo bench -p gateway --bench growth`. The table is in docs/performance.md.

use std::process::ExitCode;

use gateway::{Prices, Secret, redact_secrets};
use testkit::growth::GrowthTable;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: testkit::growth::Jemalloc = testkit::growth::Jemalloc;

const SECRET: &str = "sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";

fn main() -> ExitCode {
    let mut growth = GrowthTable::from_args();
    let _secrets: Vec<Secret> =
        [SECRET, "sk-aaaaaaaaaaaaaaaaaaaaaaaac", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaad"].map(Secret::new).into();
    for (attack, piece) in [
        ("secrets", SECRET),
        ("beginnings of secrets", &SECRET[..SECRET.len() - 1]),
        ("one letter", "a"),
        ("ordinary text", "What is said here is nothing new. "),
    ] {
        growth.measure(
            "gateway::redact_secrets",
            attack,
            |bytes| piece.repeat(bytes / piece.len()),
            |text| redact_secrets(text).len(),
        );
    }
    let prices = |bytes: usize| {
        let row = |n| format!("[[prices]]\nprovider = \"p\"\nmodel = \"m{n}\"\ninput = 1.0\noutput = 2.0\n\n");
        (0..bytes / 80).map(row).collect::<String>()
    };
    growth.measure("gateway::Prices", "rows", prices, |text| Prices::parse(text));
    growth.finish()
}
