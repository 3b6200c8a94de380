//! The download of one blob: continued where an earlier one ended, and put in its place when its
//! checksum is right.

use std::fs;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_RANGE;
use reqwest::Response;

use crate::cache::{BlobLock, create_folder};
use crate::client::{host_of, transport_error};
use crate::partial_blob::{PartialBlob, checksum_of};
use crate::{DownloadEvent, Error, HubCache, HubClient, PlannedBlob, Report, Repository};

/// The time between two attempts to lock a blob that another process downloads.
const LOCK_POLL: Duration = Duration::from_millis(250);
/// Complete downloads of a blob before its checksum counts as wrong for good.
const ATTEMPTS: u32 = 2;

/// The download of `blob`, which is a part of `repository`.
pub(crate) struct Transfer<'a> {
    client: &'a HubClient,
    cache: &'a HubCache,
    repository: &'a Repository,
    blob: &'a PlannedBlob,
    report: &'a Report,
    /// Bytes of the blob that have been reported as present.
    counted: u64,
}

impl<'a> Transfer<'a> {
    pub(crate) fn new(
        client: &'a HubClient,
        cache: &'a HubCache,
        repository: &'a Repository,
        blob: &'a PlannedBlob,
        report: &'a Report,
    ) -> Self {
        Self { client, cache, repository, blob, report, counted: blob.present }
    }

    /// Completes the blob and links its paths. With `verify`, a blob that is complete by its name
    /// and size is read and compared, and downloaded again if it is damaged.
    pub(crate) async fn run(mut self, verify: bool) -> Result<(), Error> {
        let _lock = self.lock().await?;
        if !self.is_complete(verify).await? {
            self.complete().await?;
        }
        self.count_to(self.blob.size);
        for path in &self.blob.paths {
            self.cache.link(&self.repository.id, &self.repository.commit, path, &self.blob.checksum)?;
            (self.report)(DownloadEvent::Completed { path });
        }
        Ok(())
    }

    /// Waits until no other process writes the blob.
    async fn lock(&self) -> Result<BlobLock, Error> {
        let mut is_reported = false;
        loop {
            if let Some(lock) = self.cache.try_lock(&self.repository.id, &self.blob.checksum)? {
                return Ok(lock);
            }
            if !is_reported {
                (self.report)(DownloadEvent::Locked { path: self.path() });
                is_reported = true;
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    async fn is_complete(&self, verify: bool) -> Result<bool, Error> {
        let (id, blob) = (&self.repository.id, self.blob);
        if !self.cache.has_blob(id, &blob.checksum, blob.size) {
            return Ok(false);
        }
        let path = self.cache.blob(id, &blob.checksum);
        if !verify || checksum_of(&path, blob).await? == blob.checksum {
            return Ok(true);
        }
        (self.report)(DownloadEvent::Damaged { path: self.path() });
        remove(&path)?;
        Ok(false)
    }

    async fn complete(&mut self) -> Result<(), Error> {
        let (id, checksum) = (&self.repository.id, &self.blob.checksum);
        create_folder(&self.cache.blobs_folder(id))?;
        let path = self.cache.incomplete_blob(id, checksum);
        let mut found = String::new();
        for _ in 0..ATTEMPTS {
            let mut partial = PartialBlob::open(&path, self.blob).await?;
            self.receive(&mut partial).await?;
            let computed = partial.checksum();
            if computed == *checksum {
                return partial.rename_to(&self.cache.blob(id, checksum));
            }
            found = computed.to_string();
            (self.report)(DownloadEvent::Damaged { path: self.path() });
            remove(&path)?;
        }
        self.count_to(0);
        Err(Error::Damaged { file: self.path().to_owned(), found, expected: checksum.to_string() })
    }

    /// Receives the missing bytes, in as many answers as it takes.
    async fn receive(&mut self, partial: &mut PartialBlob) -> Result<(), Error> {
        let mut retries = self.client.retries();
        // Only more bytes than ever before count as progress: a hub that ignores ranges begins anew
        // each time.
        let mut longest = partial.length();
        self.count_to(longest);
        while partial.length() < self.blob.size {
            let received = self.receive_once(partial).await;
            // Received bytes are kept, also if the connection broke.
            partial.flush()?;
            self.count_to(partial.length());
            let Err(error) = received else { continue };
            if partial.length() > longest {
                longest = partial.length();
                retries.reset();
            }
            let reason = error.to_string();
            let pause = retries.pause_after(error)?;
            (self.report)(DownloadEvent::Paused { path: self.path(), reason: &reason, pause });
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Receives the missing bytes in one answer.
    async fn receive_once(&mut self, partial: &mut PartialBlob) -> Result<(), Error> {
        let range = (partial.length() > 0).then_some((partial.length(), None));
        let mut answer = self.client.open(self.repository, self.path(), range).await?;
        let url = answer.url().clone();
        if !begins_at(&answer, partial.length()) {
            if answer.status() != StatusCode::OK {
                let reason = "it sends other bytes than were requested".to_owned();
                return Err(Error::Interrupted { host: host_of(&url), reason });
            }
            // The whole file: ranges are not supported.
            partial.restart()?;
            self.count_to(0);
        }
        while let Some(chunk) = answer.chunk().await.map_err(|error| transport_error(&url, error))? {
            if partial.length() + chunk.len() as u64 > self.blob.size {
                let reason = format!("it sends more than the {} bytes of `{}`", self.blob.size, self.path());
                return Err(Error::Malformed { host: host_of(&url), reason });
            }
            partial.append(&chunk)?;
            self.count_to(partial.length());
        }
        match partial.length() == self.blob.size {
            true => Ok(()),
            false => Err(Error::Interrupted { host: host_of(&url), reason: "the answer ended early".to_owned() }),
        }
    }

    /// Reports how many bytes of the blob there are now.
    fn count_to(&mut self, length: u64) {
        if length > self.counted {
            (self.report)(DownloadEvent::Received { bytes: length - self.counted });
        } else if length < self.counted {
            (self.report)(DownloadEvent::Discarded { bytes: self.counted - length });
        }
        self.counted = length;
    }

    /// One of the paths, which are equal files.
    fn path(&self) -> &'a str {
        &self.blob.paths[0]
    }
}

/// Whether the body of an answer is that of the file from `first` on.
fn begins_at(answer: &Response, first: u64) -> bool {
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return first == 0 && answer.status() == StatusCode::OK;
    }
    let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let found = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok());
    found == Some(first)
}

fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}
