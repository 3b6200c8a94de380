//! Nothing that must stay secret is ever written: every log line of this process, at every level,
//! is kept, and searched for each secret that a test has named whenever a server stops.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

static CAPTURED_LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct LogCapture;

impl io::Write for LogCapture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock_ignoring_poison(&CAPTURED_LOG).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock_ignoring_poison<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps every line from now on.
pub(crate) fn capture_log() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| LogCapture)
            .init();
    });
}

/// This must never be written.
pub(crate) fn register_secret(secret: &str) {
    assert!(secret.len() >= 16, "too short to be looked for");
    lock_ignoring_poison(&SECRETS).push(secret.to_owned());
}

/// Looks for every secret in all that was written, and in `also`.
pub(crate) fn assert_no_secrets(other_text: &str) {
    let written = String::from_utf8_lossy(&lock_ignoring_poison(&CAPTURED_LOG)).into_owned();
    for secret in lock_ignoring_poison(&SECRETS).iter() {
        for text in [written.as_str(), other_text] {
            if let Some(at) = text.find(secret.as_str()) {
                let line = text[..at].rfind('\n').map_or(0, |start| start + 1);
                panic!("a secret was written, in a line that begins: {:.120}", &text[line..at]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_searched_for_secrets() {
    capture_log();
    tracing::trace!("a line of the test itself");
    assert!(String::from_utf8_lossy(&lock_ignoring_poison(&CAPTURED_LOG)).contains("a line of the test itself"));
    let found = std::panic::catch_unwind(|| {
        register_secret("sk-this-is-written-on-purpose");
        assert_no_secrets("a metric with sk-this-is-written-on-purpose in it");
    });
    lock_ignoring_poison(&SECRETS).retain(|secret| secret != "sk-this-is-written-on-purpose");
    assert!(found.is_err());
}
