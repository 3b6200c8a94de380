//! Signatures of reasoning, which the provider requires when the reasoning is sent back (API
//! document 3.4).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wire::upstream::{SignatureStore, SignedReasoning};

/// The longest pause of a conversation.
const TTL: Duration = Duration::from_secs(24 * 3600);
/// Most signatures, and most bytes of one: 10,000 of two kilobytes are 20 MB.
const MAX_ENTRIES: usize = 10_000;
const MAX_SIGNATURE_BYTES: usize = 16 << 10;

type TextHash = [u8; 32];

/// The signatures of one provider, by the hash of the text that they sign.
#[derive(Debug, Default)]
pub(crate) struct SignatureCache(Mutex<HashMap<TextHash, (Instant, String)>>);

impl SignatureCache {
    pub(crate) fn insert(&self, signed: SignedReasoning) {
        if signed.signature.len() > MAX_SIGNATURE_BYTES {
            return;
        }
        let mut entries = self.0.lock();
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, (inserted, _)| inserted.elapsed() < TTL);
        }
        if entries.len() >= MAX_ENTRIES {
            // Evicts the older half at once, so that the next insertions need no scan.
            let mut times: Vec<Instant> = entries.values().map(|(inserted, _)| *inserted).collect();
            let (_, &mut middle, _) = times.select_nth_unstable(MAX_ENTRIES / 2);
            entries.retain(|_, (inserted, _)| *inserted > middle);
        }
        entries.insert(hash(&signed.text), (Instant::now(), signed.signature));
    }
}

impl SignatureStore for SignatureCache {
    fn find(&self, text: &str) -> Option<String> {
        let entries = self.0.lock();
        let (inserted, signature) = entries.get(&hash(text))?;
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
        assert!(cache.find(&(MAX_ENTRIES - 1).to_string()).is_some() && cache.0.lock().len() <= MAX_ENTRIES);
    }
}
