//! Signatures of reasoning, which the provider requires when the reasoning is sent back (API
//! document 3.4).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chat::{Delta, SignedReasoning};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wire::upstream::{SignatureStore, signature_keys};

/// The longest pause of a conversation.
const TTL: Duration = Duration::from_secs(24 * 3600);
/// Most signatures, most bytes of one, and most bytes of all. Encrypted reasoning is as long as the
/// reasoning itself.
const MAX_ENTRIES: usize = 10_000;
const MAX_SIGNATURE_BYTES: usize = 256 << 10;
const MAX_BYTES: usize = 32 << 20;

type TextHash = [u8; 32];

/// The bytes of a hash that are enough to tell the providers of a server apart.
const TAG_BYTES: usize = 4;

/// The signatures of one provider, by the hash of the text or of the call that they sign.
#[derive(Debug)]
pub(crate) struct SignatureCache {
    /// The tag of the provider. Every server with the same configuration has the same.
    provider: String,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    signatures: HashMap<TextHash, (Instant, String)>,
    /// The bytes of all signatures.
    bytes: usize,
}

impl SignatureCache {
    /// The empty cache of the provider with this name.
    pub(crate) fn new(name: &str) -> Self {
        let hash = hash(name);
        let provider = hash[..TAG_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { provider, entries: Mutex::default() }
    }

    /// Keeps the signatures among the provider's deltas, and marks them as the provider's own.
    pub(crate) fn keep(&self, deltas: &mut [Delta]) {
        for delta in deltas {
            if let Delta::Signature(signed) = delta {
                signed.provider.clone_from(&self.provider);
                self.insert(signed);
            }
        }
    }

    fn insert(&self, signed: &SignedReasoning) {
        if signed.signature.len() <= MAX_SIGNATURE_BYTES {
            signature_keys(signed).for_each(|key| self.insert_key(&key, signed.signature.clone()));
        }
    }

    fn insert_key(&self, key: &str, signature: String) {
        let mut entries = self.entries.lock();
        if !entries.can_hold(&signature) {
            entries.retain(|inserted| inserted.elapsed() < TTL);
        }
        while !entries.can_hold(&signature) {
            // Evicts the older half at once, so that the next insertions need no scan.
            let mut times: Vec<Instant> = entries.signatures.values().map(|(inserted, _)| *inserted).collect();
            let middle = times.len() / 2;
            let (_, &mut middle, _) = times.select_nth_unstable(middle);
            entries.retain(|inserted| inserted > middle);
        }
        entries.bytes += signature.len();
        let replaced = entries.signatures.insert(hash(key), (Instant::now(), signature));
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
    fn find(&self, key: &str) -> Option<String> {
        let entries = self.entries.lock();
        let (inserted, signature) = entries.signatures.get(&hash(key))?;
        (inserted.elapsed() < TTL).then(|| signature.clone())
    }

    fn provider(&self) -> &str {
        &self.provider
    }
}

fn hash(text: &str) -> TextHash {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use chat::SignatureFormat;

    use super::*;

    fn signed(text: &str, signature: String) -> Delta {
        let (provider, text) = (String::new(), text.to_owned());
        Delta::Signature(SignedReasoning { format: SignatureFormat::Anthropic, provider, text, call: None, signature })
    }

    fn empty_cache() -> SignatureCache {
        SignatureCache::new("p")
    }

    #[test]
    fn a_signature_is_found_by_its_text_and_by_its_call_and_names_its_provider() {
        let cache = empty_cache();
        let mut deltas = [signed("hm", "s".into())];
        if let Delta::Signature(signed) = &mut deltas[0] {
            signed.call = Some("call_1".into());
        }
        cache.keep(&mut deltas);
        assert_eq!((cache.find("hm").as_deref(), cache.find("call call_1").as_deref()), (Some("s"), Some("s")));
        let [Delta::Signature(kept)] = deltas else { panic!("one signature") };
        assert_eq!((kept.provider.as_str(), kept.provider.len()), (cache.provider(), 8));
        assert_ne!(SignatureCache::new("q").provider(), cache.provider());
    }

    #[test]
    fn a_signature_belongs_to_its_text_and_the_oldest_go_first() {
        let cache = empty_cache();
        let insert = |text: &str| cache.keep(&mut [signed(text, format!("of {text}"))]);
        insert("first");
        assert_eq!((cache.find("first").as_deref(), cache.find("second")), (Some("of first"), None));
        (0..MAX_ENTRIES).for_each(|number| insert(&number.to_string()));
        assert_eq!(cache.find("first"), None);
        assert!(
            cache.find(&(MAX_ENTRIES - 1).to_string()).is_some()
                && cache.entries.lock().signatures.len() <= MAX_ENTRIES
        );
    }

    #[test]
    fn long_signatures_are_bounded_by_their_bytes() {
        let cache = empty_cache();
        let insert = |text: &str, bytes: usize| cache.keep(&mut [signed(text, "x".repeat(bytes))]);
        insert("too long", MAX_SIGNATURE_BYTES + 1);
        assert_eq!(cache.find("too long"), None);
        (0..200).for_each(|number| insert(&number.to_string(), MAX_SIGNATURE_BYTES));
        insert("199", 1);
        let entries = cache.entries.lock();
        let bytes: usize = entries.signatures.values().map(|(_, signature)| signature.len()).sum();
        assert!(entries.bytes == bytes && (MAX_BYTES / 4..=MAX_BYTES).contains(&bytes), "{bytes}");
        drop(entries);
        assert!(cache.find("199").is_some() && cache.find("0").is_none());
    }
}
