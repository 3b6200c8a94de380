//! Checksums of weights files.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Bytes that are hashed between two reports of progress.
const STEP: usize = 8 << 20;

/// The SHA-256 of everything that `reader` yields, as hex digits. `progress` receives the number of
/// bytes of each step.
pub(crate) fn of_reader(reader: &mut dyn Read, progress: &mut dyn FnMut(u64)) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; STEP];
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..read]);
        progress(read as u64);
    }
}

/// The SHA-256 of `bytes`, as hex digits; `progress` as for [`of_reader`].
pub(crate) fn of_bytes(bytes: &[u8], progress: &mut dyn FnMut(u64)) -> String {
    let mut hash = Sha256::new();
    for step in bytes.chunks(STEP) {
        hash.update(step);
        progress(step.len() as u64);
    }
    hex(&hash.finalize())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree_with_the_published_value() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc", &mut |_| {}), expected);
        assert_eq!(of_reader(&mut &b"abc"[..], &mut |_| {}).unwrap(), expected);
    }
}
