//! A value that lives as long as a request: the memory that is reserved for it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Keeps a value alive and says nothing of it. All are equal: it is no part of what a request says.
#[derive(Clone, Default)]
pub struct MemoryGuard {
    _value: Option<Arc<dyn Any + Send + Sync>>,
}

impl MemoryGuard {
    pub fn new(value: impl Any + Send + Sync) -> Self {
        Self { _value: Some(Arc::new(value)) }
    }
}

impl PartialEq for MemoryGuard {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for MemoryGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}
