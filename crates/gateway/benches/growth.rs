//! How the search for secrets and the reader of prices grow with their input: `cargo bench -p gateway --bench growth`. The table is in
//! docs/performance.md.

use std::process::ExitCode;

use gateway::{Prices, Secret, scrubbed};
use testkit::growth::Growth;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: testkit::growth::Jemalloc = testkit::growth::Jemalloc;

const SECRET: &str = "sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";

fn main() -> ExitCode {
    let mut growth = Growth::from_args();
    let _secrets: Vec<Secret> =
        [SECRET, "sk-aaaaaaaaaaaaaaaaaaaaaaaac", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaad"].map(Secret::new).into();
    for (attack, piece) in [
        ("secrets", SECRET),
        ("beginnings of secrets", &SECRET[..SECRET.len() - 1]),
        ("one letter", "a"),
        ("ordinary text", "What is said here is nothing new. "),
    ] {
        growth.row("gateway::scrubbed", attack, |bytes| piece.repeat(bytes / piece.len()), |text| scrubbed(text).len());
    }
    let prices = |bytes: usize| {
        let row = |n| format!("[[prices]]\nprovider = \"p\"\nmodel = \"m{n}\"\ninput = 1.0\noutput = 2.0\n\n");
        (0..bytes / 80).map(row).collect::<String>()
    };
    growth.row("gateway::Prices", "rows", prices, |text| Prices::read(text));
    growth.finish()
}
