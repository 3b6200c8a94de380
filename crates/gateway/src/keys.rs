//! API keys: new ones, and those of the database in memory.

pub(crate) mod key_cache;
pub(crate) mod new_key;
