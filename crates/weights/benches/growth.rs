//! Growth of the time and memory of the safetensors header parser:
//! `cargo bench -p weights --bench growth`. The table is in docs/performance.md.

use std::process::ExitCode;

use testkit::growth::GrowthTable;
use weights::Header;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: testkit::growth::Jemalloc = testkit::growth::Jemalloc;

fn main() -> ExitCode {
    let mut growth = GrowthTable::from_args();
    let header = |text: String| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let tensors = |bytes: usize| {
        let tensor = |n: usize| format!(r#""t{n}":{{"dtype":"U8","shape":[1],"data_offsets":[{n},{}]}}"#, n + 1);
        header(format!("{{{}}}", (0..bytes / 64).map(tensor).collect::<Vec<_>>().join(",")))
    };
    let empty = |bytes: usize| {
        let tensor = |n: usize| format!(r#""t{n}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
        header(format!("{{{}}}", (0..bytes / 64).rev().map(tensor).collect::<Vec<_>>().join(",")))
    };
    let metadata = |bytes: usize| {
        let fields = (0..bytes / 16).map(|n| format!("\"k{n}\":\"v\"")).collect::<Vec<_>>();
        header(format!("{{\"__metadata__\":{{{}}}}}", fields.join(",")))
    };
    let shape = |bytes: usize| {
        header(format!(r#"{{"t":{{"dtype":"U8","shape":[{}1],"data_offsets":[0,1]}}}}"#, "1,".repeat(bytes / 2)))
    };
    growth.measure("weights::Header", "tensors", tensors, |bytes| Header::parse("f", bytes));
    growth.measure("weights::Header", "tensors without bytes", empty, |bytes| Header::parse("f", bytes));
    growth.measure("weights::Header", "metadata", metadata, |bytes| Header::parse("f", bytes));
    growth.measure("weights::Header", "dimensions", shape, |bytes| Header::parse("f", bytes));
    growth.finish()
}
