//! Who has answered what begins like this: the provider that has read a prompt's beginning before has it in its cache.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Prompts are compared in blocks of so many bytes, some hundred tokens; what is shorter has no cache worth keeping warm.
const BLOCK: usize = 512;
/// Most blocks of one prompt that are looked at.
const BLOCKS: usize = 128;
/// Most blocks remembered of one model.
const REMEMBERED: usize = 1 << 16;
/// A provider gets no more for its cache when it has so many more running than the least busy one.
const SLACK: i64 = 4;

/// The beginning of a prompt: a hash of each of its blocks and all before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beginning(Vec<u64>);

impl Beginning {
    /// Of text in any pieces.
    pub(crate) fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut hashes, mut hasher, mut filled) = (Vec::new(), DefaultHasher::new(), 0);
        for mut piece in pieces {
            if hashes.len() == BLOCKS {
                break;
            }
            while !piece.is_empty() && hashes.len() < BLOCKS {
                let (now, later) = piece.split_at(piece.len().min(BLOCK - filled));
                hasher.write(now);
                filled += now.len();
                piece = later;
                if filled == BLOCK {
                    // The hasher goes on: the next hash covers this block too.
                    hashes.push(hasher.finish());
                    filled = 0;
                }
            }
        }
        Self(hashes)
    }

    /// Of its first block and a name, above 0 and at most 1: the same on every machine. `None` of what is too short.
    pub(crate) fn lot(&self, name: &str) -> Option<f64> {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(*self.0.first()?);
        hasher.write(name.as_bytes());
        Some(unit(hasher.finish()))
    }
}

/// Bits to a number above 0 and at most 1.
pub(crate) fn unit(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Of one model: which target answered last what begins with a block.
#[derive(Debug, Default)]
pub(crate) struct Affinity(Mutex<HashMap<u64, usize>>);

impl Affinity {
    /// The target that knows most of the beginning.
    pub(crate) fn find(&self, beginning: &Beginning) -> Option<usize> {
        if beginning.0.is_empty() {
            return None;
        }
        // An entry is a pair of numbers.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        beginning.0.iter().rev().find_map(|hash| known.get(hash).copied())
    }

    /// `target` is about to read it.
    pub(crate) fn remember(&self, beginning: &Beginning, target: usize) {
        if beginning.0.is_empty() {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + beginning.0.len() > REMEMBERED {
            // Caches elsewhere forget too. What is still asked for is soon known again.
            known.clear();
        }
        known.extend(beginning.0.iter().map(|hash| (*hash, target)));
    }
}

/// Requests that a target is answering.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load(Arc<AtomicI64>);

impl Load {
    pub(crate) fn running(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one until it is dropped.
    pub(crate) fn begin(&self) -> Running {
        self.0.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Running(Load);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a target with `running` requests may get one more for its cache where the least busy has `least`.
pub(crate) fn has_room(running: i64, least: i64) -> bool {
    running <= least.saturating_mul(2).saturating_add(SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginning(text: &str) -> Beginning {
        Beginning::of([text.as_bytes()])
    }

    #[test]
    fn a_prompt_goes_where_most_of_it_is_known() {
        let affinity = Affinity::default();
        let (first, second) = ("a".repeat(3 * BLOCK), "b".repeat(2 * BLOCK));
        affinity.remember(&beginning(&first), 0);
        affinity.remember(&beginning(&format!("{first}{second}")), 1);
        assert_eq!(affinity.find(&beginning(&first)), Some(1), "the last who read it");
        assert_eq!(affinity.find(&beginning(&format!("{first}{first}"))), Some(1));
        assert_eq!(affinity.find(&beginning(&second)), None, "a block counts with all before it");
        assert_eq!(affinity.find(&beginning("short")), None);
    }

    #[test]
    fn pieces_do_not_matter() {
        let text = "0123456789".repeat(200);
        let pieces = Beginning::of(text.as_bytes().chunks(7));
        assert_eq!((&pieces, pieces.0.len()), (&beginning(&text), text.len() / BLOCK));
        assert_eq!(beginning(&"x".repeat(BLOCK * (BLOCKS + 9))).0.len(), BLOCKS);
    }

    #[test]
    fn memory_is_bounded() {
        let affinity = Affinity::default();
        for number in 0..REMEMBERED {
            affinity.remember(&beginning(&format!("{number:0>512}")), 0);
        }
        affinity.remember(&beginning(&"x".repeat(BLOCK)), 1);
        assert!(affinity.0.lock().unwrap().len() <= REMEMBERED);
        assert_eq!(affinity.find(&beginning(&"x".repeat(BLOCK))), Some(1));
    }

    #[test]
    fn a_busy_target_loses_its_claim() {
        assert!(has_room(4, 0) && !has_room(5, 0) && has_room(24, 10) && !has_room(25, 10));
        let load = Load::default();
        let running = load.begin();
        assert_eq!(load.running(), 1);
        drop(running);
        assert_eq!(load.running(), 0);
    }
}
