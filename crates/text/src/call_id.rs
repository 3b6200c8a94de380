//! Ids of tool calls: `call_00_` and 24 letters and digits. The two digits are the index of the
//! call in its message.

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Generates ids from a seed with SplitMix64. The same seed gives the same ids.
pub(crate) struct CallIdGenerator {
    state: u64,
}

impl CallIdGenerator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn next(&mut self, index: usize) -> String {
        let random: String = (0..24).map(|_| char::from(BASE62[(self.next_random() % 62) as usize])).collect();
        format!("call_{index:02}_{random}")
    }

    fn next_random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_index_of_its_call_and_is_random_after_it() {
        let mut ids = CallIdGenerator::new(7);
        let (first, second) = (ids.next(0), ids.next(11));
        assert!(first.starts_with("call_00_") && second.starts_with("call_11_"));
        assert_ne!(first[8..], second[8..]);
        assert!(first.len() == 32 && first[8..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(CallIdGenerator::new(7).next(0), first);
        assert_ne!(CallIdGenerator::new(8).next(0), first);
    }
}
