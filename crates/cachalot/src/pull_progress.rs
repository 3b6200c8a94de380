//! The progress of a download on standard error: a bar on a terminal, else a line from time to
//! time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hub::{DownloadEvent, DownloadPlan};
use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use crate::terminal;

const TEMPLATE: &str = "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left, {msg}";
/// The time between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Draws the progress.
pub(crate) struct PullProgress {
    bar: ProgressBar,
    files: usize,
    completed_files: AtomicUsize,
    last_line: Mutex<Instant>,
}

impl PullProgress {
    /// The progress of a plan, whose present bytes count as done.
    pub(crate) fn new(plan: &DownloadPlan) -> Self {
        let bar = terminal::draw(ProgressBar::new(plan.bytes_total()));
        bar.set_style(ProgressStyle::with_template(TEMPLATE).expect("a valid template"));
        bar.set_position(plan.bytes_present());
        // The rate is that of this download.
        bar.reset_eta();
        let last_line = Mutex::new(Instant::now());
        Self { bar, files: plan.files(), completed_files: AtomicUsize::new(0), last_line }
    }

    /// Shows an event.
    pub(crate) fn report(&self, event: DownloadEvent<'_>) {
        match event {
            DownloadEvent::Received { bytes } => self.bar.inc(bytes),
            DownloadEvent::Discarded { bytes } => self.bar.dec(bytes),
            DownloadEvent::Completed { .. } => {
                let completed = self.completed_files.fetch_add(1, Ordering::Relaxed) + 1;
                self.bar.set_message(format!("{completed} of {} files", self.files));
            }
            DownloadEvent::Paused { path, reason, pause } => {
                self.print(&format!("{path}: {reason}; next attempt in {:.1} s", pause.as_secs_f64()));
            }
            DownloadEvent::Locked { path } => {
                self.print(&format!("{path}: waiting for another process that downloads it"))
            }
            DownloadEvent::Damaged { path } => {
                self.print(&format!("{path}: its checksum is wrong, downloading it again"))
            }
        }
        self.print_line_where_hidden();
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The bytes that are there.
    pub(crate) fn summary(&self) -> String {
        let (done, all) = (BinaryBytes(self.bar.position()), BinaryBytes(self.bar.length().unwrap_or_default()));
        format!("{done} of {all} are here")
    }

    fn print(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    fn print_line_where_hidden(&self) {
        if !self.bar.is_hidden() {
            return;
        }
        let mut last = self.last_line.lock();
        if last.elapsed() >= LINE_INTERVAL {
            *last = Instant::now();
            let (rate, left) = (BinaryBytes(self.bar.per_sec() as u64), self.bar.eta().as_secs());
            eprintln!("{}, {rate}/s, {left} s left", self.summary());
        }
    }
}
