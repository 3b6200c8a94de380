//! Ids in place of those that a provider's API does not accept.

/// An id for `text` that is short and has letters, digits and `_` alone: `prefix` and a hash of it
/// (FNV-1a). Equal texts have equal ids.
pub(super) fn short_id(prefix: &str, text: &str) -> String {
    let fold = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{prefix}_{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
}
