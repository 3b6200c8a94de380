//! How the imports of LiteLLM's files grow with them: `cargo bench -p cachalot --bench growth`. The
//! table is in docs/performance.md.

use std::process::ExitCode;

use cachalot::commands::price_import;
use cachalot::litellm_config;
use testkit::growth::GrowthTable;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: testkit::growth::Jemalloc = testkit::growth::Jemalloc;

fn main() -> ExitCode {
    let mut growth = GrowthTable::from_args();
    let file = |deployment: &dyn Fn(usize) -> String, bytes: usize| {
        let times = bytes / deployment(100_000).len();
        (0..times).fold("model_list:\n".to_owned(), |file, n| file + &deployment(n))
    };
    let deployment = |name: &str, model: &str, more: &str| {
        format!("  - model_name: {name}\n    litellm_params:\n      model: openai/{model}\n{more}")
    };
    let names = |n: usize| deployment(&format!("m{n}"), &format!("m{n}"), "");
    let addresses = |n: usize| deployment("m", "m", &format!("      api_base: http://h{n}/v1\n"));
    let repeated = |_: usize| deployment("m", "x", "");
    growth.measure("litellm::import", "names", |bytes| file(&names, bytes), |text| litellm_config::import(text));
    growth.measure(
        "litellm::import",
        "addresses",
        |bytes| file(&addresses, bytes),
        |text| litellm_config::import(text),
    );
    growth.measure("litellm::import", "one name", |bytes| file(&repeated, bytes), |text| litellm_config::import(text));
    let prices = |bytes: usize| {
        let model = |n| {
            format!(
                r#""m{n}":{{"litellm_provider":"openai","mode":"chat","input_cost_per_token":1e-6,"output_cost_per_token":2e-6}}"#
            )
        };
        format!("{{{}}}", (0..bytes / 128).map(model).collect::<Vec<_>>().join(","))
    };
    let steps = |bytes: usize| {
        let step = |n| format!("\"input_cost_per_token_above_{n}k_tokens\":1e-6");
        let steps = (0..bytes / 64).map(step).collect::<Vec<_>>().join(",");
        format!(r#"{{"m":{{"litellm_provider":"openai","mode":"chat","input_cost_per_token":1e-6,{steps}}}}}"#)
    };
    growth.measure("price::import", "models", prices, |text| price_import::import(text, None, "2026-01-01"));
    growth.measure("price::import", "steps of one price", steps, |text| price_import::import(text, None, "2026-01-01"));
    growth.finish()
}
