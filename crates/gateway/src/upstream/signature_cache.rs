//! Signatures of reasoning, which the provider requires when the reasoning is sent back (API
//! document 3.4).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wire::upstream::{SignatureStore, SignedReasoning};

/// The longest pause of a conversation.
const TTL: Duration = Duration::from_secs(24 * 3600);
/// Most signatures, most bytes of one, and most bytes of all. Encrypted reasoning is as long as the
/// reasoning itself.
const MAX_ENTRIES: usize = 10_000;
const MAX_SIGNATURE_BYTES: usize = 256 << 10;
const MAX_BYTES: usize = 32 << 20;

type TextHash = [u8; 32];

/// The signatures of one provider, by the hash of the text that they sign.
#[derive(Debug, Default)]
pub(crate) struct SignatureCache(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    signatures: HashMap<TextHash, (Instant, String)>,
    /// The bytes of all signatures.
    bytes: usize,
}

impl SignatureCache {
    pub(crate) fn insert(&self, signed: SignedReasoning) {
        if signed.signature.len() > MAX_SIGNATURE_BYTES {
            return;
        }
        let mut entries = self.0.lock();
        if !entries.can_hold(&signed.signature) {
            entries.retain(|inserted| inserted.elapsed() < TTL);
        }
        while !entries.can_hold(&signed.signature) {
            // Evicts the older half at once, so that the next insertions need no scan.
            let mut times: Vec<Instant> = entries.signatures.values().map(|(inserted, _)| *inserted).collect();
            let middle = times.len() / 2;
            let (_, &mut middle, _) = times.select_nth_unstable(middle);
            entries.retain(|inserted| inserted > middle);
        }
        entries.bytes += signed.signature.len();
        let replaced = entries.signatures.insert(hash(&signed.text), (Instant::now(), signed.signature));
        entries.bytes -= replaced.map_or(0, |(_, signature)| signature.len());
    }
}

impl Entries {
    /// Whether `signature` can be added. An empty cache has room for any.
    fn can_hold(&self, signature: &str) -> bool {
        self.signatures.is_empty() || (self.signatures.len() < MAX_ENTRIES && self.bytes + signature.len() <= MAX_BYTES)
    }

    /// Keeps the signatures whose time of insertion is `kept`.
    fn retain(&mut self, kept: impl Fn(Instant) -> bool) {
        self.signatures.retain(|_, (inserted, _)| kept(*inserted));
        self.bytes = self.signatures.values().map(|(_, signature)| signature.len()).sum();
    }
}

impl SignatureStore for SignatureCache {
    fn find(&self, text: &str) -> Option<String> {
        let entries = self.0.lock();
        let (inserted, signature) = entries.signatures.get(&hash(text))?;
        (inserted.elapsed() < TTL).then(|| signature.clone())
    }
}

fn hash(text: &str) -> TextHash {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_belongs_to_its_text_and_the_oldest_go_first() {
        let cache = SignatureCache::default();
        let insert = |text: &str| cache.insert(SignedReasoning { text: text.into(), signature: format!("of {text}") });
        insert("first");
        assert_eq!((cache.find("first").as_deref(), cache.find("second")), (Some("of first"), None));
        (0..MAX_ENTRIES).for_each(|number| insert(&number.to_string()));
        assert_eq!(cache.find("first"), None);
        assert!(cache.find(&(MAX_ENTRIES - 1).to_string()).is_some() && cache.0.lock().signatures.len() <= MAX_ENTRIES);
    }

    #[test]
    fn long_signatures_are_bounded_by_their_bytes() {
        let cache = SignatureCache::default();
        let insert = |text: &str, bytes: usize| {
            cache.insert(SignedReasoning { text: text.into(), signature: "x".repeat(bytes) });
        };
        insert("too long", MAX_SIGNATURE_BYTES + 1);
        assert_eq!(cache.find("too long"), None);
        (0..200).for_each(|number| insert(&number.to_string(), MAX_SIGNATURE_BYTES));
        insert("199", 1);
        let entries = cache.0.lock();
        let bytes: usize = entries.signatures.values().map(|(_, signature)| signature.len()).sum();
        assert!(entries.bytes == bytes && (MAX_BYTES / 4..=MAX_BYTES).contains(&bytes), "{bytes}");
        drop(entries);
        assert!(cache.find("199").is_some() && cache.find("0").is_none());
    }
}
