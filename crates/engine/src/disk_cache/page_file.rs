//! The file format of a page: magic, key, key of the page before it, length, rows, and a SHA-256 of
//! all of these.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::page_keys::PageKey;

const MAGIC: &[u8; 16] = b"cachalot page 1\n";
/// Magic, two keys, length.
const HEADER: usize = 16 + 32 + 32 + 8;
const CHECKSUM: usize = 32;

/// `<64 hex digits>.page`
pub(super) fn file_name(key: &PageKey) -> String {
    format!("{}.page", hex(key))
}

/// The name of a file that is being written.
pub(super) fn temporary_name(key: &PageKey) -> String {
    format!("{}.part", hex(key))
}

pub(super) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".part").and_then(unhex).is_some()
}

/// The key in a file name; `None` for files of other programs.
pub(super) fn key_from_name(name: &str) -> Option<PageKey> {
    name.strip_suffix(".page").and_then(unhex)
}

fn hex(key: &PageKey) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<PageKey> {
    let digits: Vec<u8> =
        text.bytes().map(|byte| char::from(byte).to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let bytes: Vec<u8> = digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect();
    (digits.len() == 64).then(|| bytes.try_into().ok()).flatten()
}

/// The content of the file.
pub(super) fn encode(key: &PageKey, parent: &PageKey, rows: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + rows.len() + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(parent);
    bytes.extend_from_slice(&(rows.len() as u64).to_le_bytes());
    bytes.extend_from_slice(rows);
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

/// The rows of a file, if it is complete and intact and holds the page `key`.
pub(super) fn decode(mut bytes: Vec<u8>, key: &PageKey, page_bytes: usize) -> Option<Vec<u8>> {
    if bytes.len() != HEADER + page_bytes + CHECKSUM || !bytes.starts_with(MAGIC) || bytes[16..48] != *key {
        return None;
    }
    let (content, checksum) = bytes.split_at(HEADER + page_bytes);
    if Sha256::digest(content).as_slice() != checksum {
        return None;
    }
    bytes.truncate(HEADER + page_bytes);
    bytes.drain(..HEADER);
    Some(bytes)
}

/// The key of the page before, from the header. `None` when it is not the header of `key`, or the
/// length of the file does not match it.
pub(super) fn read_parent(path: &Path, key: &PageKey) -> Option<PageKey> {
    let mut file = files::open(path).ok()?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header).ok()?;
    let length = u64::from_le_bytes(header[80..].try_into().ok()?);
    let expected = length.checked_add((HEADER + CHECKSUM) as u64)?;
    let matches = header.starts_with(MAGIC) && header[16..48] == *key && file.metadata().ok()?.len() == expected;
    matches.then(|| header[48..80].try_into().ok()).flatten()
}

/// Stores the time of the last use in the file, for the eviction order after a restart.
/// Failures are ignored.
pub(super) fn touch_modified_time(path: &Path) {
    let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
}
