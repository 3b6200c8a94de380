//! The signatures that came with reasoning, so that it can be given back (API document 3.4).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wire::upstream::{SignatureStore, SignedReasoning};

/// How long a conversation may pause.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Most of them, and most bytes of one: 10,000 of two kilobytes are 20 MB.
const MOST: usize = 10_000;
const LONGEST: usize = 16 << 10;

type Hash = [u8; 32];

/// Of one provider. Texts are kept as hashes.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<HashMap<Hash, (Instant, String)>>);

impl Kept {
    pub(crate) fn keep(&self, signed: SignedReasoning) {
        if signed.signature.len() > LONGEST {
            return;
        }
        // An entry is placed whole.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.retain(|_, (since, _)| since.elapsed() < KEPT);
        }
        if kept.len() >= MOST {
            // The older half goes at once, so that the next ones need not look again.
            let mut times: Vec<Instant> = kept.values().map(|(since, _)| *since).collect();
            let (_, &mut middle, _) = times.select_nth_unstable(MOST / 2);
            kept.retain(|_, (since, _)| *since > middle);
        }
        kept.insert(hash(&signed.text), (Instant::now(), signed.signature));
    }
}

impl SignatureStore for Kept {
    fn find(&self, text: &str) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, signature) = kept.get(&hash(text))?;
        (since.elapsed() < KEPT).then(|| signature.clone())
    }
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_belongs_to_its_text_and_the_oldest_go_first() {
        let kept = Kept::default();
        let keep = |text: &str| kept.keep(SignedReasoning { text: text.into(), signature: format!("of {text}") });
        keep("first");
        assert_eq!((kept.find("first").as_deref(), kept.find("second")), (Some("of first"), None));
        (0..MOST).for_each(|number| keep(&number.to_string()));
        assert_eq!(kept.find("first"), None);
        assert!(kept.find(&(MOST - 1).to_string()).is_some() && kept.0.lock().unwrap().len() <= MOST);
    }
}
