//! The file of one page: magic, key, key of the page before it, length, rows, and a SHA-256
//! over all of that.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::PageKey;

const MAGIC: &[u8; 16] = b"cachalot page 1\n";
/// Magic, two keys, length.
const HEADER: usize = 16 + 32 + 32 + 8;
const CHECKSUM: usize = 32;

/// `<64 hex digits>.page`
pub(super) fn file_name(key: &PageKey) -> String {
    format!("{}.page", hex(key))
}

/// The name of a file that is not whole yet.
pub(super) fn temporary_name(key: &PageKey) -> String {
    format!("{}.part", hex(key))
}

pub(super) fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".part").and_then(unhex).is_some()
}

/// The key that a name says; `None` for files that are not ours.
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

/// The whole file.
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

/// The rows of a file, if it is whole and the page `key`.
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

/// What the header says about the page before; `None` when it is not the header of `key`, or the
/// file has another length than it says.
pub(super) fn read_parent(path: &Path, key: &PageKey) -> Option<PageKey> {
    let mut file = files::open(path).ok()?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header).ok()?;
    let length = u64::from_le_bytes(header[80..].try_into().ok()?);
    let whole = length.checked_add((HEADER + CHECKSUM) as u64)?;
    let known = header.starts_with(MAGIC) && header[16..48] == *key && file.metadata().ok()?.len() == whole;
    known.then(|| header[48..80].try_into().ok()).flatten()
}

/// Remembers across restarts that the page was used. Nothing is lost where that cannot be written.
pub(super) fn touch_modified_time(path: &Path) {
    let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
}
