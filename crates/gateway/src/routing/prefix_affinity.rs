//! Prefix affinity: remembers which provider last served a prompt prefix, so that the provider's
//! prompt cache is used again.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use parking_lot::Mutex;

use crate::routing::random::to_unit_interval;

/// Prompts are compared in blocks of this many bytes, which is over a hundred tokens. A shorter
/// prompt is not worth caching.
const BLOCK_BYTES: usize = 512;
/// Most blocks of one prompt that are hashed.
const MAX_BLOCKS: usize = 128;
/// Most blocks that are remembered for one model.
const MAX_REMEMBERED_BLOCKS: usize = 1 << 16;

/// The prefix of a prompt: for each of its blocks a hash of the block and all before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PromptPrefix(Vec<u64>);

impl PromptPrefix {
    /// Hashes a text that comes in any number of pieces. A line of the first piece that agents
    /// change with every request does not count.
    pub(crate) fn hash<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut pieces = pieces.into_iter();
        let first = pieces.next().unwrap_or_default();
        let line = chat::volatile_line(first).unwrap_or(0..0);
        Self::hash_all([&first[..line.start], &first[line.end..]].into_iter().chain(pieces))
    }

    fn hash_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hashes = Vec::new();
        let mut hasher = DefaultHasher::new();
        let mut filled = 0;
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
                    // The hasher keeps its state: the next hash covers this block, too.
                    hashes.push(hasher.finish());
                    filled = 0;
                }
            }
        }
        Self(hashes)
    }

    /// A hash of the first block and a provider's name, above 0 and at most 1. It is the same on
    /// every machine. `None` if the prompt is shorter than a block.
    pub(crate) fn rendezvous_score(&self, provider: &str) -> Option<f64> {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(*self.0.first()?);
        hasher.write(provider.as_bytes());
        Some(to_unit_interval(hasher.finish()))
    }
}

/// The targets that last served each prefix of one model, by their index in the route.
#[derive(Debug, Default)]
pub(crate) struct PrefixAffinity(Mutex<HashMap<u64, usize>>);

impl PrefixAffinity {
    /// The target that served the longest known part of `prefix`.
    pub(crate) fn find(&self, prefix: &PromptPrefix) -> Option<usize> {
        if prefix.0.is_empty() {
            return None;
        }
        let served = self.0.lock();
        prefix.0.iter().rev().find_map(|hash| served.get(hash).copied())
    }

    /// Records that `target` serves `prefix`.
    pub(crate) fn remember(&self, prefix: &PromptPrefix, target: usize) {
        if prefix.0.is_empty() {
            return;
        }
        let mut served = self.0.lock();
        if served.len() + prefix.0.len() > MAX_REMEMBERED_BLOCKS {
            // Prompt caches evict entries, too, and a prefix in use is soon remembered again.
            served.clear();
        }
        served.extend(prefix.0.iter().map(|hash| (*hash, target)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> PromptPrefix {
        PromptPrefix::hash([text.as_bytes()])
    }

    #[test]
    fn a_prompt_goes_to_the_target_that_served_most_of_it() {
        let affinity = PrefixAffinity::default();
        let (first, second) = ("a".repeat(3 * BLOCK_BYTES), "b".repeat(2 * BLOCK_BYTES));
        affinity.remember(&prefix(&first), 0);
        affinity.remember(&prefix(&format!("{first}{second}")), 1);
        assert_eq!(affinity.find(&prefix(&first)), Some(1), "the last that served it");
        assert_eq!(affinity.find(&prefix(&format!("{first}{first}"))), Some(1));
        assert_eq!(affinity.find(&prefix(&second)), None, "a block is hashed with all before it");
        assert_eq!(affinity.find(&prefix("short")), None);
    }

    #[test]
    fn the_hash_does_not_depend_on_pieces() {
        let text = "0123456789".repeat(200);
        let pieces = PromptPrefix::hash(text.as_bytes().chunks(7));
        assert_eq!((&pieces, pieces.0.len()), (&prefix(&text), text.len() / BLOCK_BYTES));
        assert_eq!(prefix(&"x".repeat(BLOCK_BYTES * (MAX_BLOCKS + 9))).0.len(), MAX_BLOCKS);
    }

    #[test]
    fn a_line_that_changes_with_every_request_does_not_count() {
        let prompt =
            |cch: &str| format!("x-anthropic-billing-header: cch={cch};\n\n{}", "You are an agent. ".repeat(60));
        assert_eq!(prefix(&prompt("1f2e3")), prefix(&prompt("9")));
        assert_ne!(prefix(&prompt("1")), prefix(&format!("a {}", prompt("1"))));
        let json =
            |cch: &str| format!(r#"[{{"text":"x-anthropic-billing-header: cch={cch};"}},{{"text":"{:0>900}"}}]"#, 1);
        assert_eq!(prefix(&json("1f2e3")), prefix(&json("9")));
    }

    #[test]
    fn memory_is_bounded() {
        let affinity = PrefixAffinity::default();
        for number in 0..MAX_REMEMBERED_BLOCKS {
            affinity.remember(&prefix(&format!("{number:0>512}")), 0);
        }
        affinity.remember(&prefix(&"x".repeat(BLOCK_BYTES)), 1);
        assert!(affinity.0.lock().len() <= MAX_REMEMBERED_BLOCKS);
        assert_eq!(affinity.find(&prefix(&"x".repeat(BLOCK_BYTES))), Some(1));
    }
}
