//! Speed of products with each format of weights: run `cargo bench -p kernels --bench weights`, or
//! only some batches and instruction sets with `-- 1 8 avx512`.
//!
//! Prints weights and bytes a second of one core, in CPU time of the thread, so that other work on
//! the machine counts little. The formats take turns, and the best of several rounds counts. Every
//! format has enough matrices that none is still in the L2 cache when it is its turn again.

mod common;

use std::time::Duration;

use common::values;
use kernels::{Compute, Cpu, DType, Linear, Mat, Packed, Packing, Rows};

/// Minimum number of weights in the matrices of one format.
const WEIGHTS: usize = 24 << 20;

const ROUNDS: usize = 7;

/// `[out, in]`: projections and head of a model of 135 M weights, an expert of V3.2.
const SHAPES: [(usize, usize); 4] = [(1536, 576), (576, 1536), (49_280, 576), (2048, 7168)];

const BATCHES: [usize; 6] = [1, 2, 4, 8, 12, 128];

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Bf16,
    Fp8,
    Packed(Packing),
}

const FORMATS: [(&str, Format); 4] = [
    ("bf16", Format::Bf16),
    ("fp8", Format::Fp8),
    ("int8", Format::Packed(Packing::Int8)),
    ("int4", Format::Packed(Packing::Int4)),
];

fn main() {
    // `cargo test` runs benches with this argument.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let (batches, names): (Vec<_>, Vec<_>) = args.iter().partition(|arg| arg.parse::<usize>().is_ok());
    let chosen = |all: &[&String], name: &str| all.is_empty() || all.iter().any(|arg| *arg == name);
    for isa in Cpu::supported_isas().into_iter().filter(|isa| *isa != "plain" && chosen(&names, isa)) {
        for compute in [Compute::Bf16, Compute::F32] {
            let cpu = Cpu::with_isa(1, compute, isa).expect("it is supported");
            for (rows, cols) in SHAPES {
                let copies = WEIGHTS.div_ceil(rows * cols);
                let mats = FORMATS.map(|(_, format)| mats(format, rows, cols, copies));
                for m in BATCHES.into_iter().filter(|m| chosen(&batches, &m.to_string())) {
                    measure(&cpu, isa, m, &mats);
                }
            }
        }
    }
}

/// Measures all formats and prints a line.
fn measure(cpu: &Cpu, isa: &str, m: usize, mats: &[Vec<Mat>; FORMATS.len()]) {
    let (rows, cols) = (mats[0][0].rows(), mats[0][0].cols());
    let x = Rows::from_vec(cols, values(m * cols));
    let mut out = Rows::new(rows);
    let mut best = [Duration::MAX; FORMATS.len()];
    for _ in 0..ROUNDS {
        for (mats, best) in mats.iter().zip(&mut best) {
            let start = cpu_time();
            for w in mats {
                cpu.linear(&x, &mut [Linear { w, out: &mut out }]);
            }
            *best = (*best).min(cpu_time() - start);
        }
    }
    let weights = (rows * cols * mats[0].len()) as f64;
    let mut line = format!("{isa:6} {:4?} {m:3} x [{rows} x {cols}]", cpu.compute());
    for ((name, format), best) in FORMATS.iter().zip(best) {
        let rate = weights / best.as_secs_f64() / 1e9;
        let bytes = match format {
            Format::Bf16 => 2.0,
            Format::Fp8 => 1.0,
            Format::Packed(packing) => packing.row_bytes(cols) as f64 / cols as f64,
        };
        line += &format!("  {name} {rate:5.1} G/s ({:4.1} GB/s, {:5.1} G products/s)", rate * bytes, rate * m as f64);
    }
    #[expect(clippy::print_stdout, reason = "the result")]
    {
        println!("{line}");
    }
}

/// CPU time of the calling thread, which is the only one of its processor.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every Unix has the clock of the thread");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Matrices of their own memory.
fn mats(format: Format, rows: usize, cols: usize, copies: usize) -> Vec<Mat> {
    let values = values(cols);
    let repeat = |bytes: &[u8]| bytes.repeat(rows);
    let one = || match format {
        Format::Bf16 => {
            let row: Vec<u8> = values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
            Mat::new(rows, cols, DType::Bf16, repeat(&row).into())
        }
        Format::Fp8 => {
            let row: Vec<u8> = values.iter().map(|v| kernels::fp8_from_f32(*v * 400.0)).collect();
            let scales = vec![0.001; rows.div_ceil(128) * cols.div_ceil(128)];
            Mat::new(rows, cols, DType::Fp8, repeat(&row).into()).with_scales(scales)
        }
        Format::Packed(packing) => {
            let mut row = Packed::default();
            kernels::pack_row(packing, &values, &mut row).expect("finite values");
            let [quants, scales, offsets, factors] =
                [row.quants, row.scales, row.offsets, row.factors].map(|b| repeat(&b));
            Mat::packed(rows, cols, packing, Packed { quants, scales, offsets, factors }.into()).expect("whole groups")
        }
    };
    (0..copies).map(|_| one()).collect()
}
