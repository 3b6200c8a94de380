//! Seeded random numbers. The sequence of a seed never changes.

/// A splitmix64 generator.
pub(crate) struct SeededRng(u64);

impl SeededRng {
    /// A generator for one tensor. Its numbers depend on the seed and the name, not
    /// on other tensors.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        Self(name.bytes().fold(seed, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number that is uniform over ±`bound`.
    pub(crate) fn symmetric(&mut self, bound: f32) -> f32 {
        ((self.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * bound
    }
}
