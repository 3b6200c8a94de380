//! Secrets are never logged: the log of this process is captured at every level. Whenever a server
//! stops, it is searched for each secret that a test has registered.

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

/// Captures every line of the log from now on.
pub(crate) fn capture_log() {
    static CAPTURE: Once = Once::new();
    CAPTURE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| LogCapture)
            .init();
    });
}

/// Registers a secret that must never be logged.
pub(crate) fn register_secret(secret: &str) {
    assert!(secret.len() >= 16, "the secret is too short for a search");
    lock_ignoring_poison(&SECRETS).push(secret.to_owned());
}

/// Searches the captured log and `other_text` for every secret. Panics when it finds one.
pub(crate) fn assert_no_secrets(other_text: &str) {
    let log = String::from_utf8_lossy(&lock_ignoring_poison(&CAPTURED_LOG)).into_owned();
    for secret in lock_ignoring_poison(&SECRETS).iter() {
        for text in [log.as_str(), other_text] {
            if let Some(at) = text.find(secret.as_str()) {
                let line = text[..at].rfind('\n').map_or(0, |start| start + 1);
                panic!("a secret was logged, in a line that begins: {:.120}", &text[line..at]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_searched_for_secrets() {
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
