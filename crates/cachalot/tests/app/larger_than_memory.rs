//! A model whose weights are larger than the memory that the process may use.

use std::fs::File;
use std::io::Write;

use model::config::Config;
use model::tensors::expected_tensors;
use serde_json::{Map, json};
use testkit::TinyCheckpoint;

use crate::process::{TestHome, run_to_end};

/// The memory that the process may use, in KiB.
const MEMORY_KIB: u64 = 512 << 10;

/// Writes a checkpoint of 780 MiB of zeros, which take no space on disk. A token reads a hundredth
/// of them.
fn write_checkpoint(home: &TestHome) {
    let folder = home.path("large");
    std::fs::create_dir(&folder).unwrap();
    for (name, bytes) in TinyCheckpoint::default().files() {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let mut config = TinyCheckpoint::default().config();
    config["n_routed_experts"] = json!(256);
    config["moe_intermediate_size"] = json!(2048);
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut header = Map::new();
    let mut end = 0;
    for tensor in expected_tensors(&Config::from_json(&config).unwrap()) {
        let start = end;
        end += 2 * tensor.shape.iter().product::<usize>() as u64;
        let entry = json!({ "dtype": "BF16", "shape": tensor.shape, "data_offsets": [start, end] });
        header.insert(tensor.name, entry);
    }
    assert!(end > MEMORY_KIB << 10, "{end} bytes of weights");
    let header = json!(header).to_string();
    let mut file = File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
}

#[test]
fn weights_larger_than_memory_run_when_that_is_asked_for() {
    let home = TestHome::new();
    write_checkpoint(&home);
    std::fs::write(home.path("tokens.json"), "[[0, 1]]").unwrap();
    let score = |switch: &str| {
        let run = "exec \"$CACHALOT\" score --threads 1 --model large --tokens tokens.json";
        run_to_end(home.shell(&format!("ulimit -d {MEMORY_KIB}; {run} {switch}")))
    };
    let refused = score("");
    assert!(!refused.status.success());
    for part in ["the weights of `large` take", "512.00 MiB of memory", "hint: `--allow-mmap-larger-than-memory`"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let scored = score("--allow-mmap-larger-than-memory");
    assert!(scored.status.success(), "{}", scored.stderr);
    assert!(scored.stderr.contains("each token reads about"), "{}", scored.stderr);
    assert_eq!(scored.stdout.lines().count(), 2, "{}", scored.stdout);
}
