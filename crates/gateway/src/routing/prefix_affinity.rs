//! Who has answered what begins like this: the provider that has read a prompt's prefix before has
//! it in its cache.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Prompts are compared in blocks of so many bytes, some hundred tokens; what is shorter has no
/// cache worth keeping warm.
const BLOCK_BYTES: usize = 512;
/// Most blocks of one prompt that are looked at.
const MAX_BLOCKS: usize = 128;
/// Most blocks remembered of one model.
const MAX_REMEMBERED_BLOCKS: usize = 1 << 16;
/// A provider gets no more for its cache when it has so many more running than the least busy one.
const LOAD_SLACK: i64 = 4;

/// The prefix of a prompt: a hash of each of its blocks and all before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PromptPrefix(Vec<u64>);

impl PromptPrefix {
    /// Of text in any pieces.
    pub(crate) fn hash<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut hashes, mut hasher, mut filled) = (Vec::new(), DefaultHasher::new(), 0);
        for mut piece in pieces {
            if hashes.len() == MAX_BLOCKS {
                break;
            }
            while !piece.is_empty() && hashes.len() < MAX_BLOCKS {
                let (head, tail) = piece.split_at(piece.len().min(BLOCK_BYTES - filled));
                hasher.write(head);
                filled += head.len();
                piece = tail;
                if filled == BLOCK_BYTES {
                    // The hasher goes on: the next hash covers this block too.
                    hashes.push(hasher.finish());
                    filled = 0;
                }
            }
        }
        Self(hashes)
    }

    /// Of its first block and a name, above 0 and at most 1: the same on every machine. `None` of
    /// what is too short.
    pub(crate) fn rendezvous_score(&self, provider: &str) -> Option<f64> {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(*self.0.first()?);
        hasher.write(provider.as_bytes());
        Some(to_unit_interval(hasher.finish()))
    }
}

/// Bits to a number above 0 and at most 1.
pub(crate) fn to_unit_interval(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Of one model: which target answered last what begins with a block.
#[derive(Debug, Default)]
pub(crate) struct PrefixAffinity(Mutex<HashMap<u64, usize>>);

impl PrefixAffinity {
    /// The target that knows most of the prefix.
    pub(crate) fn find(&self, prefix: &PromptPrefix) -> Option<usize> {
        if prefix.0.is_empty() {
            return None;
        }
        // An entry is a pair of numbers.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prefix.0.iter().rev().find_map(|hash| known.get(hash).copied())
    }

    /// `target` is about to read it.
    pub(crate) fn remember(&self, prefix: &PromptPrefix, target: usize) {
        if prefix.0.is_empty() {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + prefix.0.len() > MAX_REMEMBERED_BLOCKS {
            // Caches elsewhere forget too. What is still asked for is soon known again.
            known.clear();
        }
        known.extend(prefix.0.iter().map(|hash| (*hash, target)));
    }
}

/// Requests that a target is answering.
#[derive(Clone, Debug, Default)]
pub(crate) struct ActiveRequests(Arc<AtomicI64>);

impl ActiveRequests {
    pub(crate) fn count(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one until it is dropped.
    pub(crate) fn start(&self) -> ActiveRequestGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        ActiveRequestGuard(self.clone())
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct ActiveRequestGuard(ActiveRequests);

impl Drop for ActiveRequestGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a target with `running` requests may get one more for its cache where the least
/// busy has `least`.
pub(crate) fn has_capacity_for_affinity(running: i64, least: i64) -> bool {
    running <= least.saturating_mul(2).saturating_add(LOAD_SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> PromptPrefix {
        PromptPrefix::hash([text.as_bytes()])
    }

    #[test]
    fn a_prompt_goes_where_most_of_it_is_known() {
        let affinity = PrefixAffinity::default();
        let (first, second) = ("a".repeat(3 * BLOCK_BYTES), "b".repeat(2 * BLOCK_BYTES));
        affinity.remember(&prefix(&first), 0);
        affinity.remember(&prefix(&format!("{first}{second}")), 1);
        assert_eq!(affinity.find(&prefix(&first)), Some(1), "the last who read it");
        assert_eq!(affinity.find(&prefix(&format!("{first}{first}"))), Some(1));
        assert_eq!(affinity.find(&prefix(&second)), None, "a block counts with all before it");
        assert_eq!(affinity.find(&prefix("short")), None);
    }

    #[test]
    fn pieces_do_not_matter() {
        let text = "0123456789".repeat(200);
        let pieces = PromptPrefix::hash(text.as_bytes().chunks(7));
        assert_eq!((&pieces, pieces.0.len()), (&prefix(&text), text.len() / BLOCK_BYTES));
        assert_eq!(prefix(&"x".repeat(BLOCK_BYTES * (MAX_BLOCKS + 9))).0.len(), MAX_BLOCKS);
    }

    #[test]
    fn memory_is_bounded() {
        let affinity = PrefixAffinity::default();
        for number in 0..MAX_REMEMBERED_BLOCKS {
            affinity.remember(&prefix(&format!("{number:0>512}")), 0);
        }
        affinity.remember(&prefix(&"x".repeat(BLOCK_BYTES)), 1);
        assert!(affinity.0.lock().unwrap().len() <= MAX_REMEMBERED_BLOCKS);
        assert_eq!(affinity.find(&prefix(&"x".repeat(BLOCK_BYTES))), Some(1));
    }

    #[test]
    fn a_busy_target_loses_its_claim() {
        assert!(
            has_capacity_for_affinity(4, 0)
                && !has_capacity_for_affinity(5, 0)
                && has_capacity_for_affinity(24, 10)
                && !has_capacity_for_affinity(25, 10)
        );
        let active = ActiveRequests::default();
        let guard = active.start();
        assert_eq!(active.count(), 1);
        drop(guard);
        assert_eq!(active.count(), 0);
    }
}
