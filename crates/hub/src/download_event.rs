//! The events that a download reports while it runs.

use std::time::Duration;

/// An event of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownloadEvent<'a> {
    Received {
        bytes: u64,
    },
    /// Bytes that counted as present have to be received again.
    Discarded {
        bytes: u64,
    },
    /// A failure, after which the download of this file continues.
    Paused {
        path: &'a str,
        reason: &'a str,
        pause: Duration,
    },
    /// Another process downloads this file, and is waited for.
    Locked {
        path: &'a str,
    },
    /// The checksum is wrong; the file is downloaded again.
    Damaged {
        path: &'a str,
    },
    /// The file is in the cache.
    Completed {
        path: &'a str,
    },
}

/// Receives the events of a download, from several threads.
pub type Report = dyn Fn(DownloadEvent<'_>) + Send + Sync;
