//! Lines of text and progress bars on one terminal: a line is written above the bars, which would
//! overwrite it otherwise.

use std::io::{self, Write};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, WeakProgressBar};
use parking_lot::Mutex;

/// The bars on standard error.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Those of them that may still be drawn.
static DRAWN: Mutex<Vec<WeakProgressBar>> = Mutex::new(Vec::new());

/// Draws a bar below all lines that this module writes.
pub(crate) fn draw(bar: ProgressBar) -> ProgressBar {
    let bar = BARS.add(bar);
    DRAWN.lock().push(bar.downgrade());
    bar
}

/// Runs `write`, which writes whole lines, while no bar is drawn. Without bars it touches nothing:
/// the terminal may be gone.
pub(crate) fn write_lines<T>(write: impl FnOnce() -> T) -> T {
    let has_bars = {
        let mut drawn = DRAWN.lock();
        drawn.retain(|bar| bar.upgrade().is_some_and(|bar| !bar.is_finished()));
        !drawn.is_empty()
    };
    if has_bars { BARS.suspend(write) } else { write() }
}

/// Standard error, written above the bars.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        write_lines(|| io::stderr().write(lines))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_while_a_bar_is_drawn() {
        let bar = draw(ProgressBar::new(9));
        bar.set_position(3);
        assert!(write_lines(|| Stderr.flush().is_ok()));
        bar.finish_and_clear();
        assert_eq!(write_lines(|| 7), 7);
        Stderr.write_all(b"").unwrap();
    }
}
