//! The caller of the admin API.

use std::sync::Arc;

use store::Role;

/// Who may make a call of the admin API.
pub(crate) struct Operator {
    /// The name of the key, or what else let it in.
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
}
