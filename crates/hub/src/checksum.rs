//! Checksums of files on a hub, which also name the files in the cache.

use std::fmt::{self, Display, Formatter};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The checksum of a file. `Display` writes it in hex, as the name of the file in the cache.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checksum {
    /// The SHA-256 of the bytes of a large file (LFS or Xet).
    Sha256([u8; 32]),
    /// The SHA-1 of the length and the bytes of a file in git, as git computes it for a blob.
    GitBlob([u8; 20]),
}

impl Checksum {
    /// Reads 64 hex digits; `None` for other text.
    pub(crate) fn sha256(hex: &str) -> Option<Self> {
        from_hex(hex).map(Self::Sha256)
    }

    /// Reads 40 hex digits; `None` for other text.
    pub(crate) fn git_blob(hex: &str) -> Option<Self> {
        from_hex(hex).map(Self::GitBlob)
    }

    /// Begins to compute the checksum of a file of `size` bytes.
    pub(crate) fn hasher(&self, size: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::GitBlob(_) => Hasher::GitBlob(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }

    /// Whether `bytes` are the file.
    pub(crate) fn is_of(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher(bytes.len() as u64);
        hasher.update(bytes);
        hasher.finish() == *self
    }
}

impl Display for Checksum {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bytes = match self {
            Self::Sha256(bytes) => &bytes[..],
            Self::GitBlob(bytes) => &bytes[..],
        };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The checksum of the bytes so far.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::GitBlob(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Checksum {
        match self {
            Self::Sha256(hash) => Checksum::Sha256(hash.finalize().into()),
            Self::GitBlob(hash) => Checksum::GitBlob(hash.finalize().into()),
        }
    }
}

fn from_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digits = hex.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_git_and_lfs() {
        // `printf 'what is up, doc?' | git hash-object --stdin`
        let blob = Checksum::git_blob("bd9dbf5aae1a3862dd1526723246b20206e5fc37").unwrap();
        assert!(blob.is_of(b"what is up, doc?") && !blob.is_of(b"what is up, doc!"));
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let sha256 = Checksum::sha256(empty).unwrap();
        assert!(sha256.is_of(b"") && !sha256.is_of(b"x"));
        assert_eq!(sha256.to_string(), empty);
    }

    #[test]
    fn only_hex_digits_of_the_right_length_are_a_checksum() {
        for text in ["", "abc", &"g".repeat(64), &"+f".repeat(32), &"../".repeat(22)] {
            assert_eq!((Checksum::sha256(text), Checksum::git_blob(text)), (None, None), "{text}");
        }
        assert!(Checksum::sha256(&"AB".repeat(32)).is_some_and(|sum| sum.to_string() == "ab".repeat(32)));
    }
}
