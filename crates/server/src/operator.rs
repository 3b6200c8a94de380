//! The caller of the admin API.

use std::sync::Arc;

use store::Role;

/// An authenticated caller of the admin API.
pub(crate) struct Operator {
    /// The name of the key; for the admin token and anonymous callers, a description of them.
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
}
