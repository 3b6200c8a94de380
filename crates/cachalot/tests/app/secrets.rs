//! Nothing that must stay secret is ever written: every log line of this process, at every level, is kept, and searched for each
//! secret that a test has named whenever a server stops.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Keep;

impl io::Write for Keep {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&WRITTEN).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps every line from now on.
pub(crate) fn watch() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Keep)
            .init();
    });
}

/// This must never be written.
pub(crate) fn keep(secret: &str) {
    assert!(secret.len() >= 16, "too short to be looked for");
    lock(&SECRETS).push(secret.to_owned());
}

/// Looks for every secret in all that was written, and in `also`.
pub(crate) fn check(also: &str) {
    let written = String::from_utf8_lossy(&lock(&WRITTEN)).into_owned();
    for secret in lock(&SECRETS).iter() {
        for text in [written.as_str(), also] {
            if let Some(at) = text.find(secret.as_str()) {
                let line = text[..at].rfind('\n').map_or(0, |start| start + 1);
                panic!("a secret was written, in a line that begins: {:.120}", &text[line..at]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_searched_for_secrets() {
    watch();
    tracing::trace!("a line of the test itself");
    assert!(String::from_utf8_lossy(&lock(&WRITTEN)).contains("a line of the test itself"));
    let found = std::panic::catch_unwind(|| {
        keep("sk-this-is-written-on-purpose");
        check("a metric with sk-this-is-written-on-purpose in it");
    });
    lock(&SECRETS).retain(|secret| secret != "sk-this-is-written-on-purpose");
    assert!(found.is_err());
}
