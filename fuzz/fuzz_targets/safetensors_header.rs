//! Input: a safetensors file. It is refused, or it opens and every tensor lies inside it.
#![no_main]

use fuzzing::within_time_limit;
use libfuzzer_sys::fuzz_target;
use weights::{Checkpoint, Header};

fuzz_target!(|bytes: &[u8]| within_time_limit(bytes.len(), || check(bytes)));

fn check(bytes: &[u8]) {
    if let Ok(header) = Header::parse("model.safetensors", bytes) {
        let mut at = None;
        for tensor in &header.tensors {
            assert!(at.is_none_or(|at| at == tensor.range.start), "tensors lie side by side");
            at = Some(tensor.range.end);
        }
        assert!(at.is_none_or(|at| at == header.file_bytes));
    }
    let files = [
        ("config.json".to_owned(), weights::static_bytes(b"{}")),
        ("model.safetensors".to_owned(), bytes.to_vec().into()),
    ];
    let Ok(checkpoint) = Checkpoint::from_files("fuzz", files) else { return };
    let mut sum = 0;
    for name in checkpoint.names() {
        let (tensor, _) = checkpoint.tensor(name).expect("a name of the checkpoint");
        sum += tensor.bytes();
        let shape: Vec<usize> = tensor.shape.iter().map(|n| *n as usize).collect();
        match shape[..] {
            [len] => drop(checkpoint.vector(name, len)),
            [rows, cols] => {
                // int4 stores two weights in a byte.
                for cols in [cols, cols.saturating_mul(2)] {
                    if let Ok(mat) = checkpoint.mat(name, rows, cols) {
                        assert_eq!(mat.to_f32().len(), rows * cols);
                    }
                }
            }
            _ => {}
        }
    }
    assert_eq!(sum, checkpoint.bytes_total());
    assert!(sum <= bytes.len() as u64);
    checkpoint.prefault(&mut |done| assert!(done <= sum));
}
