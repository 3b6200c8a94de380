//! The caller of the admin API.

use std::sync::Arc;

use store::{RecordOwner, Role, Session};

/// An authenticated caller of the admin API.
pub(crate) struct Operator {
    /// The name of the key; for the admin token and anonymous callers, a description of them.
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
    /// The id of its user in the store.
    pub(crate) user_id: Option<Arc<str>>,
    /// The id of its key in the store.
    pub(crate) key_id: Option<Arc<str>>,
    /// The session that the request belongs to.
    pub(crate) session: Option<Arc<Session>>,
}

impl Operator {
    /// An operator without user, key and session.
    pub(crate) fn new(name: impl Into<Arc<str>>, role: Role) -> Self {
        Self { name: name.into(), role, user_id: None, key_id: None, session: None }
    }

    /// The account whose share of the server it uses: the id of its user, else of its key, else the
    /// name of its key. `None` for admins, who are not limited.
    pub(crate) fn account(&self) -> Option<Arc<str>> {
        let account = self.user_id.as_ref().or(self.key_id.as_ref()).unwrap_or(&self.name);
        (self.role < Role::Admin).then(|| account.clone())
    }

    /// The keys whose usage the operator may read: all of them from the role `Viewer` on, else its
    /// own. `None`: it has no keys in the store.
    pub(crate) fn readable_keys(&self) -> Option<RecordOwner> {
        match (&self.user_id, &self.key_id) {
            _ if self.role >= Role::Viewer => Some(RecordOwner::Everyone),
            (Some(user_id), _) => Some(RecordOwner::User(user_id.to_string())),
            (None, Some(key_id)) => Some(RecordOwner::Key(key_id.to_string())),
            (None, None) => None,
        }
    }
}
