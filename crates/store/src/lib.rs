//! Persistent data: users, projects, keys, usage records, tasks and settings, in SQLite or
//! PostgreSQL. SQL, and a note outside of the database (`store-id`) by which a lost or
//! restored one is noticed.
//!
//! One SQL text serves both databases. Times are microseconds since 1970 (UTC), money is
//! integer nano-dollars.
#![forbid(unsafe_code)]

mod amounts;
mod error;
mod error_class;
mod id_file;
mod identity;
mod integrity;
mod keys;
pub mod money;
mod names;
mod open;
mod projects;
mod settings;
mod sqlite_file;
mod store;
mod tasks;
mod usage;
mod users;

pub use amounts::{MAX_COST, MAX_SPENT, MAX_TOKENS, SPENT_OVERFLOWED};
pub use error::StoreError;
pub use identity::StoreIdentity;
pub use integrity::{IMPLAUSIBLE, IntegrityReport, Mismatch};
pub use keys::{Key, KeyOverview, Limits, NewKey};
pub use names::{NAME_RULE, is_model_id, is_name, is_printable};
pub use open::{OpenedStore, RestorePolicy, StoreOptions};
pub use projects::Project;
pub use settings::Setting;
pub use store::{Store, now_micros};
pub use tasks::{Task, TaskId, TaskOwner};
pub use usage::{REFUNDED, SpendUpdate, SpendUpdates, UsageGroupBy, UsageRecord, UsageTotal};
pub use users::{Role, User};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_as_it_is() {
        for good in ["a", "olga's", "Zoë", "名前", "\u{5d0}\u{5d1}", &"x".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "a\u{202e}b",
            "\u{2066}a",
            "\u{200f}",
            "\u{61c}",
            "a\nb",
            "a\u{2028}b",
            "\u{1b}[1m",
            "\u{9b}1m",
            "\u{feff}a",
            &"x".repeat(65),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
