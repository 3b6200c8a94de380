//! API keys: their creation, and a cache of the keys of the store.

pub(crate) mod key_cache;
pub(crate) mod new_key;
