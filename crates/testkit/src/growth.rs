//! Measures how the time of a parser grows with its input: the same attack of 256 KiB and of 2 MiB,
//! in CPU time of one thread. A parser with linear time takes eight times as long for the larger
//! one; a parser with quadratic time, sixty-four times.
//!
//! A benchmark uses the allocator of the program, [`Jemalloc`], with settings that
//! keep freed memory.
//! The first run of an input touches the memory, and the measured runs use it again, so that the
//! kernel's time for page faults is not measured.

use std::hint::black_box;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
#[cfg(target_os = "linux")]
pub use tikv_jemallocator::Jemalloc;

/// The allocator reads its settings here, before `main`.
const ALLOCATOR_ENV: &str = "_RJEM_MALLOC_CONF";
/// Freed memory stays mapped and is used again.
const ALLOCATOR_SETTINGS: &str =
    "background_thread:false,dirty_decay_ms:-1,muzzy_decay_ms:-1,retain:true,narenas:1,lg_extent_max_active_fit:16";

/// Bytes of the two inputs.
const SMALL_BYTES: usize = 256 << 10;
const LARGE_BYTES: usize = 2 << 20;
/// The largest allowed ratio of the times of the two inputs.
pub const MAX_RATIO: f64 = 12.0;
/// The number of runs, of which the fastest is used.
const RUNS: usize = 7;
/// The least time of a run: shorter work is repeated, so that the cost of reading the clock
/// does not matter.
const MIN_RUN_TIME: Duration = Duration::from_millis(4);
/// Work that takes longer than this is measured once.
const SINGLE_RUN_TIME: Duration = Duration::from_secs(20);

/// The CPU time of this thread so far.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// A table of parsers, attacks and times.
#[derive(Default)]
pub struct GrowthTable {
    rows: Vec<Row>,
    /// Only rows whose parser's name contains this are measured.
    filter: Option<String>,
}

struct Row {
    parser: String,
    attack: String,
    small: Duration,
    large: Duration,
}

impl Row {
    /// Whether the ratio is meaningful. A scan at memory speed takes so little time that its ratio
    /// depends on the processor's caches.
    fn is_measurable(&self) -> bool {
        self.large > Duration::from_millis(1)
    }

    fn ratio(&self) -> f64 {
        self.large.as_secs_f64() / self.small.as_secs_f64().max(1e-9)
    }
}

impl GrowthTable {
    /// An empty table. The first argument that is not an option selects rows by a part of their
    /// parser's name.
    ///
    /// # Panics
    /// When the program cannot be started again with the allocator's settings.
    pub fn from_args() -> Self {
        restart_with_allocator_settings();
        let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        Self { rows: Vec::new(), filter }
    }

    /// Measures `parse` on inputs that `make` returns for a number of bytes. The time to drop the
    /// result of `parse` is included.
    pub fn measure<I, T>(&mut self, parser: &str, attack: &str, make: impl Fn(usize) -> I, parse: impl Fn(&I) -> T) {
        self.add_row(parser, attack, |bytes| {
            let input = make(bytes);
            min_time(|times| cpu_time_of(|| (0..times).for_each(|_| drop(black_box(parse(black_box(&input)))))))
        });
    }

    /// Measures `parse` where it changes its input: each run gets a fresh one. The time to make and
    /// to drop the input is not included.
    pub fn measure_mut<I, T>(
        &mut self,
        parser: &str,
        attack: &str,
        make: impl Fn(usize) -> I,
        parse: impl Fn(&mut I) -> T,
    ) {
        let run = |mut input: I| cpu_time_of(|| drop(black_box(parse(black_box(&mut input)))));
        self.add_row(parser, attack, |bytes| min_time(|_| run(make(bytes))));
    }

    #[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
    fn add_row(&mut self, parser: &str, attack: &str, time: impl Fn(usize) -> Duration) {
        if self.filter.as_ref().is_some_and(|filter| !parser.contains(filter.as_str())) {
            return;
        }
        if self.rows.is_empty() {
            println!("| parser | attack | 256 KiB, ms | 2 MiB, ms | times |\n|---|---|---:|---:|---:|");
        }
        let row =
            Row { parser: parser.into(), attack: attack.into(), small: time(SMALL_BYTES), large: time(LARGE_BYTES) };
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("| {parser} | {attack} | {:.2} | {:.2} | {:.1} |", ms(row.small), ms(row.large), row.ratio());
        self.rows.push(row);
    }

    /// Prints the parsers whose ratio exceeds [`MAX_RATIO`], and fails if there is one.
    #[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
    pub fn finish(self) -> ExitCode {
        let failed: Vec<&Row> = self.rows.iter().filter(|row| row.is_measurable() && row.ratio() > MAX_RATIO).collect();
        for row in &failed {
            println!(
                "{} ({}) takes {:.1} times as long, at most {MAX_RATIO} are allowed",
                row.parser,
                row.attack,
                row.ratio()
            );
        }
        if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Starts this program again in the same process, with an allocator that keeps freed memory.
fn restart_with_allocator_settings() {
    if cfg!(target_os = "linux") && std::env::var_os(ALLOCATOR_ENV).is_none() {
        let program = std::env::current_exe().expect("this program has a file");
        let error =
            Command::new(program).args(std::env::args_os().skip(1)).env(ALLOCATOR_ENV, ALLOCATOR_SETTINGS).exec();
        panic!("the benchmark cannot be started again with `{ALLOCATOR_ENV}`: {error}");
    }
}

fn cpu_time_of(work: impl FnOnce()) -> Duration {
    let start = cpu_time();
    work();
    cpu_time() - start
}

/// The least time of one run. `run` runs a number of times and returns the time of all.
fn min_time(run: impl Fn(u32) -> Duration) -> Duration {
    let first = run(1);
    if first > SINGLE_RUN_TIME {
        return first;
    }
    let times = (MIN_RUN_TIME.as_nanos() / first.as_nanos().max(1)).clamp(1, 1000) as u32;
    (0..RUNS).map(|_| run(times) / times).min().unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quadratic_work_fails_and_linear_work_does_not() {
        let mut growth = GrowthTable::default();
        let sum = |bytes: &Vec<u8>| bytes.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31) ^ u32::from(*byte));
        growth.measure("linear", "bytes", |bytes| vec![1; bytes], sum);
        assert_eq!(growth.finish(), ExitCode::SUCCESS);
        let mut growth = GrowthTable::default();
        growth.measure(
            "square",
            "bytes",
            |bytes| vec![1; bytes / 256],
            |bytes| bytes.iter().map(|byte| sum(bytes) ^ u32::from(*byte)).fold(0, u32::wrapping_add),
        );
        assert_eq!(growth.finish(), ExitCode::FAILURE);
    }
}
