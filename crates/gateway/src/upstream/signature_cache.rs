//! The signatures that came with reasoning, so that it can be given back (API document 3.4).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wire::upstream::{SignatureStore, SignedReasoning};

/// How long a conversation may pause.
const TTL: Duration = Duration::from_secs(24 * 3600);
/// Most of them, and most bytes of one: 10,000 of two kilobytes are 20 MB.
const MAX_ENTRIES: usize = 10_000;
const MAX_SIGNATURE_BYTES: usize = 16 << 10;

type TextHash = [u8; 32];

/// Of one provider. Texts are kept as hashes.
#[derive(Debug, Default)]
pub(crate) struct SignatureCache(Mutex<HashMap<TextHash, (Instant, String)>>);

impl SignatureCache {
    pub(crate) fn insert(&self, signed: SignedReasoning) {
        if signed.signature.len() > MAX_SIGNATURE_BYTES {
            return;
        }
        // An entry is placed whole.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_ENTRIES {
            kept.retain(|_, (since, _)| since.elapsed() < TTL);
        }
        if kept.len() >= MAX_ENTRIES {
            // The older half goes at once, so that the next ones need not look again.
            let mut times: Vec<Instant> = kept.values().map(|(since, _)| *since).collect();
            let (_, &mut middle, _) = times.select_nth_unstable(MAX_ENTRIES / 2);
            kept.retain(|_, (since, _)| *since > middle);
        }
        kept.insert(hash(&signed.text), (Instant::now(), signed.signature));
    }
}

impl SignatureStore for SignatureCache {
    fn find(&self, text: &str) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, signature) = kept.get(&hash(text))?;
        (since.elapsed() < TTL).then(|| signature.clone())
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
        let kept = SignatureCache::default();
        let insert = |text: &str| kept.insert(SignedReasoning { text: text.into(), signature: format!("of {text}") });
        insert("first");
        assert_eq!((kept.find("first").as_deref(), kept.find("second")), (Some("of first"), None));
        (0..MAX_ENTRIES).for_each(|number| insert(&number.to_string()));
        assert_eq!(kept.find("first"), None);
        assert!(kept.find(&(MAX_ENTRIES - 1).to_string()).is_some() && kept.0.lock().unwrap().len() <= MAX_ENTRIES);
    }
}
