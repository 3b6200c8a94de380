//! API keys: their creation, a cache of the keys of the store, and the callers that use them.

pub(crate) mod budget_index;
pub(crate) mod caller;
pub(crate) mod ip_network;
pub(crate) mod key_cache;
pub(crate) mod key_search;
pub(crate) mod new_key;
