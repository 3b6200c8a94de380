//! A guard that lives as long as a request and releases its memory reservation when dropped.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Keeps a value of any type alive. All guards are equal, because they are not part of the
/// content of a request.
#[derive(Clone, Default)]
pub struct MemoryGuard {
    _value: Option<Arc<dyn Any + Send + Sync>>,
}

impl MemoryGuard {
    /// Creates a guard that drops `value` with its last clone.
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
        f.write_str("MemoryGuard")
    }
}
