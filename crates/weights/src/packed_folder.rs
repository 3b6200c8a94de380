//! The folder that `cachalot pack` writes. It can be interrupted at any moment: finished files and
//! their checksums are recorded, and the next run verifies and keeps them.
//!
//! `config.json` is written last, so that an unfinished folder cannot be opened as a checkpoint.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::manifest::{Manifest, STATE, ShardRecord};
use crate::shard_writer::{ShardLayout, ShardWriter, UNFINISHED};
use crate::{Checkpoint, Error, checksum};

/// Beginning of the names of the files that exist while a folder is unfinished.
const WORK_FILES: &str = "cachalot-pack.";
/// Locked while a process writes to the folder.
const LOCK: &str = "cachalot-pack.lock";
/// Maximum size of the record of finished files.
const MAX_STATE_BYTES: u64 = 64 << 20;

/// The state of a folder that is to hold the result of a plan.
pub enum Destination {
    /// Files are missing.
    Unfinished(PackedFolder),
    /// An earlier run has completed the same plan.
    Complete,
}

/// A folder that this process fills.
pub struct PackedFolder {
    dir: PathBuf,
    state: State,
    /// Holds the lock.
    _lock: File,
}

/// The content of `cachalot-pack.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    /// A hash of the source and of everything that determines the files.
    plan: String,
    /// The options on the command line, for messages.
    options: String,
    /// Finished files.
    shards: BTreeMap<String, ShardRecord>,
}

impl PackedFolder {
    /// Creates the folder `dir`, or opens it to continue the same `plan`. `options` describes the
    /// plan in messages.
    ///
    /// # Errors
    /// A folder with other files, with the result of another plan, or that another process writes
    /// to; a folder that cannot be written.
    pub fn open(dir: &Path, plan: &str, options: &str) -> Result<Destination, Error> {
        let failed = |source| Error::Write { path: dir.to_path_buf(), source };
        let folder = || dir.display().to_string();
        fs::create_dir_all(dir).map_err(failed)?;
        if !dir.join(STATE).exists() {
            if dir.join("config.json").exists() {
                return Self::check_complete(dir, plan);
            }
            if let Some(file) = first_foreign_file(dir).map_err(failed)? {
                return Err(Error::NotEmpty { folder: folder(), file });
            }
        }
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK)).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::Locked { folder: folder() },
            TryLockError::Error(source) => failed(source),
        })?;
        let state = match files::read(&dir.join(STATE), MAX_STATE_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some(read.map_err(failed)?),
        };
        let state = match state {
            // Another process has completed the folder since.
            None if dir.join("config.json").exists() => return Self::check_complete(dir, plan),
            None => State { plan: plan.to_owned(), options: options.to_owned(), shards: BTreeMap::new() },
            Some(bytes) => serde_json::from_slice::<State>(&bytes).map_err(|error| Error::PackState {
                folder: folder(),
                file: STATE,
                reason: error.to_string(),
            })?,
        };
        if state.plan != plan {
            return Err(Error::OtherOptions { folder: folder(), options: state.options });
        }
        let opened = Self { dir: dir.to_path_buf(), state, _lock: lock };
        opened.remove_leftovers().map_err(failed)?;
        opened.write_state()?;
        Ok(Destination::Unfinished(opened))
    }

    /// Checks that the complete checkpoint in `dir` is the result of `plan`.
    fn check_complete(dir: &Path, plan: &str) -> Result<Destination, Error> {
        let folder = || dir.display().to_string();
        let bytes = files::read(&dir.join("config.json"), MAX_STATE_BYTES)
            .map_err(|source| Error::Io { path: dir.join("config.json"), source })?;
        let config = serde_json::from_slice(&bytes).unwrap_or_default();
        match Manifest::from_config(&config) {
            Ok(Some(manifest)) if manifest.plan == plan => Ok(Destination::Complete),
            Ok(Some(_)) => Err(Error::OtherPacking { folder: folder() }),
            Ok(None) | Err(_) => Err(Error::NotEmpty { folder: folder(), file: "config.json".into() }),
        }
    }

    /// Removes what an interrupted run has left: unfinished files, and a `config.json`, which this
    /// run writes again.
    fn remove_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let of_state = name.starts_with(WORK_FILES) && name != STATE && name != LOCK;
            if of_state || name.ends_with(UNFINISHED) || name == "config.json" {
                fs::remove_file(self.dir.join(name))?;
            }
        }
        Ok(())
    }

    /// Verifies the finished files by their checksums; `progress` receives the bytes of each step.
    /// A file that is missing or damaged is no longer finished.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn verify_finished(&mut self, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let mut shards = std::mem::take(&mut self.state.shards);
        shards.retain(|name, record| {
            let found = files::open(&self.dir.join(name)).and_then(|mut file| checksum::of_reader(&mut file, progress));
            found.is_ok_and(|sha256| sha256 == record.sha256)
        });
        self.state.shards = shards;
        self.write_state()
    }

    /// Whether the file `name` is finished.
    pub fn is_finished(&self, name: &str) -> bool {
        self.state.shards.contains_key(name)
    }

    /// Bytes of all finished files.
    pub fn finished_bytes(&self) -> u64 {
        self.state.shards.values().map(|record| record.bytes).sum()
    }

    /// Begins the weights file `name`.
    ///
    /// # Errors
    /// A folder that cannot be written, a full disk.
    pub fn begin_shard(&self, name: &str, layout: ShardLayout) -> Result<ShardWriter, Error> {
        ShardWriter::create(&self.dir, name, layout)
    }

    /// Completes a weights file and records it.
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn finish_shard(&mut self, name: &str, shard: ShardWriter) -> Result<(), Error> {
        let record = shard.finish()?;
        self.state.shards.insert(name.to_owned(), record);
        self.write_state()
    }

    /// All finished files.
    pub fn shards(&self) -> &BTreeMap<String, ShardRecord> {
        &self.state.shards
    }

    /// Writes the small files, of which the last must be `config.json`, and ends the unfinished
    /// state.
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn complete(self, small_files: &[(String, Vec<u8>)]) -> Result<(), Error> {
        for (name, content) in small_files {
            let path = self.dir.join(name);
            files::publish(&path, content).map_err(|source| Error::Write { path, source })?;
        }
        for name in [STATE, LOCK] {
            let path = self.dir.join(name);
            fs::remove_file(&path).map_err(|source| Error::Write { path, source })?;
        }
        files::sync_folder(&self.dir).map_err(|source| Error::Write { path: self.dir.clone(), source })
    }

    fn write_state(&self) -> Result<(), Error> {
        let path = self.dir.join(STATE);
        let state = serde_json::to_vec_pretty(&self.state).expect("the state has string keys only");
        files::publish(&path, &state).map_err(|source| Error::Write { path, source })
    }
}

/// The name of a file that no run of `cachalot pack` leaves in a folder before its first record.
fn first_foreign_file(dir: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with(WORK_FILES) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

impl Checkpoint {
    /// Compares every weights file with its recorded checksum. `progress` receives the bytes of
    /// each step, of the sum of all files.
    ///
    /// # Errors
    /// The first file that differs; a checkpoint that records no checksums.
    pub fn verify_checksums(&self, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let Some(manifest) = self.manifest() else { return Err(Error::NoChecksums { folder: self.name() }) };
        for shard in &self.index().shards {
            let found = checksum::of_bytes(shard.mapped.bytes(), progress);
            shard.mapped.forget(&(0..shard.mapped.bytes().len() as u64));
            let expected = manifest.shards[&shard.file].sha256.clone();
            if found != expected {
                return Err(Error::Checksum { file: shard.file.clone(), found, expected });
            }
        }
        Ok(())
    }
}
