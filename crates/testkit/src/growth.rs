//! How the time of a parser grows with its input: the same attack of 256 KiB and of 2 MiB, in CPU
//! time of one thread. A parser whose work is proportional to its input takes eight times as long;
//! one that compares everything with everything, sixty-four times.
//!
//! A benchmark uses the allocator of the program, [`Jemalloc`], so set that it keeps what was
//! freed. The first run of an input touches the memory, and the runs that count use it again: the
//! kernel's time for the first touch of a page is none of the parser's.

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
/// The large input may take so many times as long as the small one.
pub const MAX_RATIO: f64 = 12.0;
/// The least time of so many runs counts.
const RUNS: usize = 7;
/// A run repeats what is measured until it has taken so long, so that the clock's own
/// cost does not count.
const MIN_RUN_TIME: Duration = Duration::from_millis(4);
/// A single pass that takes longer is not repeated.
const SINGLE_RUN_TIME: Duration = Duration::from_secs(20);

/// The CPU time of this thread so far.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// A table of parsers and what they were fed.
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
    /// A scan at the speed of memory is quick at any size of these: its ratio is
    /// that of the caches.
    fn is_measurable(&self) -> bool {
        self.large > Duration::from_millis(1)
    }

    fn ratio(&self) -> f64 {
        self.large.as_secs_f64() / self.small.as_secs_f64().max(1e-9)
    }
}

impl GrowthTable {
    /// An empty table. The first argument that is no option selects rows by a part of
    /// their parser's name.
    ///
    /// # Panics
    /// The program cannot be started again with the allocator's settings.
    pub fn from_args() -> Self {
        restart_with_allocator_settings();
        let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        Self { rows: Vec::new(), filter }
    }

    /// Feeds `parse` with what `make` makes of a number of bytes. The time to drop what
    /// `parse` returns counts.
    #[expect(clippy::print_stdout, reason = "the table is what the benchmark is for")]
    pub fn measure<I, T>(&mut self, parser: &str, attack: &str, make: impl Fn(usize) -> I, parse: impl Fn(&I) -> T) {
        if self.filter.as_ref().is_some_and(|only| !parser.contains(only.as_str())) {
            return;
        }
        if self.rows.is_empty() {
            println!("| parser | attack | 256 KiB, ms | 2 MiB, ms | times |\n|---|---|---:|---:|---:|");
        }
        let (small, large) = (min_time(&make(SMALL_BYTES), &parse), min_time(&make(LARGE_BYTES), &parse));
        let row = Row { parser: parser.into(), attack: attack.into(), small, large };
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("| {parser} | {attack} | {:.2} | {:.2} | {:.1} |", ms(small), ms(large), row.ratio());
        self.rows.push(row);
    }

    /// Fails when a parser grows faster than it may.
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

fn min_time<I, T>(input: &I, parse: &impl Fn(&I) -> T) -> Duration {
    let once = |times: u32| {
        let began = cpu_time();
        for _ in 0..times {
            drop(std::hint::black_box(parse(std::hint::black_box(input))));
        }
        (cpu_time() - began) / times
    };
    let first = once(1);
    if first > SINGLE_RUN_TIME {
        return first;
    }
    let times = (MIN_RUN_TIME.as_nanos() / first.as_nanos().max(1)).clamp(1, 1000) as u32;
    (0..RUNS).map(|_| once(times)).min().unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_grows_with_its_square_is_told_from_work_that_does_not() {
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
